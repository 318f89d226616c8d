//! How often what a node had of a shard was replaced lately: what has to be replaced again and again waits, longer each time, and
//! then stays as it is for an hour, for the cause may not be in the copy.
//!
//! Only voters that answer are counted: without one that is closed, or only learns, the shard has as many voters as before.
//! Until its turn comes it leads nothing and votes. Every node counts by what it hears, so whoever decides next knows it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardView;

/// So often the same copy is replaced.
pub(super) const TIMES_MAX: u32 = 3;
/// That counts no more when the last time is so long ago.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
pub(crate) struct Replacements {
    /// By shard and node.
    copies: BTreeMap<(u16, u64), Replaced>,
}

#[derive(Debug, Default)]
struct Replaced {
    times: u32,
    last: Duration,
    /// At the last look it was a voter's that answers, and damaged.
    is_damaged: bool,
}

impl Replacements {
    pub(crate) fn look(&mut self, shards: &BTreeMap<u16, ShardView>, now: Duration) {
        for (&shard, state) in shards {
            for node in deciding(state) {
                self.copies.entry((shard, node)).or_default().is_damaged = true;
            }
        }
        for (&(shard, node), copy) in &mut self.copies {
            let Some(state) = shards.get(&shard).filter(|_| copy.is_damaged) else {
                continue;
            };
            copy.is_damaged = deciding(state).any(|other| other == node);
            if !state.voters.contains(&node) {
                (copy.times, copy.last) = (copy.times + 1, now);
            }
        }
        self.copies.retain(|_, copy| {
            let is_recent = now.saturating_sub(copy.last) < FORGOTTEN_AFTER;
            if copy.times > 0 {
                is_recent
            } else {
                copy.is_damaged
            }
        });
    }

    /// Those that are not replaced yet, however damaged they are: so long after the first time, and twice as long each time.
    pub(crate) fn resting(&self, first: Duration, now: Duration) -> BTreeSet<(u16, u64)> {
        self.those(|copy| {
            let rest = first.saturating_mul(2u32.pow(copy.times.clamp(1, TIMES_MAX) - 1));
            let is_over = copy.times < TIMES_MAX && now.saturating_sub(copy.last) >= rest;
            copy.times > 0 && !is_over
        })
    }

    /// Those that are not replaced any more: the last copy is damaged again, or was even let go of for another node.
    pub(crate) fn given_up(&self) -> BTreeSet<(u16, u64)> {
        self.those(|copy| copy.times > TIMES_MAX || copy.times == TIMES_MAX && copy.is_damaged)
    }

    fn those(&self, is_meant: impl Fn(&Replaced) -> bool) -> BTreeSet<(u16, u64)> {
        let those = self.copies.iter().filter(|(_, copy)| is_meant(copy));
        those.map(|(&which, _)| which).collect()
    }
}

/// The damaged voters without which fewer would decide.
fn deciding(state: &ShardView) -> impl Iterator<Item = u64> {
    let damaged = state.voters.intersection(&state.damaged).copied();
    damaged.filter(|&node| state.is_active(node))
}

#[cfg(test)]
mod tests {
    use super::{super::PeerView, *};

    const FIRST: Duration = Duration::from_secs(300);

    /// Node 2 leads, and hears node 1.
    fn shards(voters: &[u64], damaged: &[u64]) -> BTreeMap<u16, ShardView> {
        let peer = PeerView {
            matched: 1,
            active: true,
            ..PeerView::default()
        };
        let state = ShardView {
            leader: 2,
            peers: [(1, peer)].into(),
            voters: voters.iter().copied().collect(),
            damaged: damaged.iter().copied().collect(),
            ..ShardView::default()
        };
        [(7, state)].into()
    }

    /// Node 1 has it damaged, and is let go of when it may be; how many seconds that takes, at most two hours.
    fn replace(replacements: &mut Replacements, now: &mut Duration) -> u64 {
        let begin = *now;
        replacements.look(&shards(&[1, 2, 3], &[1]), *now);
        while replacements.resting(FIRST, *now).contains(&(7, 1)) {
            *now += Duration::from_secs(1);
            replacements.look(&shards(&[1, 2, 3], &[1]), *now);
            if now.saturating_sub(begin) == 2 * FORGOTTEN_AFTER {
                return 7_200;
            }
        }
        replacements.look(&shards(&[2, 3], &[1]), *now);
        replacements.look(&shards(&[1, 2, 3], &[]), *now);
        now.saturating_sub(begin).as_secs()
    }

    #[test]
    fn what_has_to_be_replaced_again_waits_and_in_the_end_stays_for_an_hour() {
        let mut replacements = Replacements::default();
        let mut now = Duration::from_secs(1_000);
        let waits = [(); 3].map(|()| replace(&mut replacements, &mut now));
        assert_eq!(waits, [0, 300, 600]);
        assert!(replacements.given_up().is_empty(), "it gets its third copy");
        replacements.look(&shards(&[1, 2, 3], &[1]), now);
        assert_eq!(replacements.given_up(), [(7, 1)].into());
        assert_eq!(replace(&mut replacements, &mut now), 3_600);
        assert!(replacements.given_up().is_empty());
    }

    /// A start found it damaged, and it decides nothing: without it there are as many voters as before.
    #[test]
    fn what_is_closed_is_replaced_whenever_it_is_damaged() {
        let mut replacements = Replacements::default();
        let now = Duration::from_secs(1_000);
        for _ in 0..5 {
            let mut closed = shards(&[1, 2, 3], &[1]);
            for state in closed.values_mut() {
                state.peers.clear();
            }
            replacements.look(&closed, now);
            replacements.look(&shards(&[2, 3], &[1]), now);
        }
        assert!(replacements.resting(FIRST, now).is_empty());
    }

    /// A restart found the voter's last copy damaged, or it was damaged before it voted.
    #[test]
    fn what_decides_nothing_any_more_is_not_given_up() {
        let mut closed = shards(&[1, 2, 3], &[1]);
        let mut learning = shards(&[2, 3], &[1]);
        for state in closed.values_mut() {
            state.peers.clear();
        }
        for state in learning.values_mut() {
            state.learners.insert(1);
        }
        for first in [shards(&[1, 2, 3], &[]), closed] {
            let mut replacements = Replacements::default();
            let mut now = Duration::from_secs(1_000);
            let _waits = [(); 3].map(|()| replace(&mut replacements, &mut now));
            if !first[&7].damaged.is_empty() {
                replacements.look(&shards(&[1, 2, 3], &[1]), now);
            }
            replacements.look(&first, now);
            for _ in 0..2 {
                replacements.look(&learning, now);
                assert!(replacements.given_up().is_empty(), "{first:?}");
                replacements.look(&shards(&[2, 3], &[1]), now);
                assert!(replacements.given_up().is_empty(), "{first:?}");
            }
        }
    }

    #[test]
    fn what_became_well_without_being_replaced_does_not_count() {
        let mut replacements = Replacements::default();
        let now = Duration::from_secs(1_000);
        for _ in 0..5 {
            replacements.look(&shards(&[1, 2, 3], &[1]), now);
            replacements.look(&shards(&[1, 2, 3], &[]), now);
            replacements.look(&shards(&[2, 3], &[1]), now);
        }
        assert!(replacements.resting(FIRST, now).is_empty());
    }
}
