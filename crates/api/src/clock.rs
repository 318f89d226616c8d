//! The wall clock, as whoever starts the server gives it.

use std::{fmt, sync::Arc};

use anser_broker::time::Timestamp;

/// What the wall clock shows now.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) struct Clock(pub(crate) WallClock);

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}
