//! A queue: the life of its messages from sending to their end.
//!
//! A message is in exactly one state: delayed, ready, leased, retired or moving. It is ready in
//! `ready` or, if its retention counts from later than its sending, in `late`. One that is ready and
//! was received before has its history beside it; any other ready message has no state of its own.

use std::collections::BTreeMap;

use crate::{
    attributes::{DeadLetterAfter, QueueAttributes, RetentionFrom},
    codec::{Bodies, Receipts},
    command::{Delivery, Effect, Move, Reply},
    error::Error,
    id::{QueueId, Sequence},
    limits,
    list::{MessageList, Waiting},
    moment::Moment,
    op::{QueueCounts, QueueTotals},
    sorted::SortedMap,
    time::{Millis, Timestamp},
    turn::{Turn, WallOffset},
};

mod delayed;
mod due;
mod lanes;
mod late;
mod leases;
mod live;
mod retired;
mod state;

pub(crate) use state::{restore_totals, save_totals};

use delayed::{Delayed, DelayedMessage};
use lanes::Lanes;
use late::Late;
use leases::{Lease, Leases};

#[derive(Debug, Clone)]
pub(crate) struct Queue {
    id: QueueId,
    pub(crate) revision: u64,
    pub(crate) attributes: QueueAttributes,
    ready: MessageList,
    late: Late,
    /// Of ready messages that were received before.
    histories: SortedMap<Sequence, History>,
    delayed: Delayed,
    leases: Leases,
    retired: MessageList,
    lanes: Lanes,
    /// The last number that arrived, by the queue it came from.
    accepted: BTreeMap<QueueId, u64>,
    pub(crate) totals: QueueTotals,
    /// Where the shard's order of deadlines has this queue.
    pub(crate) scheduled: Option<Timestamp>,
    /// Whether an entry has changed the queue and its deadline must be looked at.
    pub(crate) touched: bool,
}

#[derive(Debug, Clone, Copy)]
struct History {
    first_received: Moment,
    deliveries: u32,
}

/// Bodies and the number that the first of them has in the entry.
#[derive(Debug)]
pub(crate) struct NumberedBodies<'a> {
    pub(crate) bodies: Bodies<'a>,
    pub(crate) first: u32,
}

/// A message on its way from one state to another.
#[derive(Debug, Clone, Copy)]
struct Passing {
    message: Waiting,
    since: Timestamp,
    history: Option<History>,
}

impl Queue {
    pub(crate) fn new(id: QueueId, revision: u64, attributes: QueueAttributes) -> Self {
        Self {
            id,
            revision,
            attributes,
            ready: MessageList::default(),
            late: Late::default(),
            histories: SortedMap::default(),
            delayed: Delayed::default(),
            leases: Leases::default(),
            retired: MessageList::default(),
            lanes: Lanes::default(),
            accepted: BTreeMap::new(),
            totals: QueueTotals::default(),
            scheduled: None,
            touched: false,
        }
    }

    pub(crate) fn set_attributes(&mut self, attributes: QueueAttributes, turn: &Turn<'_>) {
        let old_retention = self.delayed_retention();
        let leases_change = self.attributes.retention != attributes.retention;
        self.attributes = attributes;
        if leases_change {
            self.leases.set_retention(self.attributes.retention);
        }
        let new_retention = self.delayed_retention();
        if old_retention != new_retention {
            self.delayed = self.delayed.with_retention(old_retention, new_retention);
        }
        self.drop_old_retired(turn.now);
    }

    pub(crate) fn send(
        &mut self,
        delay: Option<Millis>,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let delay = delay.unwrap_or(self.attributes.delay);
        if let Err(error) = self.check_send(delay, &bodies.bodies) {
            return Reply::Refused(error);
        }
        let messages: Vec<Sequence> = (0..bodies.bodies.count())
            .map(|number| Sequence::new(turn.index, bodies.first + number))
            .collect();
        for &sequence in &messages {
            let message = Waiting {
                sequence,
                sent: turn.now,
            };
            if delay == Millis(0) {
                self.ready.insert(message);
            } else {
                let wake = turn.now + delay;
                turn.blocks.add(sequence);
                let retention = self.delayed_retention();
                self.delayed
                    .insert(DelayedMessage { message, wake }, retention);
            }
        }
        if delay == Millis(0) {
            turn.effect(Effect::QueueReady { queue: self.id });
        }
        self.totals.sent += messages.len() as u64;
        Reply::Sent { messages }
    }

    fn check_send(&self, delay: Millis, bodies: &Bodies<'_>) -> Result<(), Error> {
        let mut bytes = 0;
        for body in bodies.iter() {
            if body.is_empty() {
                return Err(Error::BodyEmpty);
            }
            if body.len() > self.attributes.body_bytes_max as usize {
                return Err(Error::BodyTooLarge);
            }
            bytes += body.len();
        }
        check_batch(bodies.count())?;
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(Error::BatchSize);
        }
        if delay > self.attributes.delay_max {
            return Err(Error::DelayTooLong);
        }
        let count = u64::from(bodies.count());
        if count > self.room() {
            return Err(Error::BacklogFull);
        }
        let delayed_room = self
            .attributes
            .delayed_max
            .saturating_sub(self.delayed.len());
        if delay > Millis(0) && count > delayed_room {
            return Err(Error::TooManyDelayed);
        }
        Ok(())
    }

    pub(crate) fn receive(
        &mut self,
        max: u32,
        visibility: Option<Millis>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let visibility = visibility.unwrap_or(self.attributes.visibility);
        if let Err(error) = check_batch(max).and(check_visibility(visibility)) {
            return Reply::Refused(error);
        }
        self.skip_due(turn);
        let available = self.ready_len();
        let room = self
            .attributes
            .in_flight_max
            .saturating_sub(self.leases.len());
        if available > 0 && room == 0 {
            return Reply::Refused(Error::TooManyInFlight);
        }
        let wanted = u64::from(max.min(turn.leases_left()));
        let count = wanted.min(available).min(room);
        let mut deliveries = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        while (deliveries.len() as u64) < count && self.skip_due(turn) {
            deliveries.push(self.lease_first(visibility, turn));
        }
        self.totals.received += deliveries.len() as u64;
        Reply::Received { deliveries }
    }

    /// Leases the first ready message. There must be one.
    fn lease_first(&mut self, visibility: Millis, turn: &mut Turn<'_>) -> Delivery {
        let passing = self.take_first_ready(turn).expect("a ready message");
        let history = passing.history.unwrap_or(History {
            first_received: turn.now.into(),
            deliveries: 0,
        });
        let lease = Lease {
            message: passing.message,
            since: passing.since,
            first_received: history.first_received.into(),
            deadline: turn.now + visibility,
            deliveries: history.deliveries.saturating_add(1),
        };
        let receipt = turn.number_lease();
        turn.blocks.add(lease.message.sequence);
        self.leases.grant(receipt, lease, self.attributes.retention);
        Delivery {
            message: lease.message.sequence,
            receipt,
            sent: turn.wall.wall(lease.message.sent),
            first_received: turn.wall.wall(lease.first_received),
            visible_again: turn.wall.wall(lease.deadline),
            deliveries: lease.deliveries,
        }
    }

    pub(crate) fn delete(&mut self, receipts: &Receipts<'_>, turn: &mut Turn<'_>) -> Reply {
        if let Err(error) = check_batch(receipts.count()) {
            return Reply::Refused(error);
        }
        let each = receipts.iter().map(|receipt| {
            let lease = self.end_running_lease(receipt, turn)?;
            self.totals.deleted += 1;
            self.retire(lease.message, turn.now);
            Ok(())
        });
        Reply::Each(each.collect())
    }

    pub(crate) fn change_visibility(
        &mut self,
        receipts: &Receipts<'_>,
        visibility: Millis,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let checked = check_batch(receipts.count()).and(check_visibility(visibility));
        if let Err(error) = checked {
            return Reply::Refused(error);
        }
        let each = receipts.iter().map(|receipt| {
            let lease = self.end_running_lease(receipt, turn)?;
            if visibility == Millis(0) {
                self.return_lease(&lease, turn.now, turn);
            } else {
                let deadline = turn.now + visibility;
                turn.blocks.add(lease.message.sequence);
                let changed = Lease { deadline, ..lease };
                self.leases
                    .grant(receipt, changed, self.attributes.retention);
            }
            Ok(())
        });
        Reply::Each(each.collect())
    }

    fn end_running_lease(
        &mut self,
        receipt: Sequence,
        turn: &mut Turn<'_>,
    ) -> Result<Lease, Error> {
        let retention = self.attributes.retention;
        let lease = self.leases.get(receipt).ok_or(Error::ReceiptInvalid)?;
        if turn.now >= lease.wake(retention) {
            return Err(Error::ReceiptInvalid);
        }
        self.leases.end(receipt, retention);
        turn.blocks.remove(lease.message.sequence);
        Ok(lease)
    }

    /// What becomes of a message whose lease ended at a moment, its retention lasting on.
    fn return_lease(&mut self, lease: &Lease, at: Timestamp, turn: &mut Turn<'_>) {
        let gives_up = match self.dead_letter_after() {
            Some(DeadLetterAfter::Receives(receives)) => lease.deliveries >= receives,
            Some(DeadLetterAfter::Age(age)) => lease.message.sent + age <= at,
            None => false,
        };
        if gives_up {
            self.start_move(lease.message.sequence, turn);
            return;
        }
        let history = History {
            first_received: lease.first_received.into(),
            deliveries: lease.deliveries,
        };
        let passing = Passing {
            message: lease.message,
            since: lease.since,
            history: Some(history),
        };
        self.make_ready(passing, turn);
    }

    /// Stores dead letters of another queue, those that did not arrive before.
    pub(crate) fn accept_moved(
        &mut self,
        source: QueueId,
        first: u64,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let arrived = self.accepted.get(&source).copied().unwrap_or(0);
        if first > arrived.saturating_add(1) {
            return Reply::Refused(Error::Unavailable);
        }
        let known = arrived.saturating_add(1) - first;
        let new = u64::from(bodies.bodies.count()).saturating_sub(known);
        let new = new.min(self.room());
        if new == 0 {
            return Reply::Accepted { through: arrived };
        }
        // There are new ones, so fewer are known than there are bodies.
        let known = u32::try_from(known).expect("less than the number of bodies");
        for number in 0..u32::try_from(new).expect("at most the number of bodies") {
            let sequence = Sequence::new(turn.index, bodies.first + known + number);
            self.ready.insert(Waiting {
                sequence,
                sent: turn.now,
            });
        }
        let through = arrived.saturating_add(new);
        self.accepted.insert(source, through);
        self.totals.sent += new;
        turn.effect(Effect::QueueReady { queue: self.id });
        Reply::Accepted { through }
    }

    pub(crate) fn moves_settled(
        &mut self,
        target: QueueId,
        through: u64,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let arrived = self.lanes.settle(target, through);
        self.totals.dead_lettered += arrived.len() as u64;
        for message in arrived {
            turn.blocks.remove(message);
        }
        Reply::Done
    }

    pub(crate) fn moves(&self, max: usize) -> Vec<(QueueId, Vec<Move>)> {
        self.lanes.pending(max)
    }

    pub(crate) fn has_moves(&self) -> bool {
        self.lanes.len() > 0
    }

    pub(crate) fn ready_len(&self) -> u64 {
        self.ready.len() + self.late.len()
    }

    pub(crate) fn in_flight_room(&self) -> u64 {
        self.attributes
            .in_flight_max
            .saturating_sub(self.leases.len())
    }

    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    pub(crate) fn counts(&self, wall: WallOffset) -> QueueCounts {
        QueueCounts {
            oldest: self.oldest().map(|oldest| wall.wall(oldest)),
            ..self.counts_by_state()
        }
    }

    /// The counts without what takes a look at the messages.
    pub(crate) fn counts_by_state(&self) -> QueueCounts {
        QueueCounts {
            ready: self.ready_len(),
            leased: self.leases.len(),
            delayed: self.delayed.len(),
            retired: self.retired.len(),
            moving: self.lanes.len(),
            oldest: None,
            totals: self.totals,
        }
    }

    /// When the oldest message was sent that is ready, leased or delayed. Looks at every leased and
    /// delayed one, as those are not in the order of sending.
    fn oldest(&self) -> Option<Timestamp> {
        let leased = self.leases.iter().map(|(_, lease)| lease.message.sent);
        let delayed = self.delayed.iter(self.delayed_retention());
        let delayed = delayed.map(|delayed| delayed.message.sent);
        [
            self.ready.first().map(|message| message.sent),
            self.late.first().map(|(message, _)| message.sent),
            leased.min(),
            delayed.min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What it takes on the heap, itself included.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.ready.memory_bytes()
            + self.late.memory_bytes()
            + self.histories.memory_bytes()
            + self.delayed.memory_bytes()
            + self.leases.memory_bytes()
            + self.retired.memory_bytes()
    }

    fn dead_letter_after(&self) -> Option<DeadLetterAfter> {
        self.attributes.dead_letter.map(|policy| policy.after)
    }

    /// The retention of delayed messages, `None` while it has not begun.
    fn delayed_retention(&self) -> Option<Millis> {
        match self.attributes.retention_from {
            RetentionFrom::Sent => Some(self.attributes.retention),
            RetentionFrom::Visible => None,
        }
    }

    fn room(&self) -> u64 {
        let held = self.ready_len() + self.leases.len() + self.delayed.len();
        self.attributes.backlog_max.saturating_sub(held)
    }

    fn make_ready(&mut self, passing: Passing, turn: &mut Turn<'_>) {
        let Passing {
            message,
            since,
            history,
        } = passing;
        if since == message.sent {
            self.ready.insert(message);
        } else {
            turn.blocks.add(message.sequence);
            self.late.insert(message, since);
        }
        if let Some(history) = history {
            self.histories.insert(message.sequence, history);
        }
        turn.effect(Effect::QueueReady { queue: self.id });
    }

    /// The ready message that was sent first, and from when its retention counts.
    fn first_ready(&self) -> Option<(Waiting, Timestamp)> {
        let ready = self.ready.first().map(|message| (message, message.sent));
        match (ready, self.late.first()) {
            (Some(ready), Some(late)) if ready.0.sequence < late.0.sequence => Some(ready),
            (ready, late) => late.or(ready),
        }
    }

    fn take_first_ready(&mut self, turn: &mut Turn<'_>) -> Option<Passing> {
        let (message, since) = self.first_ready()?;
        if self.ready.first() == Some(message) {
            self.ready.pop_first();
        } else {
            self.late.pop_first();
            turn.blocks.remove(message.sequence);
        }
        let history = self.take_history(message.sequence);
        Some(Passing {
            message,
            since,
            history,
        })
    }

    fn take_history(&mut self, message: Sequence) -> Option<History> {
        if self.histories.is_empty() {
            return None;
        }
        self.histories.remove(message)
    }

    /// Puts a message into the lane to the dead-letter queue. There must be a policy.
    fn start_move(&mut self, message: Sequence, turn: &mut Turn<'_>) {
        let policy = self.attributes.dead_letter.expect("a dead-letter policy");
        self.lanes.push(policy.queue, message);
        turn.blocks.add(message);
        turn.effect(Effect::MovesPending { queue: self.id });
    }
}

fn check_batch(count: u32) -> Result<(), Error> {
    let fits = (1..=limits::BATCH_MESSAGES_MAX).contains(&(count as usize));
    if fits { Ok(()) } else { Err(Error::BatchSize) }
}

fn check_visibility(visibility: Millis) -> Result<(), Error> {
    if visibility <= limits::VISIBILITY_MAX {
        Ok(())
    } else {
        Err(Error::AttributeOutOfRange)
    }
}
