//! Bytes of commands and of log entries. Drawn in `docs/formats/batch.md`.
//!
//! Everything is little endian, versioned, and decoded totally: any bytes give a value or an
//! [`Error`], never a panic, and nothing is allocated that the input does not pay for. Numbers that
//! reach a disk are written out here and never change their meaning.

use bytes::Bytes;

use crate::{
    command::{Command, Destination},
    id::{Sequence, TopicId},
    version::ClusterVersion,
};

mod batch;
mod cluster;
mod command;
mod kept;
mod kind;
mod topic;
mod view;
pub(crate) mod wire;

pub(crate) use cluster::NodeSink;
pub(crate) use topic::TopicSink;

pub use batch::{Batch, BatchBuilder, body};
pub use kept::{keep, keep_again, keep_all, kept_body};
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

    /// Where it sends to, if it is a send or a publish.
    pub fn sends_to(&self) -> Option<Destination> {
        match view::view(&self.bytes).ok()? {
            View::SendMessages { queue, .. } | View::SendMessagesOnce { queue, .. } => {
                Some(Destination::Queue(queue))
            }
            View::Publish { topic, .. } => Some(Destination::Topic(topic)),
            _ => None,
        }
    }

    /// The topic it publishes to.
    pub fn publishes_to(&self) -> Option<TopicId> {
        if self.bytes.first() != Some(&kind::PUBLISH) {
            return None;
        }
        match view::view(&self.bytes).ok()? {
            View::Publish { topic, .. } => Some(topic),
            _ => None,
        }
    }

    /// The version that a cluster must work at before this may be proposed: then every replica can read
    /// it.
    pub fn since(&self) -> ClusterVersion {
        let kind = self.bytes.first();
        kind.map_or(ClusterVersion::UNREADABLE, |kind| kind::since(*kind))
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
    /// The state of a shard.
    pub(crate) const STATE: u8 = 8;
}
