//! The one place that reads a clock; what a shard's time is made of it, `anser-host` says.
//!
//! The clock that never jumps counts suspended time too.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anser_broker::time::{Millis, Timestamp};
use anser_host::Now;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

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

    /// What all clocks show now.
    pub(crate) fn now(&self) -> Now {
        let elapsed = self.elapsed();
        Now {
            elapsed,
            beat: match &*self.0 {
                Source::System => elapsed,
                Source::Manual(_) => boot_time(),
            },
            wall: self.wall(),
            is_exact: matches!(&*self.0, Source::Manual(_)),
        }
    }

    /// Since some moment before the start; never jumps.
    fn elapsed(&self) -> Duration {
        match &*self.0 {
            Source::System => boot_time(),
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
    pub(crate) fn sleep_for(&self, length: Duration) -> Duration {
        match &*self.0 {
            Source::System => length,
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

/// Since the machine was switched on, sleep included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("time since boot is positive");
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanos)
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({})", self.wall().0)
    }
}
