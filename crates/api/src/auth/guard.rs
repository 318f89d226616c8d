//! A brake for guessers: too many wrong signatures from one address for one key, and both are
//! refused for a moment without any work.
//!
//! Nothing else is held up: the same key from another address works, and so does another key from
//! the same address.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Wrong signatures within one window before the door closes.
const FAILURES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// Pairs of key and address watched at once; beyond, guesses cost a verification each.
const WATCHED_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Guard {
    /// Keyed at random, so that nobody can aim at another's entry.
    hasher: RandomState,
    opened: Instant,
    /// Milliseconds from the opening to the end of the last window; afterwards nobody needs the lock.
    watching_until: AtomicU64,
    watched: Mutex<HashMap<u64, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Guard {
    /// Whether a request may try its signature.
    pub(crate) fn admits(&self, key: &[u8], address: IpAddr, now: Instant) -> bool {
        if self.milliseconds(now) > self.watching_until.load(Ordering::Relaxed) {
            return true;
        }
        let watched = self.lock();
        watched
            .get(&self.hasher.hash_one((key, address)))
            .is_none_or(|failures| failures.is_over(now) || failures.count <= FAILURES_MAX)
    }

    pub(crate) fn failed(&self, key: &[u8], address: IpAddr, now: Instant) {
        let mark = self.hasher.hash_one((key, address));
        let mut watched = self.lock();
        if watched.len() >= WATCHED_MAX && !watched.contains_key(&mark) {
            watched.retain(|_, failures| !failures.is_over(now));
            if watched.len() >= WATCHED_MAX {
                return;
            }
        }
        let failures = watched.entry(mark).or_insert(Failures {
            since: now,
            count: 0,
        });
        if failures.is_over(now) {
            *failures = Failures {
                since: now,
                count: 0,
            };
        }
        failures.count += 1;
        if failures.count == FAILURES_MAX + 1 {
            // The closed door stays closed for a whole window from here.
            failures.since = now;
        }
        self.watching_until
            .fetch_max(self.milliseconds(now + WINDOW), Ordering::Relaxed);
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.opened);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Failures>> {
        self.watched
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            opened: Instant::now(),
            watching_until: AtomicU64::new(0),
            watched: Mutex::default(),
        }
    }
}

impl Failures {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn twenty_one_failures_close_the_door_for_a_second() {
        let guard = Guard::default();
        let start = Instant::now();
        for _ in 0..=FAILURES_MAX {
            assert!(guard.admits(b"id", HERE, start));
            guard.failed(b"id", HERE, start);
        }
        assert!(!guard.admits(b"id", HERE, start));
        assert!(guard.admits(b"id", THERE, start), "another address");
        assert!(guard.admits(b"other", HERE, start), "another key");
        assert!(guard.admits(b"id", HERE, start + WINDOW));
    }

    #[test]
    fn the_table_does_not_grow_beyond_its_bound() {
        let guard = Guard::default();
        let start = Instant::now();
        for number in 0..2 * WATCHED_MAX {
            guard.failed(number.to_string().as_bytes(), HERE, start);
        }
        assert_eq!(guard.lock().len(), WATCHED_MAX);
        guard.failed(b"later", HERE, start + WINDOW);
        assert_eq!(guard.lock().len(), 1);
    }
}
