//! The larger commands on topics.

use crate::{
    attributes::{BodyFormat, TopicAttributes},
    id::{AccountId, ShardId},
    labels::{BindingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::EndpointName,
    retry::RetryStrategy,
    time::Millis,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopic {
    pub account: AccountId,
    pub name: TopicName,
    pub attributes: TopicAttributes,
    pub topics_max: u64,
    pub reuse_after: Millis,
    /// Shards that whoever proposes this knows to have no leader now, in ascending order: another one takes it, if
    /// there is one.
    pub avoid: Vec<ShardId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub account: AccountId,
    pub topic: TopicName,
    pub name: SubscriptionName,
    pub endpoint: EndpointName,
    pub retry: RetryStrategy,
    pub format: BodyFormat,
    /// Used if the topic filters by tags.
    pub tags: Vec<Tag>,
    /// Used if the topic filters by routing keys.
    pub binding_keys: Vec<BindingKey>,
    pub dead_letter: Option<QueueName>,
    pub subscriptions_max: u64,
}
