//! Identifiers. Each is a number that the history of a shard gives away once and never again.
//!
//! A [`Sequence`] is a place in a shard's history; it names a message by the place where it was
//! sent and a lease by the place where it was granted. A [`MessageId`] adds the shard.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a number is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number is beyond the largest of its kind")]
pub struct NotAnId;

/// A tenant. Every queue and every access key belongs to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId(pub u64);

/// A node of a cluster, from 1 on. A number is never given to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// One of a cluster's shards, from 0 to [`ShardId::LAST`]. Shard 0 also holds the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that holds names, accounts and placement.
    pub const CATALOG: ShardId = ShardId(0);
    /// The highest shard number there can be.
    pub const LAST: ShardId = ShardId(1023);
}

impl TryFrom<u16> for ShardId {
    type Error = NotAnId;

    fn try_from(number: u16) -> Result<Self, NotAnId> {
        let shard = Self(number);
        if shard <= Self::LAST {
            Ok(shard)
        } else {
            Err(NotAnId)
        }
    }
}

impl From<ShardId> for u16 {
    fn from(shard: ShardId) -> Self {
        shard.0
    }
}

/// A queue, for as long as it lives: a queue created again under an old name is another queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub u64);

/// A topic, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub u64);

/// A subscription, for as long as it lives. Queues, topics and subscriptions have their numbers from
/// one counter, so that a number names one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionId(pub u64);

impl SubscriptionId {
    /// The queue of what is still to be delivered to the subscriber.
    pub fn outbox(self) -> QueueId {
        QueueId(self.0)
    }
}

/// A place in the history of one shard: the index of a log entry and a number within the entry.
/// Later places are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Sequence(u64);

impl Sequence {
    /// How many messages one entry can hold, and how many leases one entry can grant.
    pub const PER_ENTRY: u32 = 1 << Self::ORDINAL_BITS;
    /// The largest index that fits beside the ordinal and the shard in a [`MessageId`].
    pub const INDEX_LAST: u64 = (1 << 43) - 1;
    const ORDINAL_BITS: u32 = 10;

    /// # Panics
    /// If the index or the ordinal is beyond its bound.
    pub fn new(index: u64, ordinal: u32) -> Self {
        assert!(
            index <= Self::INDEX_LAST,
            "log index {index} does not fit a sequence"
        );
        assert!(
            ordinal < Self::PER_ENTRY,
            "ordinal {ordinal} does not fit a sequence"
        );
        Self(index << Self::ORDINAL_BITS | u64::from(ordinal))
    }

    /// The number as written by [`Sequence::number`]; `None` if it is beyond the largest sequence.
    pub fn from_number(number: u64) -> Option<Self> {
        (number >> Self::ORDINAL_BITS <= Self::INDEX_LAST).then_some(Self(number))
    }

    pub fn number(self) -> u64 {
        self.0
    }

    /// The log entry.
    pub fn index(self) -> u64 {
        self.0 >> Self::ORDINAL_BITS
    }

    /// The number within the entry.
    pub fn ordinal(self) -> u32 {
        u32::try_from(self.0 & u64::from(Self::PER_ENTRY - 1)).expect("ten bits fit")
    }
}

impl TryFrom<u64> for Sequence {
    type Error = NotAnId;

    fn try_from(number: u64) -> Result<Self, NotAnId> {
        Self::from_number(number).ok_or(NotAnId)
    }
}

impl From<Sequence> for u64 {
    fn from(sequence: Sequence) -> Self {
        sequence.number()
    }
}

/// A place in the history of a cluster: a shard and a place in its history. As a number it is below
/// 2^63, so that clients with signed integers read the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    pub shard: ShardId,
    pub sequence: Sequence,
}

impl MessageId {
    const SEQUENCE_BITS: u32 = 53;

    /// The number as written by [`MessageId::number`]; `None` if no id has this number.
    pub fn from_number(number: u64) -> Option<Self> {
        let shard = ShardId(u16::try_from(number >> Self::SEQUENCE_BITS).ok()?);
        let sequence = Sequence::from_number(number & ((1 << Self::SEQUENCE_BITS) - 1))?;
        (shard <= ShardId::LAST).then_some(Self { shard, sequence })
    }

    pub fn number(self) -> u64 {
        u64::from(self.shard.0) << Self::SEQUENCE_BITS | self.sequence.number()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(formatter)
    }
}

/// A lease as its holder knows it: where it was granted. A message leased again has another receipt.
pub type Receipt = MessageId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_id_is_a_positive_signed_number() {
        let sequence = Sequence::new(Sequence::INDEX_LAST, Sequence::PER_ENTRY - 1);
        let id = MessageId {
            shard: ShardId::LAST,
            sequence,
        };
        assert_eq!(id.number(), (1 << 63) - 1);
        assert_eq!(MessageId::from_number(id.number()), Some(id));
        assert_eq!(MessageId::from_number(1 << 63), None);
    }
}
