//! What the edge has counted: plain numbers, read by whoever shows them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::cmq::errors::Fault;

/// Buckets of the latency histogram: below 1, 2, 4 … microseconds, the last without a bound.
const BUCKETS: usize = 27;
/// Requests that name no action we have are counted under this name.
const OTHER: &str = "other";

#[derive(Debug)]
pub struct HttpMetrics {
    actions: Vec<ActionMetrics>,
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    /// Connections ended because a client was too slow.
    pub(crate) connections_overdue: AtomicU64,
    /// Connections that agreed on no TLS where it is spoken.
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) auth_failures: AtomicU64,
    /// Requests outside every dialect.
    pub(crate) not_found: AtomicU64,
}

#[derive(Debug)]
struct ActionMetrics {
    name: &'static str,
    outcomes: Vec<AtomicU64>,
    latency: [AtomicU64; BUCKETS],
    microseconds: AtomicU64,
}

/// How many requests of an action had one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCount {
    pub dialect: &'static str,
    pub action: &'static str,
    /// The public code, 0 for success, and the module code.
    pub code: u16,
    pub module: u16,
    pub count: u64,
}

/// How many requests of an action took less than a bound and not less than the bound before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyBucket {
    pub dialect: &'static str,
    pub action: &'static str,
    /// `None`: without a bound.
    pub below: Option<Duration>,
    pub count: u64,
}

impl HttpMetrics {
    pub(crate) fn new(actions: Vec<&'static str>) -> Self {
        let named = actions.into_iter().chain([OTHER]);
        Self {
            actions: named.map(ActionMetrics::new).collect(),
            connections_open: AtomicU64::new(0),
            connections_accepted: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            connections_overdue: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            auth_failures: AtomicU64::new(0),
            not_found: AtomicU64::new(0),
        }
    }

    pub(crate) fn answered(&self, action: Option<usize>, fault: Fault, took: Duration) {
        let other = self.actions.len() - 1;
        let action = &self.actions[action.unwrap_or(other)];
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bits = usize::try_from(u64::BITS - microseconds.leading_zeros()).unwrap_or(BUCKETS);
        add(&action.outcomes[fault as usize], 1);
        add(&action.latency[bits.min(BUCKETS - 1)], 1);
        add(&action.microseconds, microseconds);
        let of_auth = Fault::AuthenticationFailed.code();
        if fault.code() == of_auth {
            add(&self.auth_failures, 1);
        }
    }

    /// The outcomes that happened.
    pub fn requests(&self) -> impl Iterator<Item = RequestCount> {
        self.actions.iter().flat_map(|action| {
            let outcomes = Fault::ALL.iter().zip(&action.outcomes);
            outcomes
                .map(|(fault, count)| RequestCount {
                    dialect: "cmq",
                    action: action.name,
                    code: fault.code(),
                    module: fault.module(),
                    count: read(count),
                })
                .filter(|count| count.count > 0)
        })
    }

    pub fn latency(&self) -> impl Iterator<Item = LatencyBucket> {
        self.actions.iter().flat_map(|action| {
            action
                .latency
                .iter()
                .enumerate()
                .map(|(bits, count)| LatencyBucket {
                    dialect: "cmq",
                    action: action.name,
                    below: (bits < BUCKETS - 1).then(|| Duration::from_micros(1 << bits)),
                    count: read(count),
                })
        })
    }

    /// The time that all requests of an action took together, waits included.
    pub fn total_time(&self, action: &str) -> Duration {
        let found = self.actions.iter().find(|metrics| metrics.name == action);
        Duration::from_micros(found.map_or(0, |metrics| read(&metrics.microseconds)))
    }

    pub fn connections_open(&self) -> u64 {
        read(&self.connections_open)
    }

    pub fn connections_accepted(&self) -> u64 {
        read(&self.connections_accepted)
    }

    /// Connections closed unread because there were too many.
    pub fn connections_refused(&self) -> u64 {
        read(&self.connections_refused)
    }

    /// Connections ended because a client was too slow.
    pub fn connections_overdue(&self) -> u64 {
        read(&self.connections_overdue)
    }

    /// Connections that agreed on no TLS where it is spoken; those that took too long apart.
    pub fn handshakes_failed(&self) -> u64 {
        read(&self.handshakes_failed)
    }

    /// Of HTTP, without what TLS adds.
    pub fn bytes_in(&self) -> u64 {
        read(&self.bytes_in)
    }

    /// Of HTTP, without what TLS adds.
    pub fn bytes_out(&self) -> u64 {
        read(&self.bytes_out)
    }

    pub fn auth_failures(&self) -> u64 {
        read(&self.auth_failures)
    }

    /// Requests outside every dialect.
    pub fn not_found(&self) -> u64 {
        read(&self.not_found)
    }
}

impl ActionMetrics {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            outcomes: Fault::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
            microseconds: AtomicU64::new(0),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
