//! What can be set on a queue, and on topics and subscriptions.

mod subscription;
mod topic;

pub use subscription::{BodyFormat, Endpoint, Filter, SubscriptionAttributes};
pub use topic::{FilterKind, TopicAttributes, TopicChanges};

use serde::{Deserialize, Serialize};

use crate::{error::Error, id::QueueId, limits, time::Millis};

/// A queue's settings. All of them are kept and reported as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAttributes {
    /// Messages waiting, leased and delayed together; one more is refused.
    pub backlog_max: u64,
    /// How long a receive waits that does not say.
    pub wait: Millis,
    /// How long a lease runs that does not say.
    pub visibility: Millis,
    pub body_bytes_max: u32,
    /// How long a message is kept that nobody deletes.
    pub retention: Millis,
    pub retention_from: RetentionFrom,
    /// How long after its sending a deleted message can be had back; zero: not at all.
    pub rewind: Millis,
    /// How long a message is hidden whose send does not say.
    pub delay: Millis,
    /// The longest delay a send may ask for.
    pub delay_max: Millis,
    pub delayed_max: u64,
    /// Leases running at once; a receive beyond is refused.
    pub in_flight_max: u64,
    pub dead_letter: Option<DeadLetterPolicy>,
    pub acknowledge: Acknowledge,
}

/// Which replicas must have a message on disk before its sender hears that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Acknowledge {
    /// So many that one of them is in every majority to come.
    #[default]
    Majority,
    /// Every voter: no message is lost while one disk of them is left, and no send is answered while
    /// one of them is away.
    All,
}

impl Acknowledge {
    /// Whether it is what everything had before there was a choice, and needs no bytes of its own.
    pub(crate) fn is_default(self) -> bool {
        self == Self::default()
    }
}

/// When a message's retention begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetentionFrom {
    /// At its sending: a delay longer than the retention means that nobody sees it.
    Sent,
    /// When it first becomes visible: no delay is too long.
    Visible,
}

/// When and where a message gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterPolicy {
    pub queue: QueueId,
    pub after: DeadLetterAfter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadLetterAfter {
    /// When a lease ends that was at least this many-th delivery.
    Receives(u32),
    /// When the message was sent this long ago.
    Age(Millis),
}

/// Settings to change; `None` leaves one as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttributeChanges {
    pub backlog_max: Option<u64>,
    pub wait: Option<Millis>,
    pub visibility: Option<Millis>,
    pub body_bytes_max: Option<u32>,
    pub retention: Option<Millis>,
    pub rewind: Option<Millis>,
    pub delay: Option<Millis>,
    pub delay_max: Option<Millis>,
    pub acknowledge: Option<Acknowledge>,
}

impl QueueAttributes {
    /// Whether the values are within the core's bounds and agree with each other.
    pub fn check(&self) -> Result<(), Error> {
        let in_range = self.backlog_max > 0
            && self.wait <= limits::WAIT_MAX
            && self.visibility <= limits::VISIBILITY_MAX
            && (1..=limits::BODY_BYTES_MAX).contains(&self.body_bytes_max)
            && (Millis(1)..=limits::RETENTION_MAX).contains(&self.retention)
            && self.delay <= self.delay_max
            && self.delay_max <= limits::DELAY_MAX;
        if !in_range {
            return Err(Error::AttributeOutOfRange);
        }
        if self.rewind > self.retention {
            return Err(Error::RewindLongerThanRetention);
        }
        match self.dead_letter.map(|policy| policy.after) {
            Some(DeadLetterAfter::Receives(0)) => Err(Error::AttributeOutOfRange),
            Some(DeadLetterAfter::Age(age)) if age >= self.retention => {
                Err(Error::DeadLetterAgeTooLong)
            }
            _ => Ok(()),
        }
    }

    /// These settings with some of them changed.
    #[must_use]
    pub fn with(&self, changes: &AttributeChanges) -> Self {
        Self {
            backlog_max: changes.backlog_max.unwrap_or(self.backlog_max),
            wait: changes.wait.unwrap_or(self.wait),
            visibility: changes.visibility.unwrap_or(self.visibility),
            body_bytes_max: changes.body_bytes_max.unwrap_or(self.body_bytes_max),
            retention: changes.retention.unwrap_or(self.retention),
            rewind: changes.rewind.unwrap_or(self.rewind),
            delay: changes.delay.unwrap_or(self.delay),
            delay_max: changes.delay_max.unwrap_or(self.delay_max),
            acknowledge: changes.acknowledge.unwrap_or(self.acknowledge),
            ..self.clone()
        }
    }
}
