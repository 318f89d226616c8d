//! When a delivery that failed is tried again.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// What becomes of deliveries that fail. Both strategies also end with the topic's retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryStrategy {
    /// One message at a time, in order: three retries, each after 10 to 20 s, then the next message.
    BackOff,
    /// Several at a time: retries after 1, 2, 4 and on to 512 s, then every 512 s, 176 in all.
    ExponentialDecay,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    RetryIn(Millis),
    GiveUp,
}

const BACK_OFF_RETRIES: u32 = 3;
const BACK_OFF_LEAST: Millis = Millis::from_seconds(10);
const BACK_OFF_MOST: Millis = Millis::from_seconds(20);
const DECAY_RETRIES: u32 = 176;
/// The wait doubles this often and then stays.
const DECAY_DOUBLINGS: u32 = 9;

impl RetryStrategy {
    /// The longest time that a message waits for a retry.
    pub fn longest_wait(self) -> Millis {
        match self {
            Self::BackOff => BACK_OFF_MOST,
            Self::ExponentialDecay => Millis::from_seconds(1 << DECAY_DOUBLINGS),
        }
    }

    /// What follows the `failures`-th failure in a row of one message, counted from 1. `draw` is a
    /// random number, for strategies that draw lots.
    ///
    /// The schedules are those of CMQ's `notifyStrategy` (`BACKOFF_RETRY`,
    /// `EXPONENTIAL_DECAY_RETRY`).
    pub fn after(self, failures: u32, draw: u64) -> AfterFailure {
        match self {
            Self::BackOff if failures > BACK_OFF_RETRIES => AfterFailure::GiveUp,
            Self::BackOff => {
                let span = BACK_OFF_MOST.0 - BACK_OFF_LEAST.0 + 1;
                AfterFailure::RetryIn(Millis(BACK_OFF_LEAST.0 + draw % span))
            }
            Self::ExponentialDecay if failures > DECAY_RETRIES => AfterFailure::GiveUp,
            Self::ExponentialDecay => {
                let doublings = failures.saturating_sub(1).min(DECAY_DOUBLINGS);
                AfterFailure::RetryIn(Millis::from_seconds(1 << doublings))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(strategy: RetryStrategy, draw: u64) -> Vec<u64> {
        let mut waits = Vec::new();
        while let AfterFailure::RetryIn(wait) =
            strategy.after(u32::try_from(waits.len()).unwrap() + 1, draw)
        {
            waits.push(wait.0);
        }
        waits
    }

    #[test]
    fn decay_doubles_to_512_seconds_and_ends_after_176_retries() {
        let waits = waits(RetryStrategy::ExponentialDecay, 7);
        let seconds: Vec<u64> = waits.iter().map(|wait| wait / 1000).collect();
        assert_eq!(seconds[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512]);
        assert!(seconds[10..].iter().all(|wait| *wait == 512));
        assert_eq!(seconds.len(), 176);
        assert_eq!(seconds.iter().sum::<u64>(), 86_015);
        let longest = RetryStrategy::ExponentialDecay.longest_wait();
        assert_eq!(waits.iter().max(), Some(&longest.0));
    }

    #[test]
    fn back_off_retries_three_times_within_its_bounds() {
        for draw in [0, 1, 10_000, 10_001, u64::MAX] {
            let waits = waits(RetryStrategy::BackOff, draw);
            assert_eq!(waits.len(), 3);
            assert!(waits.iter().all(|wait| (10_000..=20_000).contains(wait)));
        }
        let longest = RetryStrategy::BackOff.longest_wait();
        assert_eq!(waits(RetryStrategy::BackOff, 10_000)[0], longest.0);
    }
}
