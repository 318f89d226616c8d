//! What an operation is, whoever asks for it and in whichever dialect: its class and its resource.

use std::fmt;

use crate::name::{QueueName, SubscriptionName, TopicName};

/// What kind of work an operation is. Rates are for classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Messages go into a queue.
    Send,
    /// Messages go to the subscriptions of a topic.
    Publish,
    /// Messages are leased; it may wait for them.
    Receive,
    /// Messages that were received end.
    Delete,
    /// Leases of messages that were received end sooner or later than they would.
    Lease,
    /// Queues, topics and subscriptions are made, changed, shown or ended.
    Control,
}

/// What an operation is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// All that the account has of a kind.
    Account,
    Queue(&'a QueueName),
    Topic(&'a TopicName),
    /// Of a topic, by its name there.
    Subscription(&'a TopicName, &'a SubscriptionName),
}

/// As a path, for people.
impl fmt::Display for Resource<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => formatter.write_str("account"),
            Self::Queue(queue) => write!(formatter, "queue/{queue}"),
            Self::Topic(topic) => write!(formatter, "topic/{topic}"),
            Self::Subscription(topic, name) => write!(formatter, "topic/{topic}/{name}"),
        }
    }
}

/// How many messages a field of an operation stands for.
pub(super) trait Count {
    fn count(&self) -> usize;
}

impl<T> Count for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }
}

impl Count for u32 {
    fn count(&self) -> usize {
        usize::try_from(*self).unwrap_or(usize::MAX)
    }
}
