//! A topic on its home shard: which subscriptions it has, and which of them want a message.
//!
//! What a subscription has still to deliver is in its outbox, an ordinary queue of references to the
//! messages: a body is stored once, however many subscriptions want it.

use std::sync::Arc;

use crate::{
    attributes::{
        Acknowledge, DeadLetterAfter, DeadLetterPolicy, Endpoint, QueueAttributes, RetentionFrom,
        SubscriptionAttributes, TopicAttributes,
    },
    id::SubscriptionId,
    labels::Labels,
    limits,
    queue::Role,
    retry::RetryStrategy,
    sorted::SortedMap,
    time::Millis,
};

mod router;

pub(crate) use router::Router;

#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) revision: u64,
    pub(crate) attributes: TopicAttributes,
    subscriptions: SortedMap<SubscriptionId, Arc<Subscription>>,
    /// Of the filters as they are; none since one changed.
    router: Option<Arc<Router>>,
    /// Messages, each counted once.
    pub(crate) published: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) revision: u64,
    pub(crate) attributes: SubscriptionAttributes,
    pub(crate) given_up: u64,
}

impl Topic {
    pub(crate) fn new(revision: u64, attributes: TopicAttributes) -> Self {
        Self {
            revision,
            attributes,
            subscriptions: SortedMap::default(),
            router: None,
            published: 0,
        }
    }

    pub(crate) fn subscriptions(&self) -> &SortedMap<SubscriptionId, Arc<Subscription>> {
        &self.subscriptions
    }

    pub(crate) fn put(&mut self, id: SubscriptionId, subscription: Subscription) {
        let filter = subscription.attributes.filter.clone();
        let old = self.subscriptions.replace(id, Arc::new(subscription));
        if old.is_none_or(|old| old.attributes.filter != filter) {
            self.router = None;
        }
    }

    pub(crate) fn remove(&mut self, id: SubscriptionId) {
        self.router = None;
        self.subscriptions.remove(&id);
    }

    pub(crate) fn count_given_up(&mut self, id: SubscriptionId, messages: u64) {
        if let Some(subscription) = self.subscriptions.own(&id) {
            subscription.given_up += messages;
        }
    }

    /// The subscriptions that want a message, in the order of their numbers.
    pub(crate) fn matching(&mut self, labels: &Labels) -> Vec<SubscriptionId> {
        let filters = self.subscriptions.iter();
        let filters = filters.map(|(id, subscription)| (*id, &subscription.attributes.filter));
        let router = self
            .router
            .get_or_insert_with(|| Arc::new(Router::new(filters)));
        router.matching(labels)
    }

    /// What the outbox of a subscription is like.
    pub(crate) fn outbox(&self, attributes: &SubscriptionAttributes) -> QueueAttributes {
        let retention = self.attributes.retention;
        let dead_letter = attributes.dead_letter.map(|queue| DeadLetterPolicy {
            queue,
            after: DeadLetterAfter::Age(retention),
        });
        // With a dead-letter queue, messages leave at the end of the topic's retention. A lease may
        // run at that moment: then they leave when it ends.
        let longer = match dead_letter {
            Some(_) => limits::VISIBILITY_MAX,
            None => Millis(0),
        };
        QueueAttributes {
            backlog_max: u64::MAX,
            wait: Millis(0),
            visibility: limits::VISIBILITY_MAX,
            body_bytes_max: limits::BODY_BYTES_MAX,
            retention: Millis(retention.0 + longer.0),
            retention_from: RetentionFrom::Sent,
            rewind: Millis(0),
            delay: Millis(0),
            delay_max: Millis(0),
            delayed_max: u64::MAX,
            in_flight_max: match attributes.retry {
                RetryStrategy::BackOff => 1,
                RetryStrategy::ExponentialDecay => limits::OUTBOX_IN_FLIGHT_MAX,
            },
            dead_letter,
            acknowledge: Acknowledge::Majority,
        }
    }
}

/// Who empties the outbox of a subscription.
pub(crate) fn role(id: SubscriptionId, attributes: &SubscriptionAttributes) -> Role {
    match attributes.endpoint {
        Endpoint::Http { .. } => Role::Pushed(id),
        Endpoint::Queue { queue, .. } => Role::Forwarded(queue),
    }
}
