//! How fast a subscription with exponential decay gets messages: held back after failures.
//!
//! A failure at full speed begins a hold. When it ends, a few messages are tried as probes: if all of
//! them fail too, a longer hold begins; a success of whatever message brings back full speed.
//!
//! Only first attempts tell something about the endpoint. A message that failed before may be bad
//! itself, and comes by its own waits: its failures count nothing and take no probe's turn. A hold is
//! followed by as many probes as the next one would have seconds, up to the most that may be under way:
//! so bad messages in a row cost the others a second each, and a dead endpoint is asked seldom. Probes
//! that have no answer for a second hold up nobody: the others follow, until so many have failed.

use anser_broker::{
    retry::{AfterFailure, RetryStrategy},
    time::Millis,
};

#[derive(Debug)]
pub(crate) struct Pace {
    /// The most messages under way.
    most: usize,
    speed: Speed,
    /// Holds in a row without a success.
    holds: u32,
    hold: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    Full,
    Held,
    Probing(Probes),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Probes {
    /// How many more may be taken.
    to_send: usize,
    /// How many more failures begin the next hold.
    to_fail: usize,
}

/// A time in which nothing is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Tells a hold from those before it.
    pub(crate) number: u64,
    pub(crate) length: Millis,
}

/// What a push tells about the endpoint, if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A first attempt.
    First,
    /// A first attempt after the hold of this number.
    Probe(u64),
    /// Of a message that was tried before.
    Retry,
}

impl Pace {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            speed: Speed::Full,
            holds: 0,
            hold: Hold {
                number: 0,
                length: Millis(0),
            },
        }
    }

    /// Back to full speed.
    pub(crate) fn reset(&mut self) {
        self.speed = Speed::Full;
        self.holds = 0;
    }

    /// How many more messages may be pushed while so many are under way.
    pub(crate) fn room(&self, under_way: usize) -> usize {
        let room = self.most.saturating_sub(under_way);
        match self.speed {
            Speed::Full => room,
            Speed::Held => 0,
            // Whether a message is a probe is known when it is taken.
            Speed::Probing(probes) => room.min(probes.to_send),
        }
    }

    /// A message was taken, for an attempt of this number. What is its push for?
    pub(crate) fn took(&mut self, attempt: u32) -> Role {
        if attempt > 1 {
            return Role::Retry;
        }
        match &mut self.speed {
            Speed::Probing(probes) if probes.to_send > 0 => {
                probes.to_send -= 1;
                Role::Probe(self.hold.number)
            }
            _ => Role::First,
        }
    }

    /// The hold that begins now, if one does.
    pub(crate) fn failed(&mut self, role: Role) -> Option<Hold> {
        match (&mut self.speed, role) {
            (Speed::Full, Role::First | Role::Probe(_)) => Some(self.begin_hold()),
            (Speed::Probing(probes), Role::Probe(number)) if number == self.hold.number => {
                probes.to_fail -= 1;
                (probes.to_fail == 0).then(|| self.begin_hold())
            }
            _ => None,
        }
    }

    fn begin_hold(&mut self) -> Hold {
        self.hold = Hold {
            number: self.hold.number + 1,
            length: self.next_length(),
        };
        self.holds = self.holds.saturating_add(1);
        self.speed = Speed::Held;
        self.hold
    }

    /// Whether the hold of this number was still on.
    pub(crate) fn hold_ended(&mut self, number: u64) -> bool {
        let was_held = self.speed == Speed::Held && self.hold.number == number;
        if was_held {
            let seconds = usize::try_from(self.next_length().seconds()).unwrap_or(usize::MAX);
            let count = seconds.min(self.most);
            self.speed = Speed::Probing(Probes {
                to_send: count,
                to_fail: count,
            });
        }
        was_held
    }

    /// A second has passed since the first probe after the hold of this number. Whether it still
    /// mattered.
    pub(crate) fn second_passed(&mut self, number: u64) -> bool {
        match &mut self.speed {
            Speed::Probing(probes) if number == self.hold.number => {
                probes.to_send = usize::MAX;
                true
            }
            _ => false,
        }
    }

    /// As a message waits that failed so often.
    fn next_length(&self) -> Millis {
        match RetryStrategy::ExponentialDecay.after(self.holds.saturating_add(1), 0) {
            AfterFailure::RetryIn(length) => length,
            // Beyond the last retry of a message the hold stays as long as it is.
            AfterFailure::GiveUp => self.hold.length,
        }
    }
}

#[cfg(test)]
mod tests;
