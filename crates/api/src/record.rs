//! The record of one request: who asked, for what, and what came of it.
//!
//! It begins when the request's dialect is known, learns what the request turns out to be, and ends once, with the
//! answer: then it is counted, and told to the log if that listens to [`TARGET`] at the level `debug`. There is never a
//! body, a secret or a signature in it.

use std::{net::IpAddr, sync::Arc, time::Instant};

use anser_broker::{
    context::RequestId,
    error::Error,
    op::{Class, Operation},
};
use tracing::{Level, debug, field};

use crate::{dialect::Dialect, key::AccessKey, metrics::HttpMetrics};

/// The name under which the log can be told to show or to leave out these records.
pub(crate) const TARGET: &str = "anser_api::access";

/// When a request came, and where it is from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) started: Instant,
    pub(crate) source: IpAddr,
}

#[derive(Debug)]
pub(crate) struct AccessRecord {
    pub(crate) request: RequestId,
    dialect: Dialect,
    arrival: Arrival,
    /// The action's place among those of the dialect, once it is known.
    pub(crate) action: Option<usize>,
    asked: Option<Asked>,
}

/// What a request turned out to be.
#[derive(Debug)]
struct Asked {
    key: Arc<AccessKey>,
    class: Class,
    /// Worked out only for a log that shows it.
    resource: Option<String>,
    messages: usize,
    /// In the service's words, of which a dialect may have fewer.
    error: Option<Error>,
}

impl AccessRecord {
    pub(crate) fn new(dialect: Dialect, request: RequestId, arrival: Arrival) -> Self {
        Self {
            request,
            dialect,
            arrival,
            action: None,
            asked: None,
        }
    }

    pub(crate) fn source(&self) -> IpAddr {
        self.arrival.source
    }

    /// Somebody proved to be the holder of a key and asks for an operation.
    pub(crate) fn asks<O: Operation>(&mut self, key: &Arc<AccessKey>, operation: &O) {
        let is_shown = tracing::enabled!(target: TARGET, Level::DEBUG);
        self.asked = Some(Asked {
            key: Arc::clone(key),
            class: O::CLASS,
            resource: is_shown.then(|| operation.resource().to_string()),
            messages: match O::CLASS {
                // As many as it gets.
                Class::Receive => 0,
                _ => operation.messages(),
            },
            error: None,
        });
    }

    pub(crate) fn receives(&mut self, messages: usize) {
        if let Some(asked) = &mut self.asked {
            asked.messages += messages;
        }
    }

    pub(crate) fn refused(&mut self, error: Error) {
        if let Some(asked) = &mut self.asked {
            asked.error = Some(error);
        }
    }

    /// `code` is the place of what the client was told among the dialect's codes.
    pub(crate) fn end(&self, metrics: &HttpMetrics, code: usize) {
        let took = self.arrival.started.elapsed();
        metrics.answered(self.dialect, self.action, code, took);
        let asked = self.asked.as_ref();
        let said = metrics.code(self.dialect, code);
        debug!(
            target: TARGET,
            request = self.request.0,
            source = %self.arrival.source,
            dialect = self.dialect.name(),
            action = self.action.and_then(|action| metrics.action(self.dialect, action)),
            account = asked.map(|asked| asked.key.account().0),
            key = asked.map(|asked| asked.key.id()),
            class = asked.map(|asked| field::debug(asked.class)),
            resource = asked.and_then(|asked| asked.resource.as_deref()),
            messages = asked.map(|asked| asked.messages),
            error = asked.and_then(|asked| asked.error).map(field::display),
            code = said.map(|said| said.text),
            module = said.map(|said| said.module),
            microseconds = took.as_micros(),
            "answered"
        );
    }
}
