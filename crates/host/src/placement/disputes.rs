//! Shards of which voters differ, and nobody can say which are right: a copy of one of them would decide it, for whom it is from.
//! So no copy is made until a majority decides, or a person, who has the node emptied that is wrong.
//!
//! What a majority has decided stays so when it is not heard any more: whoever was found wrong counts no more until it is let go of.
//!
//! A difference that was seen is remembered for a while: where entries come fast, voters are compared now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardView;
use crate::comparing::Dispute;

const REMEMBERED_FOR: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Disputes {
    /// When each shard was last seen to differ.
    differing: BTreeMap<u16, Duration>,
    /// When nobody could say which are right.
    undecided: BTreeMap<u16, Duration>,
    /// When a majority last found a member of a shard wrong, or that said that it is damaged.
    wrong: BTreeMap<(u16, u64), Duration>,
}

impl Disputes {
    /// Takes note of the shards that differ now.
    pub(crate) fn look(
        &mut self,
        shards: &BTreeMap<u16, ShardView>,
        differing: BTreeMap<u16, Dispute>,
        now: Duration,
    ) {
        let is_recent = |at: Duration| now.saturating_sub(at) < REMEMBERED_FOR;
        for seen in [&mut self.differing, &mut self.undecided] {
            seen.retain(|_, at| is_recent(*at));
        }
        for (shard, dispute) in differing {
            self.differing.insert(shard, now);
            if dispute.is_undecided {
                self.undecided.insert(shard, now);
            }
            let wrong = dispute.wrong.into_iter();
            self.wrong.extend(wrong.map(|node| ((shard, node), now)));
        }
        self.wrong.retain(|&(shard, node), at| {
            // Nobody is let go of while the shard has no leader.
            let Some(state) = shards.get(&shard) else {
                return true;
            };
            if state.damaged.contains(&node) {
                *at = now;
            }
            let is_member = state.voters.contains(&node) || state.learners.contains(&node);
            is_member && is_recent(*at)
        });
    }

    /// Whether a majority has found wrong what the node has, and it is not let go of yet.
    pub(crate) fn is_wrong(&self, shard: u16, node: u64) -> bool {
        self.wrong.contains_key(&(shard, node))
    }

    pub(crate) fn differing(&self) -> BTreeSet<u16> {
        self.differing.keys().copied().collect()
    }

    pub(crate) fn undecided(&self) -> BTreeSet<u16> {
        self.undecided.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(voters: &[u64], damaged: &[u64]) -> BTreeMap<u16, ShardView> {
        let state = ShardView {
            voters: voters.iter().copied().collect(),
            damaged: damaged.iter().copied().collect(),
            ..ShardView::default()
        };
        [(7, state)].into()
    }

    /// The majority that decided may be gone when it is let go of.
    #[test]
    fn whoever_was_found_wrong_is_wrong_while_it_is_a_damaged_member() {
        let mut disputes = Disputes::default();
        let seconds = Duration::from_secs;
        let dispute = Dispute {
            is_undecided: false,
            wrong: [3].into(),
        };
        disputes.look(
            &shards(&[1, 2, 3], &[]),
            [(7, dispute)].into(),
            seconds(100),
        );
        disputes.look(&shards(&[1, 2, 3], &[2, 3]), BTreeMap::new(), seconds(101));
        disputes.look(&BTreeMap::new(), BTreeMap::new(), seconds(200));
        disputes.look(&shards(&[1, 2, 3], &[2, 3]), BTreeMap::new(), seconds(300));
        assert!(disputes.is_wrong(7, 3));
        assert!(!disputes.is_wrong(7, 2), "damaged is not wrong");
        let before = disputes.wrong.clone();
        disputes.look(&shards(&[1, 2], &[3]), BTreeMap::new(), seconds(301));
        assert!(!disputes.is_wrong(7, 3), "it was let go of");
        disputes.wrong = before;
        disputes.look(&shards(&[1, 2, 3], &[]), BTreeMap::new(), seconds(310));
        assert!(!disputes.is_wrong(7, 3), "it has nothing damaged");
    }
}
