//! Why a push failed: in a kind to count and in words to read.
//!
//! Whoever made the subscription reads the reason. It says nothing that can only be known inside this
//! network, such as what a name means here; that stands in the operator's log.

use std::{fmt::Display, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use hyper::{StatusCode, http::response};

use crate::{endpoint::NotAnEndpoint, guard::Refusal, prelude, retry_after::RetryAfter};

/// A push that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) reason: String,
    /// What there is to know beyond it, for the operator only.
    pub(crate) inside: Option<String>,
    /// If there was an answer.
    pub(crate) status: Option<StatusCode>,
    /// The first bytes of the answer's body.
    pub(crate) answer: Bytes,
    /// When the other side wants to be asked again, if it said so.
    pub(crate) retry_after: Option<RetryAfter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Endpoint,
    Refused,
    Resolve,
    Crowded,
    Connect,
    Tls,
    TimeLimit,
    Broken,
    Status,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Endpoint,
        Self::Refused,
        Self::Resolve,
        Self::Crowded,
        Self::Connect,
        Self::Tls,
        Self::TimeLimit,
        Self::Broken,
        Self::Status,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Refused => "refused",
            Self::Resolve => "resolve",
            Self::Crowded => "crowded",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::TimeLimit => "time_limit",
            Self::Broken => "broken",
            Self::Status => "status",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            inside: None,
            status: None,
            answer: Bytes::new(),
            retry_after: None,
        }
    }

    /// With something that only the operator reads.
    fn inside(self, inside: impl Display) -> Self {
        Self {
            inside: Some(inside.to_string()),
            ..self
        }
    }

    /// A host that cannot be pushed to. Whether its name is unknown or has an address that is not allowed
    /// reads the same.
    pub(crate) fn no_address(kind: Kind, inside: impl Display) -> Self {
        let reason = "the host has no address that may be pushed to";
        Self::new(kind, reason).inside(inside)
    }

    /// An answer that is no success.
    pub(crate) fn answered(head: &response::Parts, answer: Bytes) -> Self {
        let status = head.status;
        let reason = if status.is_redirection() {
            format!("status {}: redirects are not followed", status.as_u16())
        } else {
            format!("status {}", status.as_u16())
        };
        Self {
            status: Some(status),
            answer,
            retry_after: RetryAfter::of(status, &head.headers),
            ..Self::new(Kind::Status, reason)
        }
    }

    pub(crate) fn no_answer(within: Duration) -> Self {
        Self::new(
            Kind::TimeLimit,
            format!("no answer within {}", length(within)),
        )
    }

    pub(crate) fn no_connection(within: Duration) -> Self {
        Self::new(
            Kind::TimeLimit,
            format!("no connection within {}", length(within)),
        )
    }

    /// All that is known.
    pub(crate) fn for_operator(&self) -> String {
        match &self.inside {
            Some(inside) => format!("{} ({inside})", self.reason),
            None => self.reason.clone(),
        }
    }

    pub(crate) fn crowded(address: SocketAddr) -> Self {
        Self::new(Kind::Crowded, "too many pushes to the host's address").inside(address)
    }

    pub(crate) fn connect(error: &io::Error) -> Self {
        Self::new(Kind::Connect, io_words(error)).inside(error)
    }

    /// A connection that broke before there was an answer.
    pub(crate) fn broken(error: &hyper::Error) -> Self {
        let reason = if error.is_parse_too_large() {
            "the answer's head is too large".into()
        } else if error.is_parse() {
            "the answer is not HTTP".into()
        } else if let Some(error) = io_cause(error) {
            io_words(error)
        } else {
            "the connection was closed before the answer".into()
        };
        Self::new(Kind::Broken, reason)
    }
}

impl From<NotAnEndpoint> for Failure {
    fn from(error: NotAnEndpoint) -> Self {
        Self::new(Kind::Endpoint, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Port { .. } => Self::new(Kind::Refused, refusal.to_string()),
            Refusal::Address { .. }
            | Refusal::Own { .. }
            | Refusal::OtherNode { .. }
            | Refusal::Unknown => Self::no_address(Kind::Refused, refusal),
        }
    }
}

/// Whether the other side has answered, though not as it should: asking again would not help.
pub(crate) fn was_answered(error: &hyper::Error) -> bool {
    error.is_parse() || io_cause(error).is_some_and(prelude::was_too_much)
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// What the other side did is told; what this machine lacks, such as files or routes, is not.
fn io_words(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the connection was closed before the answer"
        }
        // Of TLS, and of what came before an answer: about the other side, too.
        _ if error.raw_os_error().is_none() => return error.to_string(),
        _ => "the connection failed",
    };
    words.into()
}

fn length(length: Duration) -> String {
    match length.subsec_millis() {
        0 => format!("{} s", length.as_secs()),
        _ => format!("{} ms", length.as_millis()),
    }
}
