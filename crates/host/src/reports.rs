//! What was heard last of each node, when, and what follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anser_broker::id::ShardId;

use crate::{
    placement::{PeerView, ShardView},
    report::NodeReport,
};

/// How often a node says how it is.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// What others should not have to wait for is told this much later: such news come together.
pub const REPORT_GATHERING: Duration = Duration::from_millis(5);
/// A node that was not heard for so long does not count as up.
pub const SILENCE: Duration = Duration::from_secs(3);

/// The newest report of each node. Times are of a clock that never jumps.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    heard: BTreeMap<u64, Heard>,
}

#[derive(Debug, Clone)]
pub struct Heard {
    pub report: NodeReport,
    pub at: Duration,
}

impl Heard {
    pub fn is_recent(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < SILENCE
    }
}

impl Reports {
    pub fn put(&mut self, report: NodeReport, at: Duration) {
        self.heard.insert(report.node, Heard { report, at });
    }

    pub fn forget(&mut self, node: u64) {
        self.heard.remove(&node);
    }

    pub fn of(&self, node: u64) -> Option<&Heard> {
        self.heard.get(&node)
    }

    pub fn all(&self) -> impl Iterator<Item = (u64, &Heard)> {
        self.heard.iter().map(|(&node, heard)| (node, heard))
    }

    /// What was heard lately.
    pub fn recent(&self, now: Duration) -> impl Iterator<Item = (u64, &NodeReport)> {
        let recent = self.all().filter(move |(_, heard)| heard.is_recent(now));
        recent.map(|(node, heard)| (node, &heard.report))
    }

    /// Whether the disk of a node that votes in the shard is nearly full. One that only learns it has room, or is let go of.
    pub fn is_full(&self, shard: ShardId, now: Duration) -> bool {
        let full = self.recent(now).filter(|(_, report)| report.full);
        let full: BTreeSet<u64> = full.map(|(node, _)| node).collect();
        if full.is_empty() {
            return false;
        }
        let replicas = self.recent(now).flat_map(|(_, report)| &report.replicas);
        let of_shard = replicas.filter(|replica| replica.shard == shard.0);
        let led = of_shard.filter_map(|replica| Some((replica.term, replica.led.as_ref()?)));
        let newest = led.max_by_key(|(term, _)| *term);
        newest.is_some_and(|(_, led)| led.voters.iter().any(|voter| full.contains(voter)))
    }

    /// The shards as their leaders see them; of two that say they lead, the one of the newer term counts.
    pub fn shards(&self, now: Duration) -> BTreeMap<u16, ShardView> {
        let mut shards: BTreeMap<u16, ShardView> = BTreeMap::new();
        let damaged = |shard| {
            let recent = self.recent(now);
            let damaged = recent.filter(|(_, report)| report.has_damaged(shard));
            damaged.map(|(node, _)| node).collect()
        };
        let sizes = self.sizes(now);
        let bytes = |node, shard| sizes.get(&(node, shard)).copied().unwrap_or(0);
        for (leader, report) in self.recent(now) {
            for replica in &report.replicas {
                let Some(led) = &replica.led else { continue };
                let known = shards.get(&replica.shard);
                if known.is_some_and(|known| known.term > replica.term) {
                    continue;
                }
                let peers = led.peers.iter().map(|peer| {
                    let view = PeerView {
                        matched: peer.matched,
                        active: peer.active,
                        is_blank: peer.is_blank,
                        bytes: bytes(peer.node, replica.shard),
                    };
                    (peer.node, view)
                });
                let voters = led.voters.iter();
                let largest = voters.map(|&voter| bytes(voter, replica.shard)).max();
                let shard = ShardView {
                    leader,
                    term: replica.term,
                    last: led.last,
                    applied: replica.applied,
                    voters: led.voters.iter().copied().collect(),
                    learners: led.learners.iter().copied().collect(),
                    settled_at: led.settled_at,
                    joint: led.joint,
                    damaged: damaged(replica.shard),
                    bytes: largest.unwrap_or(0),
                    peers: peers.collect(),
                };
                shards.insert(replica.shard, shard);
            }
        }
        shards
    }

    /// What each node has of each shard on its disk.
    fn sizes(&self, now: Duration) -> BTreeMap<(u64, u16), u64> {
        let recent = self.recent(now);
        let all = recent.flat_map(|(node, report)| {
            let replicas = report.replicas.iter();
            replicas.map(move |replica| ((node, replica.shard), replica.bytes))
        });
        all.collect()
    }

    /// Whether a node leads a shard of which another voter is up and stays.
    pub fn can_hand_over(&self, node: u64, now: Duration) -> bool {
        let others = self.recent(now).filter(|(other, _)| *other != node);
        let stay: BTreeSet<u64> = others
            .filter(|(_, report)| !report.leaves)
            .map(|(other, _)| other)
            .collect();
        let mut led = self.shards(now).into_values();
        led.any(|shard| shard.leader == node && !shard.voters.is_disjoint(&stay))
    }

    /// Whether every shard of so many could decide to let go of a node without asking it, nor those that were `removed`
    /// before: with each shard that has not let go of one of these another must wait, for what is reported of its voters may
    /// be from before that.
    pub fn can_spare(
        &self,
        node: u64,
        removed: &BTreeSet<u64>,
        shards: u16,
        now: Duration,
    ) -> bool {
        let known = self.shards(now);
        let are_known = known.len() == usize::from(shards);
        removed.contains(&node) || are_known && known.values().all(|it| it.can_spare(node, removed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Led, PeerReport, ReplicaReport};

    const NOW: Duration = Duration::from_secs(100);

    fn replica(shard: u16) -> ReplicaReport {
        ReplicaReport {
            shard,
            ..ReplicaReport::default()
        }
    }

    #[test]
    fn a_full_disk_concerns_only_the_shards_that_its_node_votes_in() {
        let mut reports = Reports::default();
        // Shard 0: that in which the full node votes; shard 3: one that it is to learn.
        let mut leader = leads(1, 5, &[(2, true)]);
        let led = Led {
            voters: vec![1],
            learners: vec![2],
            ..Led::default()
        };
        leader.replicas.push(ReplicaReport {
            led: Some(led),
            ..replica(3)
        });
        reports.put(leader, NOW);
        let full = NodeReport {
            node: 2,
            full: true,
            replicas: vec![replica(0), replica(3)],
            ..NodeReport::default()
        };
        reports.put(full, NOW);
        let full = [0, 1, 3].map(|shard| reports.is_full(ShardId(shard), NOW));
        assert_eq!(full, [true, false, false]);
        assert!(
            !reports.is_full(ShardId(0), NOW + SILENCE),
            "that was long ago"
        );
        reports.forget(2);
        assert!(!reports.is_full(ShardId(0), NOW));
    }

    fn leads(node: u64, term: u64, others: &[(u64, bool)]) -> NodeReport {
        let peer = |&(node, active): &(u64, bool)| PeerReport {
            node,
            active,
            ..PeerReport::default()
        };
        let voters = [node].into_iter().chain(others.iter().map(|other| other.0));
        let led = Led {
            voters: voters.collect(),
            peers: others.iter().map(peer).collect(),
            ..Led::default()
        };
        let led = Some(led);
        let replica = ReplicaReport {
            term,
            led,
            ..replica(0)
        };
        NodeReport {
            node,
            replicas: vec![replica],
            ..NodeReport::default()
        }
    }

    #[test]
    fn the_leader_of_the_newest_term_knows_who_the_members_are() {
        let mut reports = Reports::default();
        reports.put(leads(1, 5, &[(2, true)]), NOW);
        reports.put(leads(2, 4, &[(1, true), (3, true)]), NOW);
        assert_eq!(reports.shards(NOW)[&0].leader, 1);
        assert!(reports.shards(NOW + SILENCE).is_empty());
    }

    #[test]
    fn a_node_has_somebody_to_hand_its_shards_to_unless_all_go() {
        let mut reports = Reports::default();
        reports.put(leads(1, 5, &[(2, true)]), NOW);
        assert!(!reports.can_hand_over(1, NOW), "node 2 was not heard of");
        let leaves = |leaves| NodeReport {
            node: 2,
            leaves,
            ..NodeReport::default()
        };
        reports.put(leaves(false), NOW);
        assert!(reports.can_hand_over(1, NOW));
        assert!(!reports.can_hand_over(2, NOW), "it leads nothing");
        reports.put(leaves(true), NOW);
        assert!(!reports.can_hand_over(1, NOW));
        reports.put(leads(1, 6, &[]), NOW);
        reports.put(leaves(false), NOW);
        assert!(!reports.can_hand_over(1, NOW), "it is the only voter");
    }

    #[test]
    fn a_node_is_spared_if_the_others_can_decide_without_it() {
        let mut reports = Reports::default();
        reports.put(leads(1, 5, &[(2, true), (3, true)]), NOW);
        let spares = |reports: &Reports, node, shards| {
            reports.can_spare(node, &BTreeSet::new(), shards, NOW)
        };
        assert!(spares(&reports, 3, 1) && spares(&reports, 1, 1));
        assert!(!spares(&reports, 3, 2), "a shard is not heard of");
        reports.put(leads(1, 5, &[(2, false), (3, true)]), NOW);
        assert!(!spares(&reports, 3, 1));
        assert!(spares(&reports, 2, 1), "it is asked for nothing");
        assert!(spares(&reports, 4, 1), "it has no copy");
    }

    #[test]
    fn a_node_is_not_spared_while_a_shard_of_it_reckons_with_one_that_was_removed() {
        let mut reports = Reports::default();
        reports.put(leads(1, 5, &[(4, true), (5, true)]), NOW);
        let removed = BTreeSet::from([4]);
        assert!(!reports.can_spare(5, &removed, 1, NOW));
        assert!(reports.can_spare(4, &removed, 1, NOW), "it is removed");
        assert!(reports.can_spare(2, &removed, 1, NOW), "it has no copy");
        reports.put(leads(1, 5, &[(3, true), (5, true)]), NOW);
        assert!(reports.can_spare(5, &removed, 1, NOW));
    }

    #[test]
    fn a_node_is_not_spared_while_the_voters_of_a_shard_of_it_change() {
        let mut report = leads(1, 5, &[(2, true), (3, true)]);
        let led = report.replicas[0].led.as_mut().expect("it leads");
        // Node 4 votes until the change is through: it is a member, and not listed with the new voters.
        led.joint = true;
        led.peers.push(PeerReport {
            node: 4,
            ..PeerReport::default()
        });
        let mut reports = Reports::default();
        reports.put(report, NOW);
        for (node, spared) in [(2, false), (4, false), (5, true)] {
            let spares = reports.can_spare(node, &BTreeSet::new(), 1, NOW);
            assert_eq!(spares, spared, "node {node}");
        }
    }
}
