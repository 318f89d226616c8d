//! Bytes of commands and of log entries. Drawn in `docs/formats/batch.md`.
//!
//! Everything is little endian, versioned, and decoded totally: any bytes give a value or an
//! [`Error`], never a panic, and nothing is allocated that the input does not pay for. Numbers that
//! reach a disk are written out here and never change their meaning.

use bytes::Bytes;

use crate::{
    command::Command,
    id::{QueueId, Sequence},
};

mod batch;
mod cluster;
mod command;
mod kept;
mod topic;
mod view;
pub(crate) mod wire;

pub(crate) use cluster::NodeSink;
pub(crate) use topic::TopicSink;

pub use batch::{Batch, BatchBuilder, body};
pub use kept::{keep, keep_again, kept_body};
pub use view::{Bodies, Receipts, View};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the bytes end too early")]
    Truncated,
    #[error("bytes are left over at the end")]
    TrailingBytes,
    #[error("format {0} is not known here")]
    UnknownFormat(u8),
    #[error("command kind {0} is not known here")]
    UnknownKind(u8),
    #[error("a value is out of its range")]
    BadValue,
}

/// A command as bytes, and what it may use of an entry's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Bytes,
    /// Ordinals of messages.
    pub messages: u32,
    /// Leases it may grant.
    pub leases: u32,
}

impl Encoded {
    /// A command that came from elsewhere as bytes, checked. One with more bodies than an entry can
    /// hold is refused, so that what is given fits into an empty batch.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Error> {
        let view = view::view(&bytes)?;
        let messages = view.bodies().map_or(0, Bodies::count);
        let leases = view.leases();
        if messages > Sequence::PER_ENTRY {
            return Err(Error::BadValue);
        }
        Ok(Self {
            bytes,
            messages,
            leases,
        })
    }

    /// The queue it sends to, if it is a send.
    pub fn sends_to(&self) -> Option<QueueId> {
        match view::view(&self.bytes).ok()? {
            View::SendMessages { queue, .. } | View::SendMessagesOnce { queue, .. } => Some(queue),
            _ => None,
        }
    }
}

/// A command as bytes, in a buffer of exactly their size.
pub fn encode(command: &Command) -> Encoded {
    command::encode(command)
}

/// The command of these bytes; bodies are slices of them.
pub fn decode(bytes: &Bytes) -> Result<Command, Error> {
    Ok(view::view(bytes)?.to_command(bytes))
}

/// What the first byte of a stored payload says about the rest.
pub(crate) mod format {
    /// A batch of commands, as proposed.
    pub(crate) const BATCH: u8 = 1;
    /// Some bodies of a batch, as kept by a log.
    pub(crate) const KEPT: u8 = 2;
    /// The state of a shard, without topics.
    pub(crate) const STATE_WITHOUT_TOPICS: u8 = 3;
    /// The state of a shard, without nodes, tokens and acknowledgement policies.
    pub(crate) const STATE_WITHOUT_NODES: u8 = 4;
    /// The state of a shard.
    pub(crate) const STATE: u8 = 5;
}

/// The forms of a state, the oldest first; each has all that the ones before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateForm {
    WithoutTopics,
    /// And without tokens and acknowledgement policies.
    WithoutNodes,
    Whole,
}

impl StateForm {
    /// What the first byte says.
    pub(crate) fn of(format: u8) -> Result<Self, Error> {
        match format {
            format::STATE_WITHOUT_TOPICS => Ok(Self::WithoutTopics),
            format::STATE_WITHOUT_NODES => Ok(Self::WithoutNodes),
            format::STATE => Ok(Self::Whole),
            unknown => Err(Error::UnknownFormat(unknown)),
        }
    }
}

/// The numbers of the kinds, frozen.
pub(crate) mod kind {
    pub(crate) const CREATE_QUEUE: u8 = 1;
    pub(crate) const DELETE_QUEUE: u8 = 2;
    pub(crate) const SET_QUEUE_ATTRIBUTES: u8 = 3;
    pub(crate) const SETTLED: u8 = 4;
    pub(crate) const CREATE_TOPIC: u8 = 5;
    pub(crate) const DELETE_TOPIC: u8 = 6;
    pub(crate) const SET_TOPIC_ATTRIBUTES: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const SET_SUBSCRIPTION_ATTRIBUTES: u8 = 9;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const ADD_NODE: u8 = 11;
    pub(crate) const SET_NODE_STATE: u8 = 12;
    pub(crate) const CLUSTER_FORMED: u8 = 13;
    pub(crate) const CREATE_QUEUE_ACKNOWLEDGED: u8 = 14;
    pub(crate) const SET_QUEUE_ACKNOWLEDGED: u8 = 15;
    pub(crate) const PUT_QUEUE: u8 = 16;
    pub(crate) const DROP_QUEUE: u8 = 17;
    pub(crate) const CLEAR_QUEUE: u8 = 18;
    pub(crate) const REWIND_QUEUE: u8 = 19;
    pub(crate) const PUT_TOPIC: u8 = 20;
    pub(crate) const DROP_TOPIC: u8 = 21;
    pub(crate) const PUT_SUBSCRIPTION: u8 = 22;
    pub(crate) const DROP_SUBSCRIPTION: u8 = 23;
    pub(crate) const PUT_QUEUE_ACKNOWLEDGED: u8 = 24;
    pub(crate) const SEND_MESSAGES: u8 = 32;
    pub(crate) const RECEIVE_MESSAGES: u8 = 33;
    pub(crate) const DELETE_MESSAGES: u8 = 34;
    pub(crate) const CHANGE_VISIBILITY: u8 = 35;
    pub(crate) const ACCEPT_MOVED: u8 = 36;
    pub(crate) const MOVES_SETTLED: u8 = 37;
    pub(crate) const RETURN_LEASES: u8 = 38;
    pub(crate) const RETURN_MOVES: u8 = 39;
    pub(crate) const PUBLISH: u8 = 40;
    pub(crate) const ACCEPT_PUBLISHED: u8 = 41;
    pub(crate) const MOVE_FAILED: u8 = 42;
    pub(crate) const GIVE_UP: u8 = 43;
    pub(crate) const SEND_MESSAGES_ONCE: u8 = 44;
    pub(crate) const SETTLE: u8 = 48;
}
