//! The queues that clients use: what each was made like, and what has become of it.

use std::collections::BTreeMap;

use anser_broker::{
    attributes::{Acknowledge, DeadLetterAfter, QueueAttributes, RetentionFrom},
    command::{PlacedQueue, QueueRecord},
    id::{AccountId, QueueId},
    time::Millis,
};
use anser_check::{DeadLetter, Limits, QueueFacts, Settings};

use crate::{
    event::Micros,
    plan::{Fault, Plan},
    random::Random,
};

/// As good as no limit.
const PLENTY: u64 = 1_000_000;
/// Longer than time can go ahead within a run.
pub(super) const AGES: Millis = Millis::from_seconds(100 * 86_400);

/// A queue that was ready for use once.
pub(super) struct Queue {
    pub(super) account: AccountId,
    pub(super) name: String,
    pub(super) id: QueueId,
    pub(super) shard: u16,
    /// As it was made.
    pub(super) attributes: QueueAttributes,
    /// Who made it, and is the only one to delete it.
    pub(super) owner: usize,
    /// It is deleted sooner or later.
    pub(super) is_fleeting: bool,
    pub(super) is_used: bool,
    /// What messages it gets without anybody sending them to it.
    pub(super) gets: Gets,
    pub(super) fate: Fate,
    pub(super) drain: Drain,
    /// When a message was sent that was received last, in seconds of the wall clock.
    pub(super) last_sent: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// It is being deleted.
    Ends,
    Gone,
}

/// What is carried to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gets {
    Nothing,
    DeadLetters,
    /// What is published to a topic: it has, or may have had, a subscription.
    Publishes,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drain {
    pub(super) begun: Option<Micros>,
    /// Since when nothing is carried to it any more.
    pub(super) settled: Option<Micros>,
    pub(super) empty: u32,
    pub(super) ended: Option<Micros>,
}

impl Queue {
    pub(super) fn new(placed: &PlacedQueue, owner: usize, is_fleeting: bool) -> Self {
        Self {
            account: placed.account,
            name: placed.name.to_string(),
            id: placed.queue,
            shard: placed.shard.0,
            attributes: placed.attributes.clone().expect("it was just made"),
            owner,
            is_fleeting,
            is_used: false,
            gets: Gets::Nothing,
            fate: Fate::Lives,
            drain: Drain::default(),
            last_sent: None,
        }
    }

    /// Every voter must have a message before its sender hears so.
    pub(super) fn is_everywhere(&self) -> bool {
        self.attributes.acknowledge == Acknowledge::All
    }

    pub(super) fn lives(&self) -> bool {
        self.fate == Fate::Lives
    }

    /// The number of the queue that its dead letters go to.
    pub(super) fn dead_letter(&self) -> Option<QueueId> {
        self.attributes.dead_letter.map(|policy| policy.queue)
    }

    /// Whether everything that comes to it stays until it is received: then it can be said what must be there.
    pub(super) fn can_get(&self, gets: Gets) -> bool {
        let attributes = &self.attributes;
        let keeps = attributes.retention == AGES && attributes.backlog_max == PLENTY;
        let is_free =
            self.gets == Gets::Nothing || self.gets == Gets::DeadLetters && gets == self.gets;
        self.lives() && keeps && is_free && attributes.dead_letter.is_none()
    }

    /// Nothing is left to be done with it.
    pub(super) fn is_done(&self) -> bool {
        let is_drained = !self.is_used || self.drain.ended.is_some();
        self.fate == Fate::Gone || (self.lives() && is_drained)
    }

    /// What it is called in the history, where no other queue is called so.
    pub(super) fn title(&self) -> String {
        title(self.account, &self.name, self.id)
    }

    pub(super) fn facts(&self, all: &[Self]) -> QueueFacts {
        let attributes = &self.attributes;
        let target = all
            .iter()
            .find(|other| Some(other.id) == self.dead_letter());
        let dead_letter = target.zip(attributes.dead_letter);
        let bound = |limit: u64| (limit < PLENTY).then_some(limit);
        QueueFacts {
            name: self.title(),
            visibility_ms: certain(attributes.visibility.0),
            retention_ms: certain(attributes.retention.0),
            dead_letter: dead_letter.map(|(target, policy)| {
                let (receives_max, age_ms) = match policy.after {
                    DeadLetterAfter::Receives(receives) => (receives, None),
                    DeadLetterAfter::Age(age) => (u32::MAX, Some(certain(age.0))),
                };
                DeadLetter {
                    queue: target.title(),
                    receives_max,
                    age_ms,
                }
            }),
            called: Some(called(self.account, &self.name)),
            delay_ms: certain(attributes.delay.0),
            rewind_ms: Some(certain(attributes.rewind.0)),
            limits: Limits {
                backlog: bound(attributes.backlog_max),
                delayed: bound(attributes.delayed_max),
                in_flight: bound(attributes.in_flight_max),
            },
        }
    }
}

pub(super) fn title(account: AccountId, name: &str, id: QueueId) -> String {
    format!("{}#{}", called(account, name), id.0)
}

/// A name, which means another queue in another account.
pub(super) fn called(account: AccountId, name: &str) -> String {
    format!("{}/{name}", account.0)
}

/// What a reader of a queue was told.
pub(super) fn settings(record: &QueueRecord) -> Settings {
    let attributes = &record.attributes;
    Settings {
        visibility_ms: certain(attributes.visibility.0),
        retention_ms: certain(attributes.retention.0),
        delay_ms: certain(attributes.delay.0),
        rewind_ms: certain(attributes.rewind.0),
        backlog: backlog(attributes.backlog_max),
    }
}

/// A limit as the checker calls it.
pub(super) fn backlog(limit: u64) -> u64 {
    if limit < PLENTY { limit } else { u64::MAX }
}

/// How much of a length is certain, by a clock that may run fast.
pub(super) fn certain(millis: u64) -> u64 {
    millis.saturating_sub(millis / 1_000 + 2)
}

/// What the next queue is to be like. Most have one or two peculiarities.
pub(super) fn attributes(plan: &Plan, random: &mut Random) -> QueueAttributes {
    let mut attributes = QueueAttributes {
        backlog_max: PLENTY,
        wait: Millis(0),
        visibility: Millis(plan.visibility),
        body_bytes_max: 64 << 10,
        retention: AGES,
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis::from_seconds(3_600),
        delayed_max: PLENTY,
        in_flight_max: PLENTY,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    };
    if random.permille(100) {
        attributes.acknowledge = Acknowledge::All;
    }
    if random.permille(200) {
        attributes.retention = Millis(retention(random));
    }
    // With clocks that jump nobody could say to which second it goes.
    if random.permille(250) && !plan.has(Fault::WallJump) && !plan.has(Fault::WrongClock) {
        let rewind = Millis(random.between(8_000, 40_000));
        attributes.rewind = rewind.min(attributes.retention);
    }
    if random.permille(200) {
        attributes.delay = Millis(random.between(200, 2_000));
    }
    if random.permille(200) {
        attributes.backlog_max = random.between(4, 30);
    }
    if random.permille(100) {
        attributes.delayed_max = random.between(1, 6);
    }
    if random.permille(150) {
        attributes.in_flight_max = random.between(2, 12);
    }
    attributes
}

/// A retention that ends within a run.
pub(super) fn retention(random: &mut Random) -> u64 {
    random.between(4_000, 16_000)
}

/// How many of them live.
pub(super) fn living(queues: &[Queue]) -> usize {
    queues.iter().filter(|queue| queue.lives()).count()
}

/// The places of queues by their titles.
pub(super) fn titles(queues: &[Queue]) -> BTreeMap<String, usize> {
    let titles = queues.iter().enumerate();
    titles
        .map(|(place, queue)| (queue.title(), place))
        .collect()
}
