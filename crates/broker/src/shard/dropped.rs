//! What ended on a shard, so that a late word of it does not bring it back.
//!
//! Below the floor, which the catalog sends along with every end, there is nothing still to come. Above
//! it, what ended is remembered one by one, until a later floor is beyond it.

use std::collections::BTreeSet;

use crate::limits;

#[derive(Debug, Clone, Default)]
pub(super) struct Dropped {
    floor: u64,
    /// From the floor on.
    numbers: BTreeSet<u64>,
}

impl Dropped {
    pub(super) fn raise(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.numbers = self.numbers.split_off(&floor);
        }
    }

    /// Remembers what ended; false if too many are remembered already.
    pub(super) fn add(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return true;
        }
        self.numbers.len() < limits::DROPPED_MAX && self.numbers.insert(number)
    }

    /// Whether what has this number, and is not there, has ended.
    pub(super) fn contains(&self, number: u64) -> bool {
        number < self.floor || self.numbers.contains(&number)
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Those that are remembered one by one, in order.
    pub(super) fn numbers(&self) -> impl ExactSizeIterator<Item = u64> {
        self.numbers.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_remembered_until_the_floor_is_beyond_it() {
        let mut dropped = Dropped::default();
        let most = u64::try_from(limits::DROPPED_MAX).expect("it is small");
        for number in 10..10 + most {
            assert!(dropped.add(number));
        }
        assert!(dropped.add(10), "it is remembered already");
        assert!(!dropped.add(9), "a full bound forgets nothing");
        dropped.raise(12);
        dropped.raise(11);
        assert_eq!(
            (dropped.floor(), dropped.numbers().len()),
            (12, limits::DROPPED_MAX - 2)
        );
        assert!(dropped.add(9) && dropped.contains(9) && dropped.contains(11));
        assert!(dropped.contains(12) && !dropped.contains(10 + most));
    }
}
