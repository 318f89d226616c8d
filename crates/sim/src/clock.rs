//! The clocks of a simulated node.

use std::time::Duration;

use anser_broker::time::Timestamp;
use anser_host::Now;

use crate::{
    event::{Micros, micros},
    random::Random,
};

/// What the wall shows when a simulation begins, in microseconds since 1970.
const EPOCH: u64 = 1_800_000_000_000_000;

/// What a shard's time would be that had begun with the simulation and never lost any.
pub(crate) fn truth(now: Micros) -> Timestamp {
    Timestamp((EPOCH + now) / 1_000)
}

/// A node's clocks: one never jumps but may run fast or slow, the other may jump too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// Parts in a million by which it runs fast.
    pub(crate) drift: i64,
    /// By how much the wall clock was moved, in microseconds.
    pub(crate) jumped: i64,
}

impl Clock {
    /// Whoever starts finds a wall clock that shows anything: one that was set, one without a battery, or a right one
    /// of a machine that was off for as long.
    pub(crate) fn start_anew(&mut self, random: &mut Random) {
        const HOUR: i64 = 3_600_000_000;
        const AGES: i64 = 30 * 24 * HOUR;
        let seconds = |random: &mut Random| random.between(1, 40).cast_signed() * 1_000_000;
        self.jumped = match random.below(8) {
            0 => 0,
            1 => -AGES,
            2 => AGES,
            3 => -HOUR,
            4 => self.jumped + HOUR,
            5 => self.jumped - seconds(random),
            _ => self.jumped + seconds(random),
        };
    }

    /// What this node's clocks show.
    pub(crate) fn now(&self, now: Micros) -> Now {
        let elapsed = self.elapsed(now);
        let wall = (EPOCH + elapsed).saturating_add_signed(self.jumped);
        Now {
            elapsed: Duration::from_micros(elapsed),
            beat: Duration::from_micros(elapsed),
            wall: Timestamp(wall / 1_000),
            is_exact: false,
        }
    }

    /// Since the simulation began, as this node counts.
    fn elapsed(&self, now: Micros) -> Micros {
        let now = now.cast_signed();
        (now + now * self.drift / 1_000_000).cast_unsigned()
    }

    /// When this node's clock has counted so much.
    pub(crate) fn moment(&self, elapsed: Duration) -> Micros {
        let elapsed = micros(elapsed);
        let error =
            i128::from(elapsed) * i128::from(self.drift) / (1_000_000 + i128::from(self.drift));
        u64::try_from(i128::from(elapsed) - error).expect("time is positive") + 2
    }
}
