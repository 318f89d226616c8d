//! Time as the broker knows it: an input, never asked for.
//!
//! A shard's time comes with its commands and never goes back. It runs at the rate of the leader's
//! monotonic clock, so that a wall clock that jumps moves no deadline; the wall clock's reading comes
//! along for what people see (`docs/formats/batch.md`).

use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, of a shard's own time or of a wall clock.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Millis(pub u64);

impl Timestamp {
    /// Whole seconds, rounded down, as most dialects show time.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Millis {
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds, rounded down.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// Saturates: the end of time is far enough.
impl Add<Millis> for Timestamp {
    type Output = Timestamp;

    fn add(self, length: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(length.0))
    }
}

/// The time between two moments, zero if the second is the later one.
impl Sub<Timestamp> for Timestamp {
    type Output = Millis;

    fn sub(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// What a leader writes into an entry: the shard's time and the wall clock at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// The shard's own time; the shard uses the larger of this and the last one it saw.
    pub now: Timestamp,
    /// What the leader's wall clock showed.
    pub wall: Timestamp,
    /// By how much `now` may have been rounded down. Delays and leases run from `now` plus this, so
    /// that none of them ends early.
    pub blur: Millis,
}
