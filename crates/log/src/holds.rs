//! Which entries of the shards that are led here their followers still need.
//!
//! A copy of a shard ends at some index. If the entries behind it were recycled while it is on its way, the
//! follower would need another copy as soon as it has this one, and so on for ever. So they stay until the
//! follower has them, and so do those that a follower still has to fetch, within a bound that
//! [`crate::Store::due`] knows.

use std::{collections::BTreeMap, time::Duration};

/// For how long a follower that nothing is heard of, and to which no copy is on its way, holds entries back.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the followers of all shards need. Times are counted from any one moment.
#[derive(Debug, Default)]
pub struct Holds {
    /// By shard and follower.
    of: BTreeMap<(u16, u64), Hold>,
}

/// A follower, as the shard's leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    pub node: u64,
    /// Its log is durable and the leader's up to this index.
    pub matched: u64,
    /// It was heard lately, or is being sent a copy.
    pub present: bool,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    /// Entries behind this index are needed.
    after: u64,
    /// When the follower was present last.
    at: Duration,
}

impl Holds {
    /// A copy of a shard that ends at `index` is ready for the followers that need one.
    pub fn offered(&mut self, shard: u16, index: u64, followers: &[Follower], now: Duration) {
        let behind = followers.iter().filter(|it| it.matched < index);
        for follower in behind.filter(|it| it.present) {
            let key = (shard, follower.node);
            let hold = Hold {
                after: index,
                at: now,
            };
            self.of.entry(key).or_insert(hold);
        }
    }

    /// A copy that ends at `index` begins its way to a follower.
    pub fn copying(&mut self, shard: u16, node: u64, index: u64, now: Duration) {
        let hold = Hold {
            after: index,
            at: now,
        };
        self.of.insert((shard, node), hold);
    }

    /// How all followers of a shard are now; none if it is not led here. `first`: the first index that the
    /// log has of the shard.
    pub fn follow(&mut self, shard: u16, followers: &[Follower], first: u64, now: Duration) {
        let is_listed = |node| followers.iter().any(|it| it.node == node);
        self.of
            .retain(|&(of, node), _| of != shard || is_listed(node));
        for follower in followers.iter().filter(|it| it.present) {
            let key = (shard, follower.node);
            if follower.matched + 1 >= first {
                let hold = Hold {
                    after: follower.matched,
                    at: now,
                };
                self.of.insert(key, hold);
            } else if let Some(hold) = self.of.get_mut(&key) {
                hold.at = now;
            }
        }
        // What the log has no more cannot be held back.
        self.of
            .retain(|&(of, _), hold| of != shard || hold.after + 1 >= first);
    }

    /// For each shard, the index behind which entries are needed.
    pub fn held(&mut self, now: Duration) -> BTreeMap<u16, u64> {
        self.of
            .retain(|_, hold| now.saturating_sub(hold.at) < PATIENCE);
        let mut held = BTreeMap::new();
        for (&(shard, _), hold) in &self.of {
            let after: &mut u64 = held.entry(shard).or_insert(hold.after);
            *after = hold.after.min(*after);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn follower(node: u64, matched: u64, present: bool) -> Follower {
        Follower {
            node,
            matched,
            present,
        }
    }

    #[test]
    fn entries_behind_a_copy_are_held_until_the_follower_has_them() {
        let mut holds = Holds::default();
        let empty = [follower(2, 0, true), follower(3, 90, true)];
        holds.follow(1, &empty, 50, seconds(0));
        assert_eq!(holds.held(seconds(0)), BTreeMap::from([(1, 90)]));
        holds.offered(1, 80, &empty, seconds(1));
        holds.copying(1, 2, 80, seconds(2));
        let later = [follower(2, 0, true), follower(3, 900, true)];
        holds.follow(1, &later, 70, seconds(1_000));
        assert_eq!(holds.held(seconds(1_000)), BTreeMap::from([(1, 80)]));
        let fed = [follower(2, 500, true), follower(3, 900, true)];
        holds.follow(1, &fed, 70, seconds(1_001));
        assert_eq!(holds.held(seconds(1_001)), BTreeMap::from([(1, 500)]));
    }

    #[test]
    fn the_copy_on_its_way_counts_and_not_a_newer_offer_for_another() {
        let mut holds = Holds::default();
        holds.copying(1, 2, 80, seconds(0));
        let both = [follower(2, 0, true), follower(3, 0, true)];
        holds.offered(1, 100, &both, seconds(1));
        assert_eq!(holds.held(seconds(1)), BTreeMap::from([(1, 80)]));
        holds.copying(1, 2, 100, seconds(2));
        assert_eq!(holds.held(seconds(2)), BTreeMap::from([(1, 100)]));
    }

    #[test]
    fn who_is_silent_or_gone_or_too_far_behind_holds_nothing() {
        let mut holds = Holds::default();
        holds.copying(1, 2, 80, seconds(0));
        holds.follow(1, &[follower(2, 0, false)], 70, seconds(29));
        assert_eq!(holds.held(seconds(29)), BTreeMap::from([(1, 80)]));
        assert_eq!(holds.held(seconds(30)), BTreeMap::new());
        holds.copying(1, 2, 80, seconds(31));
        holds.follow(1, &[follower(2, 0, true)], 82, seconds(31));
        assert_eq!(holds.held(seconds(31)), BTreeMap::new());
        holds.copying(1, 2, 80, seconds(32));
        holds.follow(1, &[], 70, seconds(32));
        assert_eq!(holds.held(seconds(32)), BTreeMap::new());
    }
}
