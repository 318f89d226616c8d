//! The operations on topics and subscriptions.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    attributes::{BodyFormat, Endpoint, Filter, TopicAttributes, TopicChanges},
    id::{MessageId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    retry::RetryStrategy,
    time::{Millis, Timestamp},
};

/// Makes a topic that can be used when the answer is there.
#[derive(Debug, Clone)]
pub struct CreateTopic {
    pub name: TopicName,
    pub attributes: TopicAttributes,
    /// How many topics the account may have, this one included.
    pub topics_max: u64,
    /// How long a deleted topic's name stays unusable.
    pub reuse_after: Millis,
}

#[derive(Debug, Clone)]
pub struct TopicCreated {
    pub topic: TopicId,
}

/// Ends a topic. Refused while it has subscriptions.
#[derive(Debug, Clone)]
pub struct DeleteTopic {
    pub name: TopicName,
}

#[derive(Debug, Clone)]
pub struct TopicDeleted;

#[derive(Debug, Clone)]
pub struct SetTopicAttributes {
    pub name: TopicName,
    pub changes: TopicChanges,
}

#[derive(Debug, Clone)]
pub struct TopicChanged {
    pub topic: TopicId,
    pub attributes: TopicAttributes,
}

#[derive(Debug, Clone)]
pub struct DescribeTopic {
    pub name: TopicName,
}

#[derive(Debug, Clone)]
pub struct TopicDescription {
    pub topic: TopicId,
    /// In the case it was created with.
    pub name: TopicName,
    pub attributes: TopicAttributes,
    /// By the wall clock.
    pub created: Timestamp,
    /// When an attribute was last set, by the wall clock.
    pub modified: Timestamp,
    pub subscriptions: u64,
    /// Messages that some subscriber has not received yet. Exact while the subscriptions together
    /// have at most 10,000 messages to come; beyond, the largest number that one of them has.
    pub waiting: u64,
    /// Messages published since the topic was created, each counted once.
    pub published: u64,
}

/// The account's topics in the order of their creation.
#[derive(Debug, Clone)]
pub struct ListTopics {
    /// Part of the name, in any case; empty: all.
    pub search: String,
    pub offset: u64,
    pub limit: u64,
}

#[derive(Debug, Clone)]
pub struct TopicsListed {
    /// How many match, before offset and limit.
    pub total: u64,
    pub topics: Vec<TopicListing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicListing {
    pub topic: TopicId,
    pub name: TopicName,
}

/// All of the bodies become messages for every subscription whose filter matches the labels, or
/// none does. Does not wait for any subscriber.
#[derive(Debug, Clone)]
pub struct PublishMessages {
    pub topic: TopicName,
    /// Shared by all bodies. What the topic's kind of filter does not use is delivered and not
    /// looked at.
    pub labels: Labels,
    pub bodies: Vec<Bytes>,
}

#[derive(Debug, Clone)]
pub struct MessagesPublished {
    /// In the order of the bodies.
    pub messages: Vec<MessageId>,
}

/// Makes a subscription, which gets what is published from now on.
#[derive(Debug, Clone)]
pub struct Subscribe {
    pub topic: TopicName,
    pub name: SubscriptionName,
    pub endpoint: EndpointName,
    pub retry: RetryStrategy,
    pub format: BodyFormat,
    /// Used if the topic filters by tags.
    pub tags: Vec<Tag>,
    /// Used, and then at least one needed, if the topic filters by routing keys.
    pub binding_keys: Vec<BindingKey>,
    pub dead_letter: Option<QueueName>,
    /// How many subscriptions the topic may have, this one included.
    pub subscriptions_max: u64,
}

/// An endpoint as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointName {
    Http { url: String },
    Queue(QueueName),
}

#[derive(Debug, Clone)]
pub struct Subscribed {
    pub subscription: SubscriptionId,
}

#[derive(Debug, Clone)]
pub struct SetSubscriptionAttributes {
    pub topic: TopicName,
    pub name: SubscriptionName,
    pub changes: SubscriptionChanges,
}

/// Settings to change; `None` leaves one as it is, a list replaces the whole list. The list that the
/// topic's kind of filter does not use changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionChanges {
    pub retry: Option<RetryStrategy>,
    pub format: Option<BodyFormat>,
    pub tags: Option<Vec<Tag>>,
    pub binding_keys: Option<Vec<BindingKey>>,
    pub dead_letter: DeadLetterQueueChange,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeadLetterQueueChange {
    #[default]
    Keep,
    Remove,
    Set(QueueName),
}

#[derive(Debug, Clone)]
pub struct SubscriptionChanged {
    pub subscription: SubscriptionId,
}

#[derive(Debug, Clone)]
pub struct DescribeSubscription {
    pub topic: TopicName,
    pub name: SubscriptionName,
}

#[derive(Debug, Clone)]
pub struct SubscriptionDescription {
    pub subscription: SubscriptionId,
    pub topic: TopicName,
    pub name: SubscriptionName,
    pub endpoint: Endpoint,
    pub retry: RetryStrategy,
    pub format: BodyFormat,
    pub filter: Filter,
    pub dead_letter: Option<QueueName>,
    /// By the wall clock, like the next.
    pub created: Timestamp,
    pub modified: Timestamp,
    /// Messages that this subscriber has not received yet.
    pub waiting: u64,
    pub totals: SubscriptionTotals,
    /// The last failures of deliveries over HTTP that this node knows of, the newest first.
    pub failures: Vec<DeliveryFailure>,
}

/// What happened to a subscription's messages since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SubscriptionTotals {
    /// Published messages that matched the filter.
    pub matched: u64,
    pub delivered: u64,
    /// Ended by the topic's retention.
    pub expired: u64,
    /// Given up after the last retry, with no dead-letter queue to go to.
    pub given_up: u64,
    /// Moved to the dead-letter queue.
    pub dead_lettered: u64,
}

/// A delivery over HTTP that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFailure {
    /// By the wall clock.
    pub at: Timestamp,
    pub message: MessageId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// HTTP's status, if there was an answer.
    pub status: Option<u16>,
    /// From the beginning of the attempt to its end.
    pub took: Millis,
    /// Why it is a failure, in a few words.
    pub reason: String,
    /// The first bytes of the answer's body.
    pub answer: Bytes,
}

/// The topic's subscriptions in the order of their creation.
#[derive(Debug, Clone)]
pub struct ListSubscriptions {
    pub topic: TopicName,
    /// Part of the name, in any case; empty: all.
    pub search: String,
    pub offset: u64,
    pub limit: u64,
}

#[derive(Debug, Clone)]
pub struct SubscriptionsListed {
    /// How many match, before offset and limit.
    pub total: u64,
    pub subscriptions: Vec<SubscriptionListing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionListing {
    pub subscription: SubscriptionId,
    pub name: SubscriptionName,
    pub endpoint: Endpoint,
}

/// Ends a subscription and what it has not delivered.
#[derive(Debug, Clone)]
pub struct Unsubscribe {
    pub topic: TopicName,
    pub name: SubscriptionName,
}

#[derive(Debug, Clone)]
pub struct Unsubscribed;
