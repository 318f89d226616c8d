//! The port between the pushers and the house: a pusher is a consumer of subscriptions' outboxes.
//!
//! What is taken from an outbox is leased. A pusher that dies leaves leases that end by themselves,
//! so that another one delivers again: at least once.

use std::{future::Future, sync::Arc};

use bytes::Bytes;

use crate::{
    attributes::BodyFormat,
    error::Error,
    id::{AccountId, MessageId, Receipt, SubscriptionId},
    labels::Labels,
    name::{SubscriptionName, TopicName},
    op::DeliveryFailure,
    retry::RetryStrategy,
    time::{Millis, Timestamp},
};

pub trait Outboxes: Clone + Send + Sync + 'static {
    /// Waits until a subscription over HTTP may have something to take: messages were published to
    /// it, or a lease of it ended. `None`: the node stops. A subscription is announced again only
    /// after [`Outboxes::take`] found nothing to take, or found it gone.
    fn next_pending(&self) -> impl Future<Output = Option<SubscriptionId>> + Send;

    /// What there is to know about a subscription; `None` if it is gone or is not over HTTP. Cheap.
    fn subscriber(&self, subscription: SubscriptionId) -> Option<Arc<Subscriber>>;

    /// Leases up to `max` messages for `visibility`, oldest first, without waiting. Empty also while
    /// the subscription's strategy allows no more at once.
    fn take(
        &self,
        subscription: SubscriptionId,
        max: u32,
        visibility: Millis,
    ) -> impl Future<Output = Result<Vec<PendingDelivery>, Error>> + Send;

    /// Ends messages that the subscriber has; at most [`crate::limits::BATCH_MESSAGES_MAX`].
    fn delivered(
        &self,
        subscription: SubscriptionId,
        receipts: Vec<Receipt>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps a message hidden for so long, then offers it again.
    fn retry_in(
        &self,
        subscription: SubscriptionId,
        receipt: Receipt,
        wait: Millis,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends a message that will not be tried again: it goes to the dead-letter queue or is counted.
    fn give_up(
        &self,
        subscription: SubscriptionId,
        receipt: Receipt,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Remembers a failure for whoever asks why a subscriber gets nothing.
    fn failed(&self, subscription: SubscriptionId, failure: DeliveryFailure);

    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Waits for so long by the clock that leases run on.
    fn sleep(&self, length: Millis) -> impl Future<Output = ()> + Send;
}

/// A subscription over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    pub subscription: SubscriptionId,
    /// The topic's owner.
    pub account: AccountId,
    pub topic: TopicName,
    pub name: SubscriptionName,
    pub url: Box<str>,
    pub retry: RetryStrategy,
    pub format: BodyFormat,
}

/// A message taken from an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDelivery {
    pub message: MessageId,
    pub receipt: Receipt,
    pub labels: Labels,
    pub body: Bytes,
    /// By the wall clock.
    pub published: Timestamp,
    /// How often it was taken, this time included.
    pub attempt: u32,
}
