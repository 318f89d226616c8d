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
    /// The queue, or the topic of a publish, a push and the end of pushing.
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
        delay_ms: u64,
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
    /// The counters of the queue, asked while no other operation on it was under way.
    Count(Counters),
    /// The server did not serve between the two times. Concerns all queues.
    Outage,
    /// The final drain of this queue: receive and delete until nothing comes any more. Of a topic:
    /// all receivers were good, and nothing waited for a subscription at the end.
    Drain,
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

/// What is known of a queue; fixed for the whole history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueFacts {
    pub name: String,
    pub visibility_ms: u64,
    pub retention_ms: u64,
    pub dead_letter: Option<DeadLetter>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    pub queue: String,
    /// Deliveries after which a message moves.
    pub receives_max: u32,
}
