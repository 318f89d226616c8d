//! Outboxes in memory that behave like the real ones, with a clock that is moved by hand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anser_broker::{
    error::Error,
    id::{MessageId, Receipt, Sequence, ShardId, SubscriptionId},
    labels::Labels,
    op::DeliveryFailure,
    outboxes::{Outboxes, PendingDelivery, Subscriber},
    retry::RetryStrategy,
    time::{Millis, Timestamp},
};
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

/// What the wall clock shows when the clock of leases shows zero, in milliseconds.
pub(crate) const EPOCH: u64 = 1_700_000_000_000;
/// A test that waits for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    /// The clock of leases, in milliseconds.
    pub(crate) now: u64,
    last_number: u64,
    pub(crate) outboxes: BTreeMap<SubscriptionId, Outbox>,
    pending: VecDeque<SubscriptionId>,
    sleepers: Vec<(u64, oneshot::Sender<()>)>,
    /// What the next takes and settlements answer instead of working.
    pub(crate) take_errors: VecDeque<Error>,
    pub(crate) settle_errors: VecDeque<Error>,
    stopped: bool,
}

pub(crate) struct Outbox {
    pub(crate) subscriber: Arc<Subscriber>,
    messages: BTreeMap<MessageId, Message>,
    /// Whether the next message or the next end of a lease is announced.
    armed: bool,
    pub(crate) takes: Vec<Take>,
    pub(crate) delivered: Vec<MessageId>,
    pub(crate) returned: Vec<Returned>,
    pub(crate) given_up: Vec<MessageId>,
    pub(crate) failures: Vec<DeliveryFailure>,
}

struct Message {
    body: Bytes,
    labels: Labels,
    published: Timestamp,
    attempts: u32,
    lease: Option<(Receipt, u64)>,
}

pub(crate) struct Take {
    pub(crate) at: u64,
    pub(crate) max: u32,
    pub(crate) visibility: Millis,
    pub(crate) taken: Vec<MessageId>,
}

pub(crate) struct Returned {
    pub(crate) at: u64,
    pub(crate) wait: Millis,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        let outbox = Outbox {
            subscriber: Arc::new(subscriber),
            messages: BTreeMap::new(),
            armed: true,
            takes: Vec::new(),
            delivered: Vec::new(),
            returned: Vec::new(),
            given_up: Vec::new(),
            failures: Vec::new(),
        };
        self.change(|state| {
            state
                .outboxes
                .insert(outbox.subscriber.subscription, outbox)
        });
    }

    pub(crate) fn publish(
        &self,
        subscription: SubscriptionId,
        body: impl Into<Bytes>,
        labels: Labels,
    ) -> MessageId {
        self.change(|state| {
            let (id, published) = (state.next_number(), Timestamp(EPOCH + state.now));
            let outbox = state.outboxes.get_mut(&subscription).unwrap();
            let message = Message {
                body: body.into(),
                labels,
                published,
                attempts: 0,
                lease: None,
            };
            outbox.messages.insert(id, message);
            state.announce(subscription);
            id
        })
    }

    pub(crate) fn unsubscribe(&self, subscription: SubscriptionId) {
        self.change(|state| state.outboxes.remove(&subscription));
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        done
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until something can be seen.
    pub(crate) async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = self.look(&look) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("this should have happened by now")
    }

    /// Moves the clock to when the next sleeper wakes or the next lease ends, as soon as there is
    /// one.
    pub(crate) async fn pass_time(&self) {
        let next = self.until(State::next_moment).await;
        self.change(|state| state.move_clock(next));
    }

    /// Waits until a sleeper is there, and moves the clock to when it wakes.
    pub(crate) async fn pass_sleep(&self) {
        let next = self
            .until(|state| state.sleepers.iter().map(|(at, _)| *at).min())
            .await;
        self.change(|state| state.move_clock(next));
    }

    pub(crate) fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn settle(
        &self,
        subscription: SubscriptionId,
        receipt: Receipt,
        settle: impl FnOnce(&mut Outbox, u64, MessageId),
    ) -> Result<(), Error> {
        self.change(|state| {
            if let Some(error) = state.settle_errors.pop_front() {
                return Err(error);
            }
            let now = state.now;
            let outbox = state
                .outboxes
                .get_mut(&subscription)
                .ok_or(Error::NoSuchSubscription)?;
            let holds = |message: &Message| {
                message
                    .lease
                    .is_some_and(|(held, until)| held == receipt && now < until)
            };
            let found = outbox.messages.iter().find(|(_, message)| holds(message));
            let id = *found.ok_or(Error::ReceiptInvalid)?.0;
            settle(outbox, now, id);
            state.announce(subscription);
            Ok(())
        })
    }
}

impl State {
    pub(crate) fn only(&self) -> &Outbox {
        self.outboxes.values().next().unwrap()
    }

    pub(crate) fn delivered(&self) -> usize {
        self.outboxes
            .values()
            .map(|outbox| outbox.delivered.len())
            .sum()
    }

    pub(crate) fn sleeps(&self) -> usize {
        self.sleepers.len()
    }

    fn next_number(&mut self) -> MessageId {
        self.last_number += 1;
        MessageId {
            shard: ShardId(0),
            sequence: Sequence::new(self.last_number, 0),
        }
    }

    fn announce(&mut self, subscription: SubscriptionId) {
        if let Some(outbox) = self.outboxes.get_mut(&subscription)
            && outbox.armed
            && outbox.takeable(self.now) > 0
        {
            outbox.armed = false;
            self.pending.push_back(subscription);
        }
    }

    /// Whether the pusher has heard of all that was announced.
    pub(crate) fn is_heard(&self) -> bool {
        self.pending.is_empty()
    }

    /// As when the pusher of a subscription is gone: the next one hears of it anew.
    pub(crate) fn announce_again(&mut self, subscription: SubscriptionId) {
        if let Some(outbox) = self.outboxes.get_mut(&subscription) {
            outbox.armed = true;
        }
        self.announce(subscription);
    }

    fn next_moment(&self) -> Option<u64> {
        let sleeps = self.sleepers.iter().map(|(at, _)| *at);
        let leases = self.outboxes.values().flat_map(Outbox::lease_ends);
        sleeps.chain(leases).filter(|at| *at > self.now).min()
    }

    pub(crate) fn move_clock(&mut self, now: u64) {
        self.now = now;
        let (awake, asleep): (Vec<_>, Vec<_>) =
            self.sleepers.drain(..).partition(|(at, _)| *at <= now);
        self.sleepers = asleep;
        for (_, sleeper) in awake {
            _ = sleeper.send(());
        }
        for subscription in self.outboxes.keys().copied().collect::<Vec<_>>() {
            self.announce(subscription);
        }
    }
}

impl Outbox {
    fn lease_ends(&self) -> impl Iterator<Item = u64> + '_ {
        let leases = self.messages.values().filter_map(|message| message.lease);
        leases.map(|(_, until)| until)
    }

    fn takeable(&self, now: u64) -> usize {
        let leased = self.lease_ends().filter(|until| now < *until).count();
        match self.subscriber.retry {
            RetryStrategy::BackOff if leased > 0 => 0,
            RetryStrategy::BackOff => self.messages.len().min(1),
            RetryStrategy::ExponentialDecay => self.messages.len() - leased,
        }
    }
}

impl Outboxes for Memory {
    async fn next_pending(&self) -> Option<SubscriptionId> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let mut state = self.lock();
                if let Some(subscription) = state.pending.pop_front() {
                    return Some(subscription);
                }
                if state.stopped {
                    return None;
                }
            }
            changed.changed().await.ok()?;
        }
    }

    fn subscriber(&self, subscription: SubscriptionId) -> Option<Arc<Subscriber>> {
        self.look(|state| Some(Arc::clone(&state.outboxes.get(&subscription)?.subscriber)))
    }

    async fn take(
        &self,
        subscription: SubscriptionId,
        max: u32,
        visibility: Millis,
    ) -> Result<Vec<PendingDelivery>, Error> {
        self.change(|state| {
            if let Some(error) = state.take_errors.pop_front() {
                return Err(error);
            }
            let now = state.now;
            let mut receipts: Vec<Receipt> = (0..max).map(|_| state.next_number()).collect();
            let outbox = state
                .outboxes
                .get_mut(&subscription)
                .ok_or(Error::NoSuchSubscription)?;
            let count = outbox.takeable(now).min(max as usize);
            let free = outbox
                .messages
                .iter_mut()
                .filter(|(_, message)| message.lease.is_none_or(|(_, until)| until <= now));
            let taken: Vec<PendingDelivery> = free
                .take(count)
                .map(|(id, message)| message.lease_to(*id, receipts.remove(0), now + visibility.0))
                .collect();
            outbox.armed = taken.is_empty();
            outbox.takes.push(Take {
                at: now,
                max,
                visibility,
                taken: taken.iter().map(|delivery| delivery.message).collect(),
            });
            Ok(taken)
        })
    }

    async fn delivered(
        &self,
        subscription: SubscriptionId,
        receipts: Vec<Receipt>,
    ) -> Result<(), Error> {
        assert!((1..=anser_broker::limits::BATCH_MESSAGES_MAX).contains(&receipts.len()));
        for receipt in receipts {
            self.settle(subscription, receipt, |outbox, _, id| {
                outbox.messages.remove(&id);
                outbox.delivered.push(id);
            })?;
        }
        Ok(())
    }

    async fn retry_in(
        &self,
        subscription: SubscriptionId,
        receipt: Receipt,
        wait: Millis,
    ) -> Result<(), Error> {
        self.settle(subscription, receipt, |outbox, at, message| {
            let held = outbox.messages.get_mut(&message).unwrap();
            held.lease = Some((receipt, at + wait.0));
            outbox.returned.push(Returned { at, wait });
        })
    }

    async fn give_up(&self, subscription: SubscriptionId, receipt: Receipt) -> Result<(), Error> {
        self.settle(subscription, receipt, |outbox, _, id| {
            outbox.messages.remove(&id);
            outbox.given_up.push(id);
        })
    }

    fn failed(&self, subscription: SubscriptionId, failure: DeliveryFailure) {
        self.change(|state| {
            if let Some(outbox) = state.outboxes.get_mut(&subscription) {
                outbox.failures.push(failure);
            }
        });
    }

    fn now(&self) -> Timestamp {
        self.look(|state| Timestamp(EPOCH + state.now))
    }

    async fn sleep(&self, length: Millis) {
        let awake = self.change(|state| {
            let (sleeper, awake) = oneshot::channel();
            state.sleepers.push((state.now + length.0, sleeper));
            awake
        });
        _ = awake.await;
    }
}

impl Message {
    fn lease_to(&mut self, id: MessageId, receipt: Receipt, until: u64) -> PendingDelivery {
        self.attempts += 1;
        self.lease = Some((receipt, until));
        PendingDelivery {
            message: id,
            receipt,
            labels: self.labels.clone(),
            body: self.body.clone(),
            published: self.published,
            attempt: self.attempts,
        }
    }
}
