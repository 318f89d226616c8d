//! A queue: the life of its messages from sending to their end.
//!
//! A message is in exactly one state: delayed, ready, leased, retired or moving. It is ready in
//! `ready` or, if its retention counts from later than its sending, in `late`. One that is ready and
//! was received before has its history beside it; any other ready message has no state of its own.

use crate::{
    attributes::{DeadLetterAfter, QueueAttributes, RetentionFrom},
    codec::wire::Sink,
    command::Room,
    error::Error,
    fingerprint::checksum,
    id::{QueueId, Sequence},
    limits,
    list::{MessageList, Waiting},
    moment::Moment,
    op::{QueueCounts, QueueTotals},
    sorted::SortedMap,
    time::{Millis, Timestamp},
    turn::{Turn, WallOffset},
};

mod accepted;
mod delayed;
mod dropping;
mod due;
mod lanes;
mod late;
mod leases;
mod live;
mod moving;
mod outbox;
mod receiving;
mod retired;
mod sending;
mod sends;
mod state;
mod summary;
mod tokens;

pub(crate) use outbox::Role;
pub(crate) use sending::NumberedBodies;
pub(crate) use state::{restore_totals, save_totals};

use accepted::Accepted;
use delayed::{Delayed, DelayedMessage};
use lanes::Lanes;
use late::Late;
use leases::{Lease, Leases};
use tokens::Tokens;

#[derive(Debug, Clone)]
pub(crate) struct Queue {
    id: QueueId,
    pub(crate) revision: u64,
    pub(crate) attributes: QueueAttributes,
    /// Of the attributes as a state has them.
    attributes_checksum: u32,
    role: Role,
    ready: MessageList,
    late: Late,
    /// Of ready messages that were received before.
    histories: SortedMap<Sequence, History>,
    delayed: Delayed,
    leases: Leases,
    retired: MessageList,
    lanes: Lanes,
    accepted: Accepted,
    tokens: Tokens,
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

fn checksum_of(attributes: &QueueAttributes) -> u32 {
    checksum(|sink| sink.whole_attributes(attributes))
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
            attributes_checksum: checksum_of(&attributes),
            attributes,
            role: Role::Received,
            ready: MessageList::default(),
            late: Late::default(),
            histories: SortedMap::default(),
            delayed: Delayed::default(),
            leases: Leases::default(),
            retired: MessageList::default(),
            lanes: Lanes::default(),
            accepted: Accepted::default(),
            tokens: Tokens::default(),
            totals: QueueTotals::default(),
            scheduled: None,
            touched: false,
        }
    }

    pub(crate) fn set_attributes(&mut self, attributes: QueueAttributes, turn: &mut Turn<'_>) {
        let old_retention = self.delayed_retention();
        let old_policy = self.attributes.dead_letter;
        #[cfg(feature = "sabotage")]
        let attributes = self.with_old_retention(attributes);
        let leases_change = self.attributes.retention != attributes.retention;
        self.attributes_checksum = checksum_of(&attributes);
        self.attributes = attributes;
        if leases_change {
            self.leases.set_retention(self.attributes.retention);
        }
        let new_retention = self.delayed_retention();
        if old_retention != new_retention {
            self.delayed = self.delayed.with_retention(old_retention, new_retention);
        }
        self.drop_old_retired(turn);
        if let Some(old) = old_policy {
            self.announce_end(old.queue, turn);
        }
    }

    /// A changed retention is not taken over: a planted bug.
    #[cfg(feature = "sabotage")]
    fn with_old_retention(&self, mut attributes: QueueAttributes) -> QueueAttributes {
        if crate::sabotage::is_planted("retention never changed") {
            attributes.retention = self.attributes.retention;
        }
        attributes
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

    pub(crate) fn is_outbox(&self) -> bool {
        self.role != Role::Received
    }

    pub(crate) fn counts(&self, wall: WallOffset) -> QueueCounts {
        QueueCounts {
            oldest: self.oldest().map(|oldest| wall.wall(oldest)),
            ready: self.ready_len(),
            leased: self.leases.len(),
            delayed: self.delayed.len(),
            retired: self.retired.len(),
            moving: self.lanes.len(),
            totals: self.totals,
        }
    }

    /// When the oldest message was sent that is ready, leased or delayed.
    fn oldest(&self) -> Option<Timestamp> {
        [
            self.ready.first().map(|message| message.sent),
            self.late.first().map(|(message, _)| message.sent),
            self.leases.oldest(),
            self.delayed.oldest(),
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
            + self.lanes.memory_bytes()
            + self.tokens.memory_bytes()
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

    pub(crate) fn room_for(&self, source: QueueId) -> Room {
        Room {
            messages: self.room(),
            body_bytes_max: self.attributes.body_bytes_max,
            accepted: self.accepted.from(source).unwrap_or(0),
        }
    }

    fn room(&self) -> u64 {
        let held = self.ready_len() + self.leases.len() + self.delayed.len();
        #[cfg(feature = "sabotage")]
        let held = if crate::sabotage::is_planted("backlog without leases") {
            held - self.leases.len()
        } else {
            held
        };
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
            self.late.insert(message, since);
        }
        if let Some(history) = history {
            self.histories.insert(message.sequence, history);
        }
        self.ready_grew(turn);
    }

    /// The ready message that was sent first, and from when its retention counts.
    fn first_ready(&self) -> Option<(Waiting, Timestamp)> {
        let ready = self.ready.first().map(|message| (message, message.sent));
        match (ready, self.late.first()) {
            (Some(ready), Some(late)) if ready.0.sequence < late.0.sequence => Some(ready),
            (ready, late) => late.or(ready),
        }
    }

    fn take_first_ready(&mut self) -> Option<Passing> {
        let (message, since) = self.first_ready()?;
        if self.ready.first() == Some(message) {
            self.ready.pop_first();
        } else {
            self.late.pop_first();
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
        self.histories.remove(&message)
    }
}

fn check_batch(count: u32) -> Result<(), Error> {
    let fits = (1..=limits::BATCH_MESSAGES_MAX).contains(&(count as usize));
    if fits { Ok(()) } else { Err(Error::BatchSize) }
}
