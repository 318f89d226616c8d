//! Beyond the budget: some shards lose a majority of their copies for good. Of them it is only asked to stop, and not
//! to lie; the others must not suffer.

use std::collections::BTreeSet;

use super::{World, budget::UNNOTICED};
use crate::coverage::sometimes;

impl World {
    /// Loses nodes so that some shards have no quorum any more, and the others all have one. False if there are no such
    /// nodes.
    pub(super) fn lose_a_quorum(&mut self) -> bool {
        if !self.ruined.is_empty() || self.common.now < self.common.plan.chaos / 3 {
            return false;
        }
        let nodes: Vec<u64> = self.up();
        let subsets = 1_u32..1 << nodes.len();
        let victims = subsets.map(|subset| {
            let chosen = nodes.iter().enumerate();
            let chosen = chosen.filter(|(place, _)| subset & 1 << place != 0);
            chosen.map(|(_, &node)| node).collect::<BTreeSet<u64>>()
        });
        let found: Vec<(BTreeSet<u64>, BTreeSet<u16>)> = victims
            .filter(|victims| victims.len() < nodes.len())
            .filter_map(|victims| {
                let ruined = self.ruined_by(&victims)?;
                (!ruined.is_empty()).then_some((victims, ruined))
            })
            .collect();
        let shards = usize::from(self.common.plan.shards);
        let mixed: Vec<usize> = (0..found.len())
            .filter(|&at| found[at].1.len() < shards)
            .collect();
        let any: Vec<usize> = (0..found.len()).collect();
        if mixed.is_empty() && self.common.random.permille(900) {
            // Later, when the shards are on different nodes.
            self.change_cluster();
            return false;
        }
        let choice = if mixed.is_empty() { any } else { mixed };
        let Some(at) = self.common.random.pick(&choice) else {
            return false;
        };
        let (victims, ruined) = found[at].clone();
        let now = self.common.now;
        self.common.trace.say(now, || {
            format!("shards {ruined:?} lose their quorums with nodes {victims:?}")
        });
        if ruined.len() < shards {
            sometimes("a shard lost its quorum beside one that kept it");
        }
        self.clients.give_up_shards(&ruined);
        self.ruined = ruined;
        self.ruined_at = now;
        for node in victims {
            self.lose(node);
        }
        true
    }

    /// The shards that have no quorum for good without these nodes, if all others have one.
    fn ruined_by(&self, victims: &BTreeSet<u64>) -> Option<BTreeSet<u16>> {
        let mut ruined = BTreeSet::new();
        for shard in 0..self.common.plan.shards {
            // A change may have happened that nobody has applied yet.
            let sets = self.sets_of_voters(shard);
            let gone = |node: &u64| {
                victims.contains(node) || self.nodes.get(node).is_none_or(|node| node.is_gone)
            };
            let lost = |node: &u64| gone(node) || self.destroyed.contains(node);
            let has_no_quorum =
                |set: &Vec<u64>| set.iter().filter(|node| gone(node)).count() * 2 >= set.len();
            let keeps_quorum =
                |set: &Vec<u64>| set.iter().filter(|node| lost(node)).count() * 2 < set.len();
            if sets.iter().all(has_no_quorum) {
                ruined.insert(shard);
            } else if !sets.iter().all(keeps_quorum) {
                return None;
            }
        }
        Some(ruined)
    }

    /// What was decided before anybody noticed who is gone may have led to voters of whom most are: of these shards
    /// nothing is asked.
    pub(super) fn watch_ruin(&mut self) {
        if self.ruined.is_empty() || self.common.now > self.ruined_at + UNNOTICED {
            return;
        }
        let gone = |node: &u64| self.nodes.get(node).is_none_or(|node| node.is_gone);
        let has_no_quorum = |set: &Vec<u64>| {
            let gone = set.iter().filter(|&node| gone(node));
            gone.count() * 2 >= set.len()
        };
        let shards = 0..self.common.plan.shards;
        let unlucky = shards
            .filter(|shard| !self.ruined.contains(shard))
            .filter(|&shard| self.sets_of_voters(shard).iter().any(has_no_quorum));
        let unlucky: BTreeSet<u16> = unlucky.collect();
        if !unlucky.is_empty() {
            sometimes("a change led to voters who were just lost");
            self.clients.give_up_shards(&unlucky);
            self.unlucky.extend(unlucky);
        }
    }

    /// Whether nobody serves a shard that has no quorum.
    pub(super) fn check_ruined(&mut self) {
        let serving = self
            .ruined
            .iter()
            .find_map(|&shard| Some((shard, self.leader(shard)?)));
        if let Some((shard, node)) = serving {
            let text = format!("shard {shard} has no quorum, and node {node} serves it");
            self.common.checks.fail(text);
        } else if !self.ruined.is_empty() {
            sometimes("a shard without a quorum stood still");
        }
    }
}
