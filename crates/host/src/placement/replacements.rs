//! How often what a node had of a shard was replaced lately: what has to be replaced again and again waits, longer each time, and
//! in the end stays as it is, for the cause is not in the copy.
//!
//! Until its turn comes it leads nothing and votes. Every node counts by what it hears, so whoever decides next knows it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardView;

/// So often the same copy is replaced.
pub(super) const TIMES_MAX: u32 = 3;
/// That counts no more when the last time is so long ago, and the copy was well at some moment since.
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
    /// At the last look a member had it damaged.
    is_damaged: bool,
}

impl Replacements {
    pub(crate) fn look(&mut self, shards: &BTreeMap<u16, ShardView>, now: Duration) {
        for (&shard, state) in shards {
            let members = &state.voters | &state.learners;
            for node in &members & &state.damaged {
                self.copies.entry((shard, node)).or_default().is_damaged = true;
            }
        }
        for (&(shard, node), copy) in &mut self.copies {
            let Some(state) = shards.get(&shard).filter(|_| copy.is_damaged) else {
                continue;
            };
            let is_member = state.voters.contains(&node) || state.learners.contains(&node);
            copy.is_damaged = is_member && state.damaged.contains(&node);
            if !is_member {
                (copy.times, copy.last) = (copy.times + 1, now);
            }
        }
        self.copies.retain(|_, copy| {
            let is_recent = copy.times > 0 && now.saturating_sub(copy.last) < FORGOTTEN_AFTER;
            copy.is_damaged || is_recent
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

    /// Those that are not replaced any more.
    pub(crate) fn given_up(&self) -> BTreeSet<(u16, u64)> {
        self.those(|copy| copy.times >= TIMES_MAX)
    }

    fn those(&self, is_meant: impl Fn(&Replaced) -> bool) -> BTreeSet<(u16, u64)> {
        let those = self.copies.iter().filter(|(_, copy)| is_meant(copy));
        those.map(|(&which, _)| which).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(300);

    fn shards(voters: &[u64], damaged: &[u64]) -> BTreeMap<u16, ShardView> {
        let state = ShardView {
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
            if *now == begin + 2 * FORGOTTEN_AFTER {
                return 7_200;
            }
        }
        replacements.look(&shards(&[2, 3], &[1]), *now);
        replacements.look(&shards(&[1, 2, 3], &[]), *now);
        now.saturating_sub(begin).as_secs()
    }

    #[test]
    fn what_has_to_be_replaced_again_waits_and_in_the_end_stays_until_it_was_well() {
        let mut replacements = Replacements::default();
        let mut now = Duration::from_secs(1_000);
        let waits = [(); 4].map(|()| replace(&mut replacements, &mut now));
        assert_eq!(waits, [0, 300, 600, 7_200]);
        assert_eq!(replacements.given_up(), [(7, 1)].into());
        replacements.look(&shards(&[1, 2, 3], &[]), now);
        assert!(replacements.given_up().is_empty());
        assert_eq!(replace(&mut replacements, &mut now), 0);
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
