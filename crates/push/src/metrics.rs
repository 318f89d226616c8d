//! What a pusher counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::Kind;

/// Counters since the start. They are read while pushes go on, so they need not agree to the unit.
#[derive(Debug, Default)]
pub struct Metrics {
    attempts: AtomicU64,
    successes: AtomicU64,
    failures: [AtomicU64; Kind::ALL.len()],
    given_up: AtomicU64,
    in_flight: AtomicU64,
    connections: AtomicU64,
}

/// A push under way, counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'metrics>(&'metrics Metrics);

impl Metrics {
    /// Pushes that were begun.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Pushes that were answered with a success.
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Pushes that failed, by kind: `endpoint` (no usable URL), `refused` (an address or port that is
    /// not allowed), `resolve`, `crowded` (too many pushes to the address), `connect`, `tls`,
    /// `time_limit`, `broken` (the connection, before an answer) and `status`.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Kind::ALL.into_iter().map(|kind| {
            let count = &self.failures[kind as usize];
            (kind.name(), count.load(Ordering::Relaxed))
        })
    }

    /// Pushes to addresses or ports that are not allowed. They are among the failures.
    pub fn refused(&self) -> u64 {
        self.failures[Kind::Refused as usize].load(Ordering::Relaxed)
    }

    /// Messages that were given up after their last retry.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Pushes under way now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections that were opened.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn attempt(&self) -> InFlight<'_> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(crate) fn success(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failure(&self, kind: Kind) {
        self.failures[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
