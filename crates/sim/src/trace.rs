//! What happened, as a hash of everything and as text for whoever wants to read it.

use crate::{event::Micros, random};

#[derive(Debug, Default)]
pub(crate) struct Trace {
    sum: u64,
    prints: bool,
}

impl Trace {
    pub(crate) fn new(prints: bool) -> Self {
        Self { sum: 0, prints }
    }

    /// Adds bytes to the hash.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.sum = random::hash(self.sum, bytes);
    }

    /// Adds numbers to the hash.
    pub(crate) fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.sum = random::mix(self.sum.rotate_left(7) ^ number);
        }
    }

    #[expect(clippy::print_stdout, reason = "a trace is for reading")]
    pub(crate) fn say(&mut self, now: Micros, text: impl FnOnce() -> String) {
        if self.prints {
            println!("{:>6}.{:06} {}", now / 1_000_000, now % 1_000_000, text());
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }
}
