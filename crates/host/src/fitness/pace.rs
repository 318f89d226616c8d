//! How fast a node's disk is, of its reports of some seconds, and whether that is slow beside the others.
//!
//! Slow is relative, so that nobody is while all are as slow; and absolute, so that a fast disk may be ten times slower than
//! a very fast one. It takes more to become slow than to stay so.

use std::{collections::VecDeque, time::Duration};

/// Reports that are looked at together: of four seconds, if the node has enough to do. Most of them decide, so that a hiccup
/// of a second or two does not.
const REPORTS: usize = 8;
/// Fewer of them say nothing.
const REPORTS_LEAST: usize = 4;
/// What was said so long ago does not count any more.
const PAST: Duration = Duration::from_secs(30);

/// A disk is slow if its syncs take so many times as long as most others', and longer than this.
const SLOW: Bound = Bound {
    factor: 10,
    micros: 20_000,
};
/// It stays so while they take so many times as long, and longer than this.
const STILL_SLOW: Bound = Bound {
    factor: 5,
    micros: 10_000,
};

struct Bound {
    factor: u64,
    micros: u64,
}

/// The mean time of a sync, of each of the last reports.
#[derive(Debug, Default)]
pub(super) struct Pace {
    heard: Duration,
    micros: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Takes in the report that came at this moment; once. One without any sync says nothing of the disk.
    pub(super) fn note(&mut self, sync_micros: u64, at: Duration) {
        if at == self.heard {
            return;
        }
        self.heard = at;
        if sync_micros > 0 {
            self.micros.push_back((at, sync_micros));
        }
        let is_past = |&(then, _): &(Duration, u64)| at.saturating_sub(then) >= PAST;
        while self.micros.len() > REPORTS || self.micros.front().is_some_and(is_past) {
            self.micros.pop_front();
        }
    }

    /// What most of the reports reach; `None` if there are too few.
    pub(super) fn micros(&self) -> Option<u64> {
        if self.micros.len() < REPORTS_LEAST {
            return None;
        }
        let mut sorted: Vec<u64> = self.micros.iter().map(|&(_, micros)| micros).collect();
        sorted.sort_unstable();
        Some(sorted[(sorted.len() - 1) / 2])
    }

    /// Whether the disk is slow where this is usual. A node of which too little is known stays what it was.
    pub(super) fn is_slow(&self, usual: Option<u64>, was_slow: bool) -> bool {
        let (Some(micros), Some(usual)) = (self.micros(), usual) else {
            return was_slow;
        };
        let bound = if was_slow { STILL_SLOW } else { SLOW };
        micros > bound.micros && micros > usual.saturating_mul(bound.factor)
    }
}

/// What fewer than half of the nodes exceed: where half of them are slow, being slow is usual, for writes wait for the slow
/// ones whoever leads.
pub(super) fn usual(micros: impl Iterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<u64> = micros.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(micros: &[u64]) -> Pace {
        let mut pace = Pace::default();
        for (at, &micros) in (1..).zip(micros) {
            pace.note(micros, Duration::from_millis(at));
        }
        pace
    }

    #[test]
    fn a_hiccup_is_not_slowness_and_a_hang_soon_is() {
        let mut one = pace(&[1_000; 8]);
        for hung in 1..=8 {
            one.note(500_000, Duration::from_millis(1_000 + hung));
            assert_eq!(one.is_slow(Some(1_000), false), hung > 4, "{hung}");
        }
    }

    #[test]
    fn it_takes_more_to_become_slow_than_to_stay_so() {
        let slow = |micros, usual| {
            let pace = pace(&[micros; 8]);
            [false, true].map(|was| pace.is_slow(Some(usual), was))
        };
        assert_eq!(slow(300_000, 1_000), [true, true]);
        assert_eq!(slow(60_000, 10_000), [false, true], "in relation");
        assert_eq!(slow(15_000, 1_000), [false, true], "in itself");
        assert_eq!(slow(9_000, 500), [false, false]);
        assert_eq!(slow(300_000, 100_000), [false, false], "as most are");
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let unknown = pace(&[900_000, 900_000, 900_000, 0, 0, 0]);
        assert!(!unknown.is_slow(Some(1_000), false) && unknown.is_slow(Some(1_000), true));
        let mut twice = pace(&[]);
        for _ in 0..8 {
            twice.note(900_000, Duration::from_millis(7));
        }
        assert_eq!(twice.micros(), None, "it is one report");
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut one = pace(&[900_000; 8]);
        one.note(0, PAST);
        assert_eq!(one.micros(), Some(900_000));
        one.note(0, PAST * 2);
        assert_eq!(one.micros(), None);
    }

    #[test]
    fn what_is_usual_is_what_most_take() {
        let usual = |micros: &[u64]| usual(micros.iter().copied());
        assert_eq!(usual(&[]), None);
        assert_eq!(usual(&[1, 300, 1]), Some(1));
        assert_eq!(usual(&[300, 1, 300]), Some(300));
        assert_eq!(usual(&[1, 300]), Some(300));
        assert_eq!(usual(&[1, 300, 300, 1, 1]), Some(1));
    }
}
