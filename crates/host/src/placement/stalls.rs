//! Copies on their way that make no progress, because a disk hangs or refuses them: they are waited for only while there is nothing
//! better, and hold up no others.
//!
//! A copy makes progress when more of it has come than ever before, or the learner's log is known to reach further. Every node
//! counts by what it hears, so whoever decides next knows it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardView;
use crate::reports::SILENCE;

/// How long a node is the last choice for a copy that made no progress there.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
pub(crate) struct Stalls {
    /// By shard and node.
    copies: BTreeMap<(u16, u64), Coming>,
    looked: Duration,
}

#[derive(Debug, Default)]
struct Coming {
    leader: u64,
    /// The most that its leader has heard of.
    matched: u64,
    bytes: u64,
    /// When it last made progress; `None` while it is not on its way.
    since: Option<Duration>,
    /// When it was last found to make none.
    stalled: Option<Duration>,
}

impl Stalls {
    /// Takes note of how far copies have come; one that does not come further for so long is stalled.
    pub(crate) fn look(
        &mut self,
        shards: &BTreeMap<u16, ShardView>,
        patience: Duration,
        now: Duration,
    ) {
        // Who did not look does not know what came meanwhile, and without a leader nothing comes.
        let has_slept = now.saturating_sub(self.looked) >= SILENCE;
        self.looked = now;
        for (&(shard, node), copy) in &mut self.copies {
            let state = shards.get(&shard);
            if has_slept || state.is_none_or(|state| !state.learners.contains(&node)) {
                copy.since = None;
            }
        }
        for (&shard, state) in shards.iter().filter(|(shard, _)| **shard != 0) {
            for &node in &state.learners {
                let copy = self.copies.entry((shard, node)).or_default();
                copy.look(state, node, patience, now);
            }
        }
        self.copies.retain(|_, copy| {
            let is_recent = |at| now.saturating_sub(at) < REMEMBERED_FOR;
            copy.since.is_some() || copy.stalled.is_some_and(is_recent)
        });
    }

    pub(crate) fn all(&self) -> BTreeSet<(u16, u64)> {
        let stalled = self
            .copies
            .iter()
            .filter(|(_, copy)| copy.stalled.is_some());
        stalled.map(|(&which, _)| which).collect()
    }
}

impl Coming {
    fn look(&mut self, state: &ShardView, node: u64, patience: Duration, now: Duration) {
        let peer = state.peers.get(&node).copied().unwrap_or_default();
        let begins = self.since.is_none() || self.leader != state.leader;
        let advances = peer.matched > self.matched || peer.bytes > self.bytes;
        if begins {
            self.leader = state.leader;
            (self.matched, self.bytes) = (peer.matched, peer.bytes);
            self.since = Some(now);
        } else if advances || state.has_caught_up(node) {
            self.matched = self.matched.max(peer.matched);
            self.bytes = self.bytes.max(peer.bytes);
            self.since = Some(now);
            self.stalled = None;
        }
        let since = self.since.unwrap_or(now);
        if now.saturating_sub(since) >= patience {
            self.stalled = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::PeerView, *};

    const PATIENCE: Duration = Duration::from_secs(300);

    /// Nodes 1 and 2 vote in shard 7, and node 4 is to learn so much of it.
    fn shards(leader: u64, matched: u64, bytes: u64) -> BTreeMap<u16, ShardView> {
        let peer = PeerView {
            matched,
            bytes,
            active: true,
            ..PeerView::default()
        };
        let state = ShardView {
            leader,
            last: 50_000,
            voters: [1, 2].into(),
            learners: [4].into(),
            peers: [(4, peer)].into(),
            ..ShardView::default()
        };
        [(7, state)].into()
    }

    fn without_learner() -> BTreeMap<u16, ShardView> {
        let mut shards = shards(1, 0, 0);
        for state in shards.values_mut() {
            state.learners.clear();
        }
        shards
    }

    struct Watch {
        stalls: Stalls,
        now: Duration,
    }

    impl Watch {
        fn new() -> Self {
            Self {
                stalls: Stalls::default(),
                now: Duration::from_secs(1_000),
            }
        }

        /// Whether the copy is stalled after this time.
        fn pass(&mut self, length: Duration, shards: &BTreeMap<u16, ShardView>) -> bool {
            let until = self.now + length;
            while self.now < until {
                self.now += Duration::from_secs(1);
                self.stalls.look(shards, PATIENCE, self.now);
            }
            !self.stalls.all().is_empty()
        }
    }

    #[test]
    fn a_copy_of_which_nothing_comes_is_stalled_until_something_does() {
        let mut watch = Watch::new();
        assert!(!watch.pass(PATIENCE, &shards(1, 0, 0)));
        assert!(watch.pass(PATIENCE, &shards(1, 0, 0)));
        assert!(!watch.pass(PATIENCE, &shards(1, 0, 10)));
        assert!(!watch.pass(PATIENCE, &shards(1, 20, 10)));
        // What comes again had come before.
        assert!(!watch.pass(PATIENCE / 2, &shards(1, 20, 11)));
        assert!(watch.pass(PATIENCE, &shards(1, 0, 9)));
    }

    #[test]
    fn a_learner_that_lacks_nothing_is_not_stalled() {
        let mut watch = Watch::new();
        assert!(!watch.pass(PATIENCE * 3, &shards(1, 50_000, 10)));
    }

    /// It begins anew from another disk.
    #[test]
    fn a_copy_has_its_time_again_from_another_leader() {
        let mut watch = Watch::new();
        assert!(!watch.pass(PATIENCE, &shards(1, 0, 10)));
        assert!(!watch.pass(PATIENCE, &shards(2, 0, 5)));
        assert!(watch.pass(PATIENCE, &shards(2, 0, 5)));
    }

    #[test]
    fn while_nobody_leads_or_nobody_looks_no_copy_is_stalled() {
        let mut watch = Watch::new();
        for _ in 0..3 {
            assert!(!watch.pass(PATIENCE.saturating_sub(SILENCE), &shards(1, 0, 10)));
            assert!(!watch.pass(SILENCE * 2, &BTreeMap::new()));
            assert!(!watch.pass(PATIENCE.saturating_sub(SILENCE), &shards(1, 0, 10)));
            watch.now += PATIENCE;
        }
    }

    #[test]
    fn where_a_copy_was_stalled_is_remembered_for_an_hour() {
        let mut watch = Watch::new();
        assert!(watch.pass(PATIENCE * 2, &shards(1, 0, 0)));
        assert!(watch.pass(REMEMBERED_FOR.saturating_sub(PATIENCE), &without_learner()));
        assert!(!watch.pass(PATIENCE * 2, &without_learner()));
    }
}
