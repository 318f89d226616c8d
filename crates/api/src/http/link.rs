//! One connection's state: which phase it is in, and since when.
//!
//! Phases change in the connection's own task only. The watch polls after the connection in that
//! same task, so it sees every change and needs a timer only for phases that really last.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{heads::Last, proxies::Source};
use crate::{limits::Limits, metrics::HttpMetrics, presence::Presence};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reading a head, or just opened, which agreeing on TLS is a part of.
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
    /// Of the body that is read: the milliseconds at which its present stretch began, and the bytes
    /// that came in it.
    stretch: AtomicU64,
    stretch_bytes: AtomicU64,
    stretch_bytes_least: u64,
    stretch_time: Duration,
    times: [Option<Duration>; PHASES.len()],
    /// Requests that were begun.
    requests: AtomicU64,
    /// The number of the request that no other may follow, and why.
    last: OnceLock<(u64, Last)>,
    pub(super) presence: Presence,
    /// What is at the other end.
    pub(super) source: Source,
    pub(super) linger_bytes: usize,
    pub(super) metrics: Arc<HttpMetrics>,
}

impl Link {
    pub(super) fn new(limits: &Limits, metrics: Arc<HttpMetrics>, source: Source) -> Self {
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
            stretch: AtomicU64::new(0),
            stretch_bytes: AtomicU64::new(0),
            stretch_bytes_least: limits.body_stretch_bytes(),
            stretch_time: limits.body_stretch_time,
            times: PHASES.map(time),
            requests: AtomicU64::new(0),
            last: OnceLock::new(),
            presence: Presence::default(),
            source,
            linger_bytes: limits.linger_bytes,
            metrics,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let since = self.elapsed();
        self.state
            .store(since << 3 | phase as u64, Ordering::Relaxed);
        if phase == Phase::Body {
            self.begin_stretch(since);
        }
    }

    /// The raw bytes have shown the last head that will be looked at.
    pub(super) fn ends_with(&self, number: u64, last: Last) {
        self.last.set((number, last)).expect("only one is the last");
    }

    /// Counts a request: why no other may follow it, if so.
    pub(super) fn begin_request(&self) -> Option<Last> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let (last, why) = self.last.get()?;
        (number >= *last).then_some(*why)
    }

    /// Counts what came of a body: enough of it earns time for another stretch.
    pub(super) fn came(&self, bytes: u64) {
        let bytes = bytes + self.stretch_bytes.fetch_add(bytes, Ordering::Relaxed);
        if bytes >= self.stretch_bytes_least {
            self.begin_stretch(self.elapsed());
        }
    }

    fn begin_stretch(&self, since: u64) {
        self.stretch.store(since, Ordering::Relaxed);
        self.stretch_bytes.store(0, Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).expect("a connection ends")
    }

    pub(super) fn phase(&self) -> Phase {
        PHASES[usize::try_from(self.state.load(Ordering::Relaxed) & 7).expect("three bits fit")]
    }

    /// When the present phase must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = Duration::from_millis(self.state.load(Ordering::Relaxed) >> 3);
        let phase = self.phase();
        let end = since + self.times[phase as usize]?;
        let stretch = Duration::from_millis(self.stretch.load(Ordering::Relaxed));
        let end = match phase {
            Phase::Body => end.min(stretch + self.stretch_time),
            _ => end,
        };
        Some(self.opened + end)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, thread};

    use super::*;

    #[test]
    fn a_body_earns_its_time_by_what_comes_of_it_and_never_more_than_all_of_it() {
        let limits = Limits {
            body_time: Duration::from_secs(6),
            ..Limits::default()
        };
        let least = limits.body_stretch_bytes();
        let metrics = Arc::new(HttpMetrics::new(Vec::new()));
        let link = Link::new(&limits, metrics, Source::Client(Ipv4Addr::LOCALHOST.into()));
        link.enter(Phase::Body);
        let first = link.deadline().unwrap();
        thread::sleep(Duration::from_millis(5));
        link.came(least - 1);
        assert_eq!(link.deadline(), Some(first), "not enough");
        link.came(1);
        let second = link.deadline().unwrap();
        assert!(second > first);
        link.came(least - 1);
        assert_eq!(link.deadline(), Some(second), "counted anew");
        let whole = Limits {
            body_time: Duration::ZERO,
            ..limits
        };
        let link = Link::new(&whole, Arc::clone(&link.metrics), link.source);
        link.enter(Phase::Body);
        let end = link.deadline().unwrap();
        thread::sleep(Duration::from_millis(5));
        link.came(least);
        assert_eq!(link.deadline(), Some(end));
    }
}
