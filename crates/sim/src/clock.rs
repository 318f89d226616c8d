//! The clocks of a simulated node, and a shard's time on it: as `anser-node`'s `clock.rs` does it.

use anser_broker::time::{Millis, Stamp, Timestamp};

use crate::{event::Micros, planted};

/// What the wall shows when a simulation begins, in microseconds since 1970.
const EPOCH: u64 = 1_800_000_000_000_000;
/// A machine's clock is taken to be wrong by one part in so many at most.
const RATE_ERROR_DIVISOR: u64 = 2_000;

/// A node's clocks: one never jumps but may run fast or slow, the other may jump too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// Parts in a million by which it runs fast.
    pub(crate) drift: i64,
    /// By how much the wall clock was moved, in microseconds.
    pub(crate) jumped: i64,
}

impl Clock {
    /// Since the simulation began, as this node counts.
    pub(crate) fn elapsed(&self, now: Micros) -> Micros {
        let error = i128::from(now) * i128::from(self.drift) / 1_000_000;
        u64::try_from(i128::from(now) + error).expect("time is positive")
    }

    pub(crate) fn wall(&self, now: Micros) -> Timestamp {
        let wall = (EPOCH + self.elapsed(now)).saturating_add_signed(self.jumped);
        Timestamp(wall / 1_000)
    }

    /// When this node's clock has counted so much.
    fn moment(&self, elapsed: Micros) -> Micros {
        let error =
            i128::from(elapsed) * i128::from(self.drift) / (1_000_000 + i128::from(self.drift));
        u64::try_from(i128::from(elapsed) - error).expect("time is positive") + 2
    }
}

/// A shard's own time on a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardTime {
    base: Timestamp,
    base_elapsed: Micros,
    follows: bool,
}

impl ShardTime {
    /// Continues from the shard's last stamp. A shard that nobody has used yet begins with the wall
    /// clock, which is not asked again: it may have been moved.
    pub(crate) fn continue_from(last: Stamp, clock: &Clock, now: Micros) -> Self {
        let is_new = last == Stamp::default();
        let mut base = if is_new { clock.wall(now) } else { last.now };
        if !is_new && planted::is_planted("time from the wall clock") {
            base = last.now + Millis((clock.wall(now) - last.wall).0.saturating_sub(1));
        }
        Self {
            base,
            base_elapsed: clock.elapsed(now),
            follows: !is_new,
        }
    }

    /// The time of a shard of which nothing is here yet: it begins with what its leader says.
    pub(crate) fn unknown(clock: &Clock, now: Micros) -> Self {
        Self {
            base: Timestamp(0),
            base_elapsed: clock.elapsed(now),
            follows: true,
        }
    }

    pub(crate) fn follow(&mut self, stamp: Timestamp, clock: &Clock, now: Micros) {
        self.base = stamp;
        self.base_elapsed = clock.elapsed(now);
        self.follows = true;
    }

    /// From now on this node's clock makes the time. The shard may have seen a later moment than was
    /// guessed here, in entries that were applied together with the new leader's first.
    pub(crate) fn lead(&mut self, stamp: Timestamp, clock: &Clock, now: Micros) {
        self.base = self.now(clock, now).max(stamp);
        self.base_elapsed = clock.elapsed(now);
        self.follows = false;
    }

    pub(crate) fn now(&self, clock: &Clock, now: Micros) -> Timestamp {
        let since = clock.elapsed(now).saturating_sub(self.base_elapsed);
        let since = if self.follows {
            since - since / RATE_ERROR_DIVISOR
        } else {
            since
        };
        self.base + Millis(since / 1_000)
    }

    pub(crate) fn stamp(&self, clock: &Clock, now: Micros) -> Stamp {
        Stamp {
            now: self.now(clock, now),
            wall: clock.wall(now),
            blur: Millis(1),
        }
    }

    /// When this time will have come.
    pub(crate) fn moment_of(&self, time: Timestamp, clock: &Clock) -> Micros {
        let length = (time - self.base).0.saturating_mul(1_000);
        clock.moment(self.base_elapsed + length)
    }
}
