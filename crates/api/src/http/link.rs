//! One connection's state: which phase it is in, and since when.
//!
//! Phases change in the connection's own task only. The watch polls after the connection in that
//! same task, so it sees every change and needs a timer only for phases that really last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{limits::Limits, metrics::HttpMetrics};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reading a head, or just opened.
    Head,
    /// Waiting for another request.
    Idle,
    /// Reading a body.
    Body,
    /// Carrying out a request; the operation has its own bounds.
    Work,
    /// Writing an answer.
    Write,
    /// Closed for writing; listening for the other side's end.
    Linger,
}

const PHASES: [Phase; 6] = [
    Phase::Head,
    Phase::Idle,
    Phase::Body,
    Phase::Work,
    Phase::Write,
    Phase::Linger,
];

#[derive(Debug)]
pub(super) struct Link {
    opened: Instant,
    /// Milliseconds from the opening to the phase's begin, times eight, plus the phase.
    state: AtomicU64,
    times: [Option<Duration>; PHASES.len()],
    pub(super) linger_bytes: usize,
    pub(super) metrics: Arc<HttpMetrics>,
}

impl Link {
    pub(super) fn new(limits: &Limits, metrics: Arc<HttpMetrics>) -> Self {
        let time = |phase| match phase {
            Phase::Head => Some(limits.head_time),
            Phase::Idle => Some(limits.idle_time),
            Phase::Body => Some(limits.body_time),
            Phase::Work => None,
            Phase::Write => Some(limits.write_time),
            Phase::Linger => Some(limits.linger_time),
        };
        Self {
            opened: Instant::now(),
            state: AtomicU64::new(Phase::Head as u64),
            times: PHASES.map(time),
            linger_bytes: limits.linger_bytes,
            metrics,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).expect("a connection ends");
        self.state
            .store(since << 3 | phase as u64, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        PHASES[usize::try_from(self.state.load(Ordering::Relaxed) & 7).expect("three bits fit")]
    }

    /// When the present phase must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = Duration::from_millis(self.state.load(Ordering::Relaxed) >> 3);
        let time = self.times[self.phase() as usize]?;
        Some(self.opened + since + time)
    }
}
