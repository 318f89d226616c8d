//! How fast a subscription with exponential decay gets messages: held back after failures.
//!
//! A failure at full speed begins a hold. When it ends, one message is tried as a probe: if it fails
//! too, a longer hold begins; a success of whatever message brings back full speed. So a dead endpoint
//! is asked seldom, and one message that always fails costs the others a second at a time.

use anser_broker::{
    retry::{AfterFailure, RetryStrategy},
    time::Millis,
};

#[derive(Debug)]
pub(crate) struct Pace {
    speed: Speed,
    /// Failures in a row that counted.
    failures: u32,
    hold: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    Full,
    Held,
    /// One message may be tried, or is being tried.
    Probing {
        sent: bool,
    },
}

/// A time in which nothing is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Tells a hold from those before it.
    pub(crate) number: u64,
    pub(crate) length: Millis,
}

/// What a push was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ordinary,
    Probe,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            speed: Speed::Full,
            failures: 0,
            hold: Hold {
                number: 0,
                length: Millis(0),
            },
        }
    }

    /// Back to full speed.
    pub(crate) fn reset(&mut self) {
        self.speed = Speed::Full;
        self.failures = 0;
    }

    /// How many more messages may be pushed, if `most` may be at full speed.
    pub(crate) fn room(&self, most: usize, under_way: usize) -> usize {
        match self.speed {
            Speed::Full => most.saturating_sub(under_way),
            Speed::Held | Speed::Probing { sent: true } => 0,
            Speed::Probing { sent: false } => 1,
        }
    }

    /// A message was taken. What is its push for?
    pub(crate) fn took(&mut self) -> Role {
        if self.speed == (Speed::Probing { sent: false }) {
            self.speed = Speed::Probing { sent: true };
            return Role::Probe;
        }
        Role::Ordinary
    }

    /// The hold that begins now, if one does.
    pub(crate) fn failed(&mut self, role: Role) -> Option<Hold> {
        let counts = match self.speed {
            Speed::Full => true,
            Speed::Held => false,
            Speed::Probing { .. } => role == Role::Probe,
        };
        if !counts {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        // Beyond the last retry of a message the hold stays as long as it is.
        if let AfterFailure::RetryIn(length) =
            RetryStrategy::ExponentialDecay.after(self.failures, 0)
        {
            self.hold.length = length;
        }
        self.hold.number += 1;
        self.speed = Speed::Held;
        Some(self.hold)
    }

    /// Whether the hold of this number was still on.
    pub(crate) fn hold_ended(&mut self, number: u64) -> bool {
        let was_held = self.speed == Speed::Held && self.hold.number == number;
        if was_held {
            self.speed = Speed::Probing { sent: false };
        }
        was_held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_double_while_probes_fail() {
        let mut pace = Pace::new();
        let mut lengths = Vec::new();
        let mut role = pace.took();
        for _ in 0..12 {
            let hold = pace.failed(role).unwrap();
            lengths.push(hold.length.seconds());
            assert_eq!(pace.room(16, 0), 0);
            assert!(pace.hold_ended(hold.number));
            assert_eq!(pace.room(16, 3), 1);
            role = pace.took();
            assert_eq!(role, Role::Probe);
            assert_eq!(pace.room(16, 0), 0);
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512, 512]);
    }

    #[test]
    fn failures_during_a_hold_do_not_count() {
        let mut pace = Pace::new();
        assert_eq!(pace.failed(Role::Ordinary).unwrap().length.seconds(), 1);
        assert_eq!(pace.failed(Role::Ordinary), None);
        assert!(pace.hold_ended(1));
        assert_eq!(pace.failed(Role::Ordinary), None);
        assert_eq!(pace.took(), Role::Probe);
        assert_eq!(pace.failed(Role::Ordinary), None);
        assert_eq!(pace.failed(Role::Probe).unwrap().length.seconds(), 2);
    }

    #[test]
    fn any_success_brings_back_full_speed() {
        let mut pace = Pace::new();
        pace.failed(Role::Ordinary);
        pace.reset();
        assert_eq!(pace.room(16, 4), 12);
        assert!(!pace.hold_ended(1));
        let hold = pace.failed(Role::Ordinary).unwrap();
        assert_eq!(hold.length.seconds(), 1);
        assert!(!pace.hold_ended(1), "the hold of before is over");
        assert!(pace.hold_ended(2));
    }

    #[test]
    fn the_longest_hold_stays() {
        let mut pace = Pace::new();
        for _ in 0..200 {
            let hold = pace.failed(Role::Probe).unwrap();
            pace.hold_ended(hold.number);
        }
        assert_eq!(pace.hold.length.seconds(), 512);
    }
}
