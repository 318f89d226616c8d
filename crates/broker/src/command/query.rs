//! What can be read of a shard's state, and how that is answered.

use serde::{Deserialize, Serialize};

use super::NodeRecord;
use crate::{
    attributes::{DeadLetterPolicy, QueueAttributes, SubscriptionAttributes, TopicAttributes},
    error::Error,
    id::{AccountId, QueueId, ShardId, SubscriptionId, TopicId},
    name::{QueueName, SubscriptionName, TopicName},
    op::{QueueCounts, QueueListing, SubscriptionListing, SubscriptionTotals, TopicListing},
    time::Timestamp,
};

/// A read of a shard's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Catalog: one queue by name.
    Queue { account: AccountId, name: QueueName },
    /// Catalog.
    Queues {
        account: AccountId,
        search: String,
        offset: u64,
        limit: u64,
    },
    /// Catalog.
    DeadLetterSources {
        account: AccountId,
        name: QueueName,
        search: String,
        offset: u64,
        limit: u64,
    },
    /// Home.
    Counts { queue: QueueId },
    /// Catalog: one topic by name.
    Topic { account: AccountId, name: TopicName },
    /// Catalog.
    Topics {
        account: AccountId,
        search: String,
        offset: u64,
        limit: u64,
    },
    /// Catalog.
    Subscription {
        account: AccountId,
        topic: TopicName,
        name: SubscriptionName,
    },
    /// Catalog.
    Subscriptions {
        account: AccountId,
        topic: TopicName,
        search: String,
        offset: u64,
        limit: u64,
    },
    /// Home: what a queue can take of what `source` carries to it.
    Room { queue: QueueId, source: QueueId },
    /// Home.
    TopicCounts { topic: TopicId },
    /// Home.
    SubscriptionCounts { subscription: SubscriptionId },
    /// Catalog: the cluster and its nodes.
    Nodes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Queue(Box<QueueRecord>),
    Queues {
        total: u64,
        queues: Vec<QueueListing>,
    },
    Counts(QueueCounts),
    Topic(Box<TopicRecord>),
    Topics {
        total: u64,
        topics: Vec<TopicListing>,
    },
    Subscription(Box<SubscriptionRecord>),
    Subscriptions {
        total: u64,
        subscriptions: Vec<SubscriptionListing>,
    },
    Room(Room),
    TopicCounts(TopicCounts),
    SubscriptionCounts(SubscriptionCounts),
    Nodes {
        /// `None`: the cluster was not formed yet.
        cluster: Option<[u8; 16]>,
        /// In the order of their numbers, the removed ones included.
        nodes: Vec<NodeRecord>,
    },
    Refused(Error),
}

/// A queue in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    pub queue: QueueId,
    pub shard: ShardId,
    pub name: QueueName,
    pub attributes: QueueAttributes,
    pub dead_letter: Option<(QueueName, DeadLetterPolicy)>,
    /// By the wall clock.
    pub created: Timestamp,
    pub modified: Timestamp,
}

/// A topic in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    pub topic: TopicId,
    pub shard: ShardId,
    pub name: TopicName,
    pub attributes: TopicAttributes,
    pub subscriptions: u64,
    /// By the wall clock.
    pub created: Timestamp,
    pub modified: Timestamp,
}

/// A subscription in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRecord {
    pub subscription: SubscriptionId,
    pub shard: ShardId,
    pub topic: TopicName,
    pub name: SubscriptionName,
    pub attributes: SubscriptionAttributes,
    /// By name.
    pub dead_letter: Option<QueueName>,
    /// By the wall clock.
    pub created: Timestamp,
    pub modified: Timestamp,
}

/// What a queue can take at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    pub messages: u64,
    /// Of one body.
    pub body_bytes_max: u32,
    /// The number of the last message that it has from the source; 0 if it has none.
    pub accepted: u64,
}

/// What a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicCounts {
    /// As [`crate::op::TopicDescription::waiting`].
    pub waiting: u64,
    pub published: u64,
}

/// What a subscription has not delivered, and what became of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SubscriptionCounts {
    pub waiting: u64,
    pub totals: SubscriptionTotals,
}
