//! Shards of which voters differ, and nobody can say which are right: a copy of one of them would decide it, for whom it is from.
//! So no copy is made until a majority decides, or a person, who has the node emptied that is wrong.
//!
//! A difference that was seen is remembered for a while: where entries come fast, voters are compared now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const REMEMBERED_FOR: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Disputes {
    /// When each shard was last seen to differ.
    differing: BTreeMap<u16, Duration>,
    /// When nobody could say which are right.
    undecided: BTreeMap<u16, Duration>,
}

impl Disputes {
    /// Takes note of the shards that differ now, and of whether that is undecided.
    pub(crate) fn look(&mut self, differing: BTreeMap<u16, bool>, now: Duration) {
        for seen in [&mut self.differing, &mut self.undecided] {
            seen.retain(|_, at| now.saturating_sub(*at) < REMEMBERED_FOR);
        }
        for (shard, is_undecided) in differing {
            self.differing.insert(shard, now);
            if is_undecided {
                self.undecided.insert(shard, now);
            }
        }
    }

    pub(crate) fn differing(&self) -> BTreeSet<u16> {
        self.differing.keys().copied().collect()
    }

    pub(crate) fn undecided(&self) -> BTreeSet<u16> {
        self.undecided.keys().copied().collect()
    }
}
