//! Everything a replica can ask for.

use anser_broker::{
    command::{Answer, Effect, Reply},
    error::Error,
};
use bytes::Bytes;

use crate::{Failure, Ticket};

#[derive(Debug)]
pub enum Output {
    /// The reply to a proposal or a receive: durable on a majority and applied.
    Reply {
        ticket: Ticket,
        reply: Reply,
    },
    /// The answer to a read.
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// The request did not happen, or nobody can say whether it did.
    Refuse {
        ticket: Ticket,
        error: Error,
    },
    /// To be made durable; then [`crate::Input::Durable`] with its number. In order.
    Append(Append),
    /// An entry was applied; its payload is worth keeping at hand for receivers.
    Applied {
        index: u64,
        payload: Bytes,
    },
    Effect(Effect),
    /// The replica leads its shard now (and can serve), or no longer.
    LeadershipChanged {
        leads: bool,
    },
    /// The replica cannot go on; its shard must not be served from here.
    Failed(Failure),
}

/// What the log must hold before the replica may rely on it.
#[derive(Debug)]
pub struct Append {
    pub number: u64,
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
    pub entries: Vec<StoredEntry>,
}

/// An entry of consensus, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    pub index: u64,
    pub term: u64,
    /// A batch of commands; empty in a leader's first entry.
    pub data: Bytes,
}
