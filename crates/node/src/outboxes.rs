//! The node as the pushers' port: the outboxes of subscriptions over HTTP.

use std::sync::Arc;

use anser_broker::{
    command::Command,
    error::Error,
    id::{Receipt, Sequence, ShardId, SubscriptionId},
    labels::Published,
    op::{DeliveryFailure, ReceivedMessage},
    outboxes::{Outboxes, PendingDelivery, Subscriber},
    time::{Millis, Timestamp},
};
use anser_replica::ReceiveRequest;
use tracing::error;

use crate::{
    event::{Request, Response},
    node::Node,
};

impl Outboxes for Node {
    async fn next_pending(&self) -> Option<SubscriptionId> {
        self.announcements().next().await
    }

    fn subscriber(&self, subscription: SubscriptionId) -> Option<Arc<Subscriber>> {
        let find = || self.desk().routes.subscriber(subscription);
        let route = find().or_else(|| {
            self.announcements().forget(subscription);
            // It may have become known, and been announced, between the two.
            find()
        });
        route.map(|route| route.subscriber)
    }

    async fn take(
        &self,
        subscription: SubscriptionId,
        max: u32,
        visibility: Millis,
    ) -> Result<Vec<PendingDelivery>, Error> {
        self.announcements().look_begins(subscription);
        let taken = self.receive_pending(subscription, max, visibility).await;
        let found_nothing = match &taken {
            Ok(messages) => messages.is_empty(),
            Err(error) => is_gone(*error),
        };
        if found_nothing {
            self.announcements().nothing_found(subscription);
        }
        taken
    }

    async fn delivered(
        &self,
        subscription: SubscriptionId,
        receipts: Vec<Receipt>,
    ) -> Result<(), Error> {
        let queue = subscription.outbox();
        let receipts = sequences(receipts);
        self.tell(subscription, &Command::DeleteMessages { queue, receipts })
            .await
    }

    async fn retry_in(
        &self,
        subscription: SubscriptionId,
        receipt: Receipt,
        wait: Millis,
    ) -> Result<(), Error> {
        let command = Command::ChangeVisibility {
            queue: subscription.outbox(),
            receipts: sequences(vec![receipt]),
            visibility: wait,
        };
        self.tell(subscription, &command).await
    }

    async fn give_up(&self, subscription: SubscriptionId, receipt: Receipt) -> Result<(), Error> {
        let queue = subscription.outbox();
        let receipts = sequences(vec![receipt]);
        self.tell(subscription, &Command::GiveUp { queue, receipts })
            .await
    }

    fn failed(&self, subscription: SubscriptionId, failure: DeliveryFailure) {
        self.failures().add(subscription, failure);
    }

    fn now(&self) -> Timestamp {
        self.clock().wall()
    }

    async fn sleep(&self, length: Millis) {
        self.clock().sleep(length).await;
    }
}

impl Node {
    async fn receive_pending(
        &self,
        subscription: SubscriptionId,
        max: u32,
        visibility: Millis,
    ) -> Result<Vec<PendingDelivery>, Error> {
        let shard = self.outbox_shard(subscription)?;
        if !self.desk().leads(shard) {
            // Whoever leads the shard now has announced it on its own node. If that is this one by now, it
            // is announced again: nothing was found.
            return Ok(Vec::new());
        }
        let request = ReceiveRequest {
            queue: subscription.outbox(),
            max,
            visibility: Some(visibility),
            wait: Some(Millis(0)),
        };
        let received = anser_host::ask_here(self.desk(), shard, Request::Receive(request));
        match received.await.unwrap_or(Err(Error::Unavailable)) {
            Ok(Response::Messages(messages)) => Ok(messages.iter().filter_map(pending).collect()),
            Ok(other) => unreachable!("a receive is answered with messages, not {other:?}"),
            Err(Error::TooManyInFlight) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, subscription: SubscriptionId, command: &Command) -> Result<(), Error> {
        let shard = self.outbox_shard(subscription)?;
        anser_host::propose(self.desk(), shard, command)
            .await
            .map(drop)
    }

    fn outbox_shard(&self, subscription: SubscriptionId) -> Result<ShardId, Error> {
        let route = self.desk().routes.subscriber(subscription);
        route
            .map(|route| route.shard)
            .ok_or(Error::NoSuchSubscription)
    }
}

fn is_gone(error: Error) -> bool {
    matches!(error, Error::NoSuchSubscription | Error::NoSuchQueue)
}

fn sequences(receipts: Vec<Receipt>) -> Vec<Sequence> {
    let receipts = receipts.into_iter();
    receipts.map(|receipt| receipt.sequence).collect()
}

/// A leased message with its labels. One whose labels cannot be read is leased again and again until its
/// retention ends; publishing has made sure that there is none.
fn pending(message: &ReceivedMessage) -> Option<PendingDelivery> {
    let Some(Published { labels, body }) = Published::open(&message.body) else {
        error!(message = %message.message, "a published message has no labels before it");
        return None;
    };
    Some(PendingDelivery {
        message: message.message,
        receipt: message.receipt,
        labels,
        body,
        published: message.sent,
        attempt: message.deliveries,
    })
}
