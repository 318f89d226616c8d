//! Refusals: what a client hears instead of a result. Each dialect has a word for each of them.
//! Nodes send them to each other by number: a new one goes to the end.

use serde::{Deserialize, Serialize};

use crate::version::ClusterVersion;

/// Why an operation did not happen. Unless said otherwise, nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    #[error("the queue does not exist")]
    NoSuchQueue,
    #[error("a queue of this name exists already")]
    QueueExists,
    #[error("a queue of this name was deleted a moment ago")]
    QueueRecentlyDeleted,
    #[error("the account has as many queues as it may have")]
    TooManyQueues,
    #[error("the dead-letter queue does not exist")]
    NoSuchDeadLetterQueue,
    #[error("a dead-letter queue cannot have a dead-letter queue")]
    DeadLetterNested,
    #[error("the dead-letter queue has as many sources as it may have")]
    TooManyDeadLetterSources,
    #[error("the queue is the dead-letter queue of another")]
    IsDeadLetterQueue,
    /// The age of a dead-letter policy is not below the retention.
    #[error("messages would expire before the dead-letter policy applies")]
    DeadLetterAgeTooLong,
    #[error("an attribute is out of its range")]
    AttributeOutOfRange,
    #[error("messages cannot be rewound for longer than they are kept")]
    RewindLongerThanRetention,
    #[error("a message body is empty")]
    BodyEmpty,
    #[error("a message body is larger than the queue allows")]
    BodyTooLarge,
    #[error("the batch is empty or has too many messages or bytes")]
    BatchSize,
    #[error("the delay is longer than the queue allows")]
    DelayTooLong,
    #[error("the queue holds as many messages as it may hold")]
    BacklogFull,
    #[error("the queue has as many delayed messages as it may have")]
    TooManyDelayed,
    #[error("the queue has as many leased messages as it may have")]
    TooManyInFlight,
    #[error("the receipt names no lease that is still running")]
    ReceiptInvalid,
    #[error("the queue keeps no deleted messages")]
    NotRewindable,
    #[error("the moment to rewind to is outside the range that is kept")]
    RewindOutOfRange,
    #[error("the topic does not exist")]
    NoSuchTopic,
    #[error("a topic of this name exists already")]
    TopicExists,
    #[error("a topic of this name was deleted a moment ago")]
    TopicRecentlyDeleted,
    #[error("the account has as many topics as it may have")]
    TooManyTopics,
    #[error("the topic has subscriptions")]
    TopicHasSubscriptions,
    #[error("the subscription does not exist")]
    NoSuchSubscription,
    #[error("a subscription of this name exists already in this topic")]
    SubscriptionExists,
    #[error("the topic has as many subscriptions as it may have")]
    TooManySubscriptions,
    /// The queue that a subscription is to deliver to.
    #[error("the queue to deliver to does not exist")]
    NoSuchEndpointQueue,
    /// A queue gets bare bodies: there is nothing that could read another format.
    #[error("a queue takes no other format than the bare body")]
    FormatNotForQueues,
    #[error("a topic with routing keys needs a routing key")]
    RoutingKeyMissing,
    #[error("a subscription of a topic with routing keys needs a binding key")]
    BindingKeyMissing,
    #[error("the topic has no subscription")]
    NoSubscription,
    #[error("no subscription's filter matches")]
    NoSubscriptionMatches,
    /// A repeat of a send has as many messages as the send.
    #[error("the token was used for a send of another number of messages")]
    TokenReused,
    #[error("the node does not exist")]
    NoSuchNode,
    /// A node that was removed comes back as another one, with an empty disk.
    #[error("the node was removed from the cluster")]
    NodeRemoved,
    /// Those that were removed count too.
    #[error("the cluster has had as many nodes as it may have")]
    TooManyNodes,
    #[error("the cluster has another id")]
    OtherCluster,
    #[error("some shard would have too few voters without the node: empty it first")]
    NodeNeeded,
    /// Too much is under way for this shard; the same request may succeed in a moment.
    #[error("too many requests are under way")]
    Busy,
    /// The disk is nearly full: sends are refused, everything else works.
    #[error("the storage is full")]
    StorageFull,
    /// The node stops or lost its leadership; whether the operation happened is unknown.
    #[error("the outcome is unknown")]
    Unknown,
    /// The node cannot serve this shard now; nothing has happened.
    #[error("the service is not available")]
    Unavailable,
    /// Some node could not read what this would put into the log.
    #[error("not until every node of the cluster runs version {0}")]
    NeedsVersion(ClusterVersion),
    /// A node has joined since it was decided what all nodes can read, or was removed since it was decided that another can be.
    #[error("the cluster has other nodes than was thought")]
    OtherNodes,
    /// The data directory is an old copy of the node's, or another copy of it was started before.
    #[error("a later start of the node is known: its data directory is an old copy")]
    FormerStart,
}

impl Error {
    /// As which nodes send it to each other, and as which it is part of a shard's fingerprint.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::NoSuchQueue => 0,
            Self::QueueExists => 1,
            Self::QueueRecentlyDeleted => 2,
            Self::TooManyQueues => 3,
            Self::NoSuchDeadLetterQueue => 4,
            Self::DeadLetterNested => 5,
            Self::TooManyDeadLetterSources => 6,
            Self::IsDeadLetterQueue => 7,
            Self::DeadLetterAgeTooLong => 8,
            Self::AttributeOutOfRange => 9,
            Self::RewindLongerThanRetention => 10,
            Self::BodyEmpty => 11,
            Self::BodyTooLarge => 12,
            Self::BatchSize => 13,
            Self::DelayTooLong => 14,
            Self::BacklogFull => 15,
            Self::TooManyDelayed => 16,
            Self::TooManyInFlight => 17,
            Self::ReceiptInvalid => 18,
            Self::NotRewindable => 19,
            Self::RewindOutOfRange => 20,
            Self::NoSuchTopic => 21,
            Self::TopicExists => 22,
            Self::TopicRecentlyDeleted => 23,
            Self::TooManyTopics => 24,
            Self::TopicHasSubscriptions => 25,
            Self::NoSuchSubscription => 26,
            Self::SubscriptionExists => 27,
            Self::TooManySubscriptions => 28,
            Self::NoSuchEndpointQueue => 29,
            Self::FormatNotForQueues => 30,
            Self::RoutingKeyMissing => 31,
            Self::BindingKeyMissing => 32,
            Self::NoSubscription => 33,
            Self::NoSubscriptionMatches => 34,
            Self::TokenReused => 35,
            Self::NoSuchNode => 36,
            Self::NodeRemoved => 37,
            Self::TooManyNodes => 38,
            Self::OtherCluster => 39,
            Self::NodeNeeded => 40,
            Self::Busy => 41,
            Self::StorageFull => 42,
            Self::Unknown => 43,
            Self::Unavailable => 44,
            Self::NeedsVersion(_) => 45,
            Self::OtherNodes => 46,
            Self::FormerStart => 47,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_number_by_which_nodes_send_it() {
        let mut known = 0;
        for number in 0..=u8::MAX {
            let sent = [number, 1];
            let Ok((error, _)) = postcard::take_from_bytes::<Error>(&sent) else {
                continue;
            };
            assert_eq!(error.number(), number);
            known += 1;
        }
        assert_eq!(known, 48, "a new one goes to the end");
    }
}
