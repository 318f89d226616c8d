//! A shard's fingerprint: a running hash of every entry that it applied and of what came of it.
//!
//! Replicas that have applied the same entries have the same fingerprint; if not, one of them has applied an entry in
//! another way, or its memory is damaged (`docs/decisions/0015-states-are-compared.md`). Each step is one to one, so a
//! difference never goes away by itself. How it is made is frozen like the bytes of a state, of which it is part: programs
//! of different versions compare theirs. It is no proof against malice.

use crate::{
    codec::wire::Sink,
    command::{Delivery, Placed, Reply},
    error::Error,
    op::QueueTotals,
};

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Begins as 0, before the first entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) u64);

/// The CRC-32C of bytes that are not kept.
#[derive(Default)]
pub(crate) struct Checksum(u32);

impl Sink for Checksum {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }
}

pub(crate) fn checksum(write: impl FnOnce(&mut Checksum)) -> u32 {
    let mut checksum = Checksum::default();
    write(&mut checksum);
    checksum.0
}

/// Whose turn it is at an entry: the first whose number is not below this. All have their turns, up to the last.
pub(crate) fn by_turns(index: u64, last: u64) -> u64 {
    last.checked_add(1)
        .map_or(mixed(index), |all| mixed(index) % all)
}

/// Another number, far from those of its neighbours.
fn mixed(number: u64) -> u64 {
    let mixed = number.wrapping_mul(FACTOR);
    mixed ^ (mixed >> 32)
}

impl Fingerprint {
    pub(crate) fn add(&mut self, word: u64) {
        self.0 = mixed(self.0 ^ word);
    }

    pub(crate) fn add_length(&mut self, length: usize) {
        self.add(length as u64);
    }

    pub(crate) fn add_bytes(&mut self, write: impl FnOnce(&mut Checksum)) {
        self.add(checksum(write).into());
    }

    /// An entry before it is applied. The checksum also tells of bodies, which are no part of the state.
    pub(crate) fn add_entry(&mut self, index: u64, payload: &[u8]) {
        self.add(index);
        self.add_length(payload.len());
        self.add(crc32c::crc32c(payload).into());
    }

    pub(crate) fn add_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Done => self.add(1),
            Reply::Placed(placed) => {
                self.add(2);
                self.add_placed(placed);
            }
            Reply::Node(node) => {
                self.add(3);
                self.add(node.node.0);
                self.add(node.start.number);
            }
            Reply::Sent { messages } => {
                self.add(4);
                self.add_length(messages.len());
                for message in messages {
                    self.add(message.number());
                }
            }
            Reply::Received { deliveries } => {
                self.add(5);
                self.add_length(deliveries.len());
                for delivery in deliveries {
                    self.add_delivery(delivery);
                }
            }
            Reply::Each(results) => {
                self.add(6);
                self.add_length(results.len());
                for result in results {
                    self.add_refusal(result.err());
                }
            }
            Reply::Accepted { through, refused } => {
                self.add(7);
                self.add(*through);
                self.add_refusal(*refused);
            }
            Reply::Rewound { messages } => {
                self.add(8);
                self.add(*messages);
            }
            Reply::Refused(error) => {
                self.add(9);
                self.add_refusal(Some(*error));
            }
        }
    }

    fn add_placed(&mut self, placed: &Placed) {
        self.add(placed.number());
        self.add(placed.revision());
        self.add(placed.shard().0.into());
        self.add(placed.is_end().into());
    }

    fn add_delivery(&mut self, delivery: &Delivery) {
        self.add(delivery.message.number());
        self.add(delivery.receipt.number());
        self.add(delivery.sent.0);
        self.add(delivery.first_received.0);
        self.add(delivery.visible_again.0);
        self.add(delivery.deliveries.into());
    }

    fn add_refusal(&mut self, refused: Option<Error>) {
        self.add(refused.map_or(0, |error| u64::from(error.number()) + 1));
    }

    pub(crate) fn add_totals(&mut self, totals: &QueueTotals) {
        let QueueTotals {
            sent,
            received,
            deleted,
            expired,
            dead_lettered,
            cleared,
            rewound,
        } = *totals;
        for count in [
            sent,
            received,
            deleted,
            expired,
            dead_lettered,
            cleared,
            rewound,
        ] {
            self.add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_stays_whatever_follows() {
        let (mut one, mut other) = (Fingerprint(0), Fingerprint(1));
        for word in 0..1_000 {
            one.add(word);
            other.add(word);
            assert_ne!(one, other);
        }
    }

    #[test]
    fn every_refusal_counts() {
        let of = |error| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.add_reply(&Reply::Refused(error));
            fingerprint
        };
        assert_ne!(of(Error::NoSuchQueue), of(Error::QueueExists));
        assert_ne!(of(Error::NoSuchQueue), Fingerprint::default());
    }
}
