//! Who asked for an operation: what goes with each of them from the edge on, whatever it is.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::id::AccountId;

/// The number by which the answer to a request and the server's log name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Who proved to be somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub account: AccountId,
    /// The id of the access key.
    pub key: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Whose queues and topics the operation names.
    pub owner: AccountId,
    pub caller: Principal,
    pub request: RequestId,
    /// Where the request is from, if that is known.
    pub source: Option<IpAddr>,
}
