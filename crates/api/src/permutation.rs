//! A keyed permutation of the numbers below 2^63: each stands for exactly one other, and nobody without the
//! key can tell which. It is a balanced Feistel network over 64 bits, walked until the top bit is clear.

use std::{fmt, hash::Hasher};

use siphasher::sip::SipHasher24;

pub(crate) const TOP_BIT: u64 = 1 << 63;
const ROUNDS: u8 = 4;

#[derive(Clone)]
pub(crate) struct Permutation {
    rounds: [SipHasher24; ROUNDS as usize],
}

impl Permutation {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        let (own, other) = key.split_at(16);
        let round = |number: u8| {
            // The second half of the key parts the rounds from each other.
            let mut hasher =
                SipHasher24::new_with_key(own.try_into().expect("half of 32 bytes is 16"));
            hasher.write(other);
            hasher.write_u8(number);
            hasher
        };
        Self {
            rounds: [round(0), round(1), round(2), round(3)],
        }
    }

    /// What stands for a number below 2^63.
    pub(crate) fn forward(&self, number: u64) -> u64 {
        let mut number = self.step_forward(number);
        while number & TOP_BIT != 0 {
            number = self.step_forward(number);
        }
        number
    }

    /// What a number below 2^63 stands for.
    pub(crate) fn backward(&self, number: u64) -> u64 {
        let mut number = self.step_backward(number);
        while number & TOP_BIT != 0 {
            number = self.step_backward(number);
        }
        number
    }

    fn step_forward(&self, number: u64) -> u64 {
        let (mut left, mut right) = halves(number);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mix(round, right));
        }
        join(left, right)
    }

    fn step_backward(&self, number: u64) -> u64 {
        let (mut left, mut right) = halves(number);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.mix(round, left), left);
        }
        join(left, right)
    }

    fn mix(&self, round: u8, half: u32) -> u32 {
        let mut hasher = self.rounds[usize::from(round)];
        hasher.write(&half.to_le_bytes());
        halves(hasher.finish()).1
    }
}

fn halves(number: u64) -> (u32, u32) {
    let fit = |half: u64| u32::try_from(half).expect("half of 64 bits is 32");
    (fit(number >> 32), fit(number & u64::from(u32::MAX)))
}

fn join(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Without the key.
impl fmt::Debug for Permutation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Permutation")
            .finish_non_exhaustive()
    }
}
