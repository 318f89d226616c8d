//! Events: what one client asked of one queue or topic, and what it was told.
//!
//! Times are nanoseconds on the monotonic clock of the test process, so all clients share them. The
//! server's own times (`enqueued_at`) are whole seconds, as its dialect shows them.

use serde::{Deserialize, Serialize};

use crate::subscription::Labels;

/// Nanoseconds since some fixed moment of the test process.
pub type Nanos = u64;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub client: u32,
    /// The queue, or the topic of a publish, a push, a subscription and the end of pushing.
    pub queue: String,
    /// When the request left.
    pub invoked: Nanos,
    /// When the answer was there, or the client gave up.
    pub returned: Nanos,
    pub operation: Operation,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// One send, of one body or of a batch; the outcome holds the message ids in the same order.
    Send {
        /// `None`: the queue's own.
        delay_ms: Option<u64>,
        bodies: Vec<SentBody>,
        outcome: Outcome<Vec<String>>,
    },
    /// A receive that was answered "no message" has an empty list.
    Receive {
        most: u32,
        wait_ms: u64,
        outcome: Outcome<Vec<Delivery>>,
    },
    Delete {
        receipts: Vec<String>,
        outcome: Outcome<Vec<Answer>>,
    },
    /// Moves the end of a lease.
    Extend {
        receipt: String,
        visibility_ms: u64,
        outcome: Outcome<Answer>,
    },
    Rewind {
        to_seconds: u64,
        outcome: Outcome<()>,
    },
    /// The counters of the queue.
    Count(Counters),
    /// Makes a queue of this name. If it was made, the event's queue is the one that it became; else that is of
    /// no meaning.
    Create {
        called: String,
        /// How long the name of a deleted queue must not be used again.
        reuse_after_ms: u64,
        outcome: Outcome<()>,
    },
    /// Deletes the queue, by its name.
    End {
        outcome: Outcome<()>,
    },
    Change {
        changes: Changes,
        outcome: Outcome<()>,
    },
    /// What the queue of this name is; without one the event's queue is of no meaning.
    Describe {
        called: String,
        outcome: Outcome<Settings>,
    },
    /// Ends all messages of the queue but those that are on their way to another.
    Purge {
        outcome: Outcome<()>,
    },
    /// The server did not serve between the two times. Concerns all queues.
    Outage,
    /// The queue's own time went ahead of what had passed, by this much at most and at some moment between the two
    /// times. Without a queue: the time of what knows the names of all queues.
    Leap {
        by_ms: u64,
    },
    /// The final drain of this queue: receive and delete until nothing comes any more. Of a topic:
    /// all receivers were good, and nothing waited for a subscription at the end.
    Drain,
    /// Makes a subscription of this name of the topic; without this event it was there from the beginning.
    Subscribe {
        name: String,
        outcome: Outcome<()>,
    },
    /// Ends the subscription, and what it has not delivered.
    Unsubscribe {
        name: String,
        outcome: Outcome<()>,
    },
    /// One publish, of one body or of a batch; the outcome holds the message ids in the same order.
    Publish {
        labels: Labels,
        bodies: Vec<SentBody>,
        outcome: Outcome<Vec<String>>,
    },
    Push(Push),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    Ok(T),
    /// The server said no, with this code; nothing may have changed.
    Refused(i64),
    /// No answer came: it may have happened or not.
    Unknown,
}

/// Refusals that the judge knows, by their number in a history, which is the one of the first dialect where it has
/// one for this refusal alone.
pub mod refusal {
    pub const BACKLOG_FULL: i64 = 4410;
    pub const NO_SUCH_QUEUE: i64 = 4440;
    pub const QUEUE_EXISTS: i64 = 4460;
    /// No subscription wants what was published.
    pub const UNWANTED: i64 = 6030;
    /// A queue of this name was deleted a moment ago.
    pub const NAME_IN_RELEASE: i64 = 6040;
    /// Of delayed messages or of leases, as many as there may be.
    pub const TOO_MANY_INACTIVE: i64 = 6070;
}

/// What became of one receipt handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// The documented refusal of a receipt that names no running lease.
    Stale,
    Refused(i64),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SentBody {
    pub id: u64,
    /// [`crate::checksum`] of the bytes that were sent.
    pub checksum: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// The id that the body names; absent if it is not one of ours or not whole.
    pub body: Option<u64>,
    /// [`crate::checksum`] of the bytes that arrived.
    pub checksum: u64,
    pub message: String,
    pub receipt: String,
    /// How often the server says it has handed the message out, this time included.
    pub count: u32,
    /// When the server says it took the message, in seconds of its clock.
    pub enqueued_at: u64,
}

/// A push as its receiver saw it: between the end of the request and the end of the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Push {
    pub subscription: String,
    /// The id that the body names; absent if it is not one of ours or not whole.
    pub body: Option<u64>,
    /// [`crate::checksum`] of the message's body as it arrived.
    pub checksum: u64,
    pub message: String,
    pub tags: Vec<String>,
    /// The answer; absent if whoever pushed cannot have seen one in time.
    pub status: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub active: u64,
    pub inactive: u64,
    pub delayed: u64,
}

/// What is known of a queue. Its settings are those of its creation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct QueueFacts {
    /// Of this very queue: one that was deleted and made again is another one.
    pub name: String,
    pub visibility_ms: u64,
    pub retention_ms: u64,
    pub dead_letter: Option<DeadLetter>,
    /// The name that its account calls it by; absent if nobody creates or deletes queues.
    #[serde(default)]
    pub called: Option<String>,
    /// Of sends that do not say.
    #[serde(default)]
    pub delay_ms: u64,
    /// How long after its sending a deleted message can be had back; absent: as long as it is kept.
    #[serde(default)]
    pub rewind_ms: Option<u64>,
    #[serde(default)]
    pub limits: Limits,
}

/// How much a queue may hold; absent: more than any history has.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Messages of every state.
    pub backlog: Option<u64>,
    pub delayed: Option<u64>,
    pub in_flight: Option<u64>,
}

/// Settings that are changed; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub visibility_ms: Option<u64>,
    pub retention_ms: Option<u64>,
    pub delay_ms: Option<u64>,
    pub rewind_ms: Option<u64>,
    pub backlog: Option<u64>,
    /// The queue has no dead-letter queue any more.
    #[serde(default)]
    pub no_dead_letter: bool,
}

/// Settings as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub visibility_ms: u64,
    pub retention_ms: u64,
    pub delay_ms: u64,
    pub rewind_ms: u64,
    pub backlog: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    pub queue: String,
    /// Deliveries after which a message moves; as many as can be counted if it moves by its age.
    pub receives_max: u32,
    /// How long after its sending a message moves, if it moves by its age: from where it waits, or when its lease
    /// or its delay ends.
    #[serde(default)]
    pub age_ms: Option<u64>,
}
