//! When the server stops, and how long it serves those who are connected until then.

use tokio::{sync::watch, time::Instant};

/// When the server stops: nothing until it shall.
pub(crate) type Stop = watch::Receiver<Option<Stopping>>;

/// How long those who are connected are served while the server stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopping {
    /// Until then who says nothing may still ask for something, and is told with the answer that the connection ends.
    pub(crate) idle_until: Instant,
    /// Who has no answer by then is cut off.
    pub(crate) end: Instant,
}

#[cfg(test)]
impl Stopping {
    pub(crate) fn now() -> Self {
        let now = Instant::now();
        Self {
            idle_until: now,
            end: now,
        }
    }
}
