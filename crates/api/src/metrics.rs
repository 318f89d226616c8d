//! What the edge has counted: plain numbers, read by whoever shows them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::dialect::Dialect;

/// Buckets of the latency histogram: below 1, 2, 4 … microseconds, the last without a bound.
const BUCKETS: usize = 27;
/// Requests that name no action we have are counted under this name.
const OTHER: &str = "other";

/// What a client can be told, in the words of a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) text: &'static str,
    /// A second code beside it, if the dialect has one.
    pub(crate) module: &'static str,
    /// That the key or the signature is not accepted.
    pub(crate) is_denial: bool,
}

/// What is counted of a dialect: its actions, and for each how often it was answered with which code.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) dialect: Dialect,
    pub(crate) actions: Vec<&'static str>,
    pub(crate) codes: &'static [Code],
}

#[derive(Debug)]
pub struct HttpMetrics {
    dialects: Vec<DialectMetrics>,
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
struct DialectMetrics {
    dialect: Dialect,
    codes: &'static [Code],
    /// The last is for all other names.
    actions: Vec<ActionMetrics>,
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
    /// What the client was told; of CMQ the public code, 0 for success, and the module code.
    pub code: &'static str,
    pub module: &'static str,
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
    pub(crate) fn new(spoken: Vec<Vocabulary>) -> Self {
        Self {
            dialects: spoken.into_iter().map(DialectMetrics::new).collect(),
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

    /// Counts an answer. Action and code are places in the dialect's vocabulary; a dialect without one counts as none.
    pub(crate) fn answered(
        &self,
        dialect: Dialect,
        action: Option<usize>,
        code: usize,
        took: Duration,
    ) {
        let Some(spoken) = self.spoken(dialect) else {
            return add(&self.not_found, 1);
        };
        let other = spoken.actions.len() - 1;
        let action = &spoken.actions[action.unwrap_or(other)];
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bits = usize::try_from(u64::BITS - microseconds.leading_zeros()).unwrap_or(BUCKETS);
        add(&action.outcomes[code], 1);
        add(&action.latency[bits.min(BUCKETS - 1)], 1);
        add(&action.microseconds, microseconds);
        if spoken.codes[code].is_denial {
            add(&self.auth_failures, 1);
        }
    }

    /// The name of an action.
    pub(crate) fn action(&self, dialect: Dialect, action: usize) -> Option<&'static str> {
        Some(self.spoken(dialect)?.actions.get(action)?.name)
    }

    pub(crate) fn code(&self, dialect: Dialect, code: usize) -> Option<Code> {
        self.spoken(dialect)?.codes.get(code).copied()
    }

    fn spoken(&self, dialect: Dialect) -> Option<&DialectMetrics> {
        let mut spoken = self.dialects.iter();
        spoken.find(|spoken| spoken.dialect == dialect)
    }

    /// The outcomes that happened.
    pub fn requests(&self) -> impl Iterator<Item = RequestCount> {
        self.actions().flat_map(|(spoken, action)| {
            let outcomes = spoken.codes.iter().zip(&action.outcomes);
            outcomes
                .map(|(code, count)| RequestCount {
                    dialect: spoken.dialect.name(),
                    action: action.name,
                    code: code.text,
                    module: code.module,
                    count: read(count),
                })
                .filter(|count| count.count > 0)
        })
    }

    pub fn latency(&self) -> impl Iterator<Item = LatencyBucket> {
        self.actions().flat_map(|(spoken, action)| {
            let buckets = action.latency.iter().enumerate();
            buckets.map(|(bits, count)| LatencyBucket {
                dialect: spoken.dialect.name(),
                action: action.name,
                below: (bits < BUCKETS - 1).then(|| Duration::from_micros(1 << bits)),
                count: read(count),
            })
        })
    }

    /// The time that all requests of an action took together, waits included.
    pub fn total_time(&self, dialect: &str, action: &str) -> Duration {
        let mut actions = self.actions();
        let found = actions
            .find(|(spoken, metrics)| spoken.dialect.name() == dialect && metrics.name == action);
        Duration::from_micros(found.map_or(0, |(_, metrics)| read(&metrics.microseconds)))
    }

    fn actions(&self) -> impl Iterator<Item = (&DialectMetrics, &ActionMetrics)> {
        self.dialects.iter().flat_map(|spoken| {
            let actions = spoken.actions.iter();
            actions.map(move |action| (spoken, action))
        })
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

impl DialectMetrics {
    fn new(vocabulary: Vocabulary) -> Self {
        let Vocabulary {
            dialect,
            actions,
            codes,
        } = vocabulary;
        let named = actions.into_iter().chain([OTHER]);
        Self {
            dialect,
            codes,
            actions: named.map(|name| ActionMetrics::new(name, codes)).collect(),
        }
    }
}

impl ActionMetrics {
    fn new(name: &'static str, codes: &[Code]) -> Self {
        Self {
            name,
            outcomes: codes.iter().map(|_| AtomicU64::new(0)).collect(),
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
