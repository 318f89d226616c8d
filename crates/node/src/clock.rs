//! The one place that reads a clock.
//!
//! Queue time runs at the rate of a clock that never jumps and counts suspended time too. The wall
//! clock is read only for what people see and, once at the start, to learn how long the node was off.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anser_broker::time::{Millis, Stamp, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// A machine's clock is taken to be wrong by one part in so many at most.
const RATE_ERROR_DIVISOR: u32 = 2_000;

/// A source of time. Clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    System,
    Manual(Mutex<Manual>),
}

struct Manual {
    wall: Timestamp,
    elapsed: Millis,
    moved: Arc<Notify>,
    wakers: Vec<Box<dyn Fn() + Send>>,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that moves only by [`Clock::advance`], for tests that take hours in no time.
    pub fn manual(wall: Timestamp) -> Self {
        let manual = Manual {
            wall,
            elapsed: Millis(0),
            moved: Arc::default(),
            wakers: Vec::new(),
        };
        Self(Arc::new(Source::Manual(Mutex::new(manual))))
    }

    /// Moves a manual clock and wakes whoever waits for a moment.
    ///
    /// # Panics
    /// If this is the machine's clock.
    pub fn advance(&self, by: Millis) {
        let Source::Manual(manual) = &*self.0 else {
            panic!("only a manual clock can be moved")
        };
        let mut manual = manual.lock().expect("no holder of this lock panics");
        manual.wall = manual.wall + by;
        manual.elapsed = Millis(manual.elapsed.0 + by.0);
        manual.wakers.iter().for_each(|wake| wake());
        manual.moved.notify_waiters();
    }

    /// Milliseconds since 1970 as people count them; may jump.
    pub fn wall(&self) -> Timestamp {
        match &*self.0 {
            Source::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Manual(manual) => manual.lock().expect("no holder of this lock panics").wall,
        }
    }

    /// How much of a moment is cut off when it is told in milliseconds.
    fn blur(&self) -> Millis {
        match &*self.0 {
            Source::System => Millis(1),
            Source::Manual(_) => Millis(0),
        }
    }

    /// How much faster than another machine's this clock may have run.
    fn error_over(&self, length: Duration) -> Duration {
        match &*self.0 {
            Source::System => length / RATE_ERROR_DIVISOR,
            Source::Manual(_) => Duration::ZERO,
        }
    }

    /// Since some moment before the start; never jumps.
    fn elapsed(&self) -> Duration {
        match &*self.0 {
            Source::System => {
                let time = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(time.tv_sec).expect("time since boot is positive");
                let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
                Duration::new(seconds, nanos)
            }
            Source::Manual(manual) => {
                let elapsed = manual
                    .lock()
                    .expect("no holder of this lock panics")
                    .elapsed;
                Duration::from_millis(elapsed.0)
            }
        }
    }

    /// Waits until `length` has passed.
    pub(crate) async fn sleep(&self, length: Millis) {
        let Source::Manual(manual) = &*self.0 else {
            return tokio::time::sleep(Duration::from_millis(length.0)).await;
        };
        let until = self.elapsed() + Duration::from_millis(length.0);
        let moved = {
            let manual = manual.lock().expect("no holder of this lock panics");
            Arc::clone(&manual.moved)
        };
        loop {
            let mut next = std::pin::pin!(moved.notified());
            next.as_mut().enable();
            if self.elapsed() >= until {
                return;
            }
            next.await;
        }
    }

    /// How long a thread may sleep until `length` has passed.
    pub(crate) fn sleep_for(&self, length: Millis) -> Duration {
        match &*self.0 {
            Source::System => Duration::from_millis(length.0),
            Source::Manual(_) => Duration::from_secs(3600), // `advance` wakes it.
        }
    }

    /// Calls `wake` whenever a manual clock moves.
    pub(crate) fn on_advance(&self, wake: Box<dyn Fn() + Send>) {
        if let Source::Manual(manual) = &*self.0 {
            manual
                .lock()
                .expect("no holder of this lock panics")
                .wakers
                .push(wake);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({})", self.wall().0)
    }
}

/// The shards' own time on this node: continues from the last stamp in the logs.
#[derive(Debug, Clone)]
pub(crate) struct ShardTime {
    clock: Clock,
    base: Timestamp,
    base_elapsed: Duration,
    follows: bool,
}

impl ShardTime {
    /// Continues from `last`, adding the time the node was off as the wall clock tells it, less what
    /// rounding may have added; none if the wall clock went back. A first start begins with the wall
    /// clock.
    pub(crate) fn continue_from(last: Stamp, clock: Clock) -> Self {
        let wall = clock.wall();
        let base = if last == Stamp::default() {
            wall
        } else {
            let off = wall - last.wall;
            last.now + Millis(off.0.saturating_sub(clock.blur().0))
        };
        Self {
            base,
            base_elapsed: clock.elapsed(),
            follows: false,
            clock,
        }
    }

    /// The time of a shard that others lead or have led: it is known only from their stamps.
    pub(crate) fn of_others(stamp: Timestamp, clock: Clock) -> Self {
        Self {
            base: stamp,
            base_elapsed: clock.elapsed(),
            follows: true,
            clock,
        }
    }

    /// Follows another leader's time: its stamp is at least this old. A clock may run faster than the
    /// leader's by half a thousandth, so what has passed since counts a little less.
    pub(crate) fn follow(&mut self, stamp: Timestamp) {
        self.base = stamp;
        self.base_elapsed = self.clock.elapsed();
        self.follows = true;
    }

    /// From now on this node's clock makes the time, which is at least the shard's last stamp.
    pub(crate) fn lead(&mut self, stamp: Timestamp) {
        self.base = self.now().max(stamp);
        self.base_elapsed = self.clock.elapsed();
        self.follows = false;
    }

    pub(crate) fn now(&self) -> Timestamp {
        let since = self.clock.elapsed().saturating_sub(self.base_elapsed);
        let since = if self.follows {
            since.saturating_sub(self.clock.error_over(since))
        } else {
            since
        };
        self.base + Millis(u64::try_from(since.as_millis()).expect("less than an age"))
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            now: self.now(),
            wall: self.clock.wall(),
            blur: self.clock.blur(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_off_counts_but_a_wall_clock_that_went_back_does_not() {
        let last = Stamp {
            now: Timestamp(1_000),
            wall: Timestamp(5_000),
            ..Stamp::default()
        };
        let later = Clock::manual(Timestamp(7_000));
        assert_eq!(
            ShardTime::continue_from(last, later).now(),
            Timestamp(3_000)
        );
        let earlier = Clock::manual(Timestamp(4_000));
        let time = ShardTime::continue_from(last, earlier.clone());
        assert_eq!(time.now(), Timestamp(1_000));
        earlier.advance(Millis(10));
        assert_eq!(time.now(), Timestamp(1_010));
    }

    #[test]
    fn a_wrong_wall_clock_says_nothing_of_a_shard_that_others_lead() {
        let clock = Clock::manual(Timestamp(9_000_000));
        let time = ShardTime::of_others(Timestamp(7), clock.clone());
        clock.advance(Millis(100));
        assert_eq!(time.now(), Timestamp(107));
    }

    #[test]
    fn a_new_leader_is_never_ahead_of_the_old_one() {
        let clock = Clock::manual(Timestamp(9_000_000));
        let mut time = ShardTime::continue_from(Stamp::default(), clock.clone());
        time.follow(Timestamp(1_000));
        clock.advance(Millis(10_000));
        assert_eq!(time.now(), Timestamp(11_000));
        let error = Clock::system().error_over(Duration::from_secs(10));
        assert_eq!(
            error,
            Duration::from_millis(5),
            "less, by a clock that may be fast"
        );
        time.lead(Timestamp(1_000));
        clock.advance(Millis(10_000));
        assert_eq!(time.now(), Timestamp(21_000));
        time.follow(Timestamp(1));
        time.lead(Timestamp(30_000));
        assert_eq!(time.now(), Timestamp(30_000));
    }
}
