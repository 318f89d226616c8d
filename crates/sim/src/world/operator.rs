//! Whoever looks after the cluster: says which nodes should have a shard's replicas and takes the steps
//! there, one at a time, as `anser-node`'s placement does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anser_replica::{Membership, MembershipChange, MembershipStep, ReplicaStatus};

use super::World;
use crate::{
    coverage::sometimes,
    event::{Event, Happening, MILLISECOND, Order},
    plan::Plan,
};

/// Entries that a learner may lack and still count as caught up.
const CAUGHT_UP: u64 = 20;
const NODES_MAX: usize = 6;
const ORDERS_REMEMBERED: usize = 4;

pub(super) struct Operator {
    targets: BTreeMap<u16, BTreeSet<u64>>,
    /// The voters that the last few orders lead to: some may still be on their way.
    ordered: BTreeMap<u16, VecDeque<Vec<u64>>>,
}

impl Operator {
    pub(super) fn new(plan: &Plan) -> Self {
        let target: BTreeSet<u64> = (1..=plan.replicas as u64).collect();
        Self {
            targets: (0..plan.shards)
                .map(|shard| (shard, target.clone()))
                .collect(),
            ordered: BTreeMap::new(),
        }
    }

    /// The sets of voters that may come.
    pub(super) fn coming(&self, shard: u16) -> Vec<Vec<u64>> {
        let target = self.target(shard).iter().copied().collect();
        let ordered = self.ordered.get(&shard).into_iter().flatten().cloned();
        ordered.chain([target]).collect()
    }

    fn note(&mut self, shard: u16, voters: Vec<u64>) {
        let ordered = self.ordered.entry(shard).or_default();
        ordered.push_back(voters);
        if ordered.len() > ORDERS_REMEMBERED {
            ordered.pop_front();
        }
    }

    /// The nodes that should be a shard's voters.
    pub(super) fn target(&self, shard: u16) -> &BTreeSet<u64> {
        &self.targets[&shard]
    }
}

impl World {
    /// Takes a look and the next steps.
    pub(super) fn operate(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let next = self.common.now + self.common.random.between(100, 500) * MILLISECOND;
        self.common.agenda.add(next, Event::Operator);
        for shard in 0..self.common.plan.shards {
            self.replace_lost(shard);
            let Some(leader) = self.leader(shard) else {
                continue;
            };
            let process = self.nodes[&leader].process.as_ref().expect("it leads");
            let status = process.replica(shard).expect("it leads").status();
            self.common.checks.settled(leader, shard, &status.settled);
            if let Some(steps) = self.steps(shard, leader, &status)
                && let Some(voters) = self.safe_voters(&status.settled, &steps)
            {
                self.operator.note(shard, voters);
                self.common.statistics.membership_changes += 1;
                self.order(leader, shard, Order::Change(MembershipChange { steps }));
            }
            self.clear_away(shard, &status);
        }
    }

    /// Sends an order to a node.
    pub(super) fn order(&mut self, node: u64, shard: u16, order: Order) {
        let Some(&life) = self.common.lives.get(&node) else {
            return;
        };
        let length = self.common.random.spread(1_000);
        self.common
            .later(node, life, length, Happening::Order { shard, order });
    }

    /// Another node takes the place of one that is destroyed or damaged for good.
    fn replace_lost(&mut self, shard: u16) {
        let lost = |number: &&u64| {
            let node = self.nodes.get(number);
            node.is_some_and(|node| node.is_gone || node.is_damaged())
        };
        let Some(&lost) = self.operator.target(shard).iter().find(lost) else {
            return;
        };
        let spare = self.spare(shard);
        let replacement = match self.common.random.pick(&spare) {
            Some(spare) => spare,
            None if self.usable().len() < NODES_MAX => self.add_node(),
            None => return,
        };
        sometimes("a lost node was replaced");
        let target = self
            .operator
            .targets
            .get_mut(&shard)
            .expect("every shard has one");
        target.remove(&lost);
        target.insert(replacement);
    }

    fn usable(&self) -> Vec<u64> {
        let usable = self.nodes.iter().filter(|(number, node)| {
            !(node.is_gone || node.is_damaged() || self.destroyed.contains(number))
        });
        usable.map(|(&number, _)| number).collect()
    }

    /// Nodes that could have one more replica of a shard.
    fn spare(&self, shard: u16) -> Vec<u64> {
        let target = self.operator.target(shard);
        let mut usable = self.usable();
        usable.retain(|node| !target.contains(node));
        usable
    }

    /// Wants other voters for a shard.
    pub(super) fn aim_anew(&mut self) {
        let shard = self.some_shard();
        let target = self.operator.target(shard).clone();
        let spare = self.spare(shard);
        let spare = match self.common.random.pick(&spare) {
            None if self.usable().len() < NODES_MAX && self.common.random.permille(300) => {
                Some(self.add_node())
            }
            spare => spare,
        };
        let members: Vec<u64> = target.iter().copied().collect();
        let leaves = self
            .common
            .random
            .pick(&members)
            .expect("there is always a voter");
        let kind = self.common.random.below(4);
        let mut aim = target;
        match (kind, spare) {
            (0, Some(spare)) if aim.len() < 5 => drop(aim.insert(spare)),
            (1, _) if aim.len() > 1 => drop(aim.remove(&leaves)),
            (_, Some(spare)) => {
                aim.remove(&leaves);
                aim.insert(spare);
            }
            _ => return,
        }
        self.operator.targets.insert(shard, aim);
    }

    fn steps(
        &self,
        shard: u16,
        leader: u64,
        status: &ReplicaStatus,
    ) -> Option<Vec<MembershipStep>> {
        let membership = &status.settled;
        if membership.is_joint() {
            return None;
        }
        let target = self.operator.target(shard);
        let voters: BTreeSet<u64> = membership.voters.iter().copied().collect();
        let is_ready = |node: &u64| {
            let peer = status.peers.iter().find(|peer| peer.node == *node);
            peer.is_some_and(|peer| {
                peer.active && peer.matched > 0 && peer.matched + CAUGHT_UP >= status.last
            })
        };
        let is_up = |node: &u64| self.nodes.get(node).is_some_and(super::Node::is_up);
        let learners = &membership.learners;
        // Every node has a copy of the catalog.
        let follows = |node: &u64| target.contains(node) || shard == 0 && is_up(node);
        if let Some(&node) = learners.iter().find(|node| !follows(node)) {
            return Some(vec![MembershipStep::Remove(node)]);
        }
        if let Some(&node) = self.nodes.keys().find(|node| {
            follows(node) && !voters.contains(node) && !learners.contains(node) && is_up(node)
        }) {
            return Some(vec![MembershipStep::AddLearner(node)]);
        }
        let leaving = voters.iter().copied().filter(|node| !target.contains(node));
        // The leader last.
        let leaving = leaving.max_by_key(|&node| node != leader);
        let promoted = learners
            .iter()
            .copied()
            .find(|node| target.contains(node) && is_ready(node));
        match (promoted, leaving) {
            (Some(promoted), Some(leaving)) => Some(vec![
                MembershipStep::AddVoter(promoted),
                MembershipStep::Remove(leaving),
            ]),
            (Some(promoted), None) => Some(vec![MembershipStep::AddVoter(promoted)]),
            (None, Some(leaving)) if voters.len() > target.len() => {
                Some(vec![MembershipStep::Remove(leaving)])
            }
            _ => None,
        }
    }

    /// The voters that a change leads to, if they can do without those that are lost.
    fn safe_voters(&self, membership: &Membership, steps: &[MembershipStep]) -> Option<Vec<u64>> {
        let mut voters: BTreeSet<u64> = membership.voters.iter().copied().collect();
        for step in steps {
            match step {
                MembershipStep::AddVoter(node) => drop(voters.insert(*node)),
                MembershipStep::AddLearner(node) | MembershipStep::Remove(node) => {
                    voters.remove(node);
                }
            }
        }
        let lost = voters
            .iter()
            .filter(|node| self.destroyed.contains(node))
            .count();
        (lost * 2 < voters.len()).then(|| voters.into_iter().collect())
    }

    /// Replicas that their shard's members have let go of are taken off their disks.
    fn clear_away(&mut self, shard: u16, leader: &ReplicaStatus) {
        if leader.settled.is_joint() {
            return;
        }
        let left = self.nodes.iter().filter(|(number, node)| {
            let process = node.process.as_ref();
            let hosts = process.is_some_and(|process| process.replica(shard).is_some());
            hosts && !leader.membership.contains(**number)
        });
        let left: Vec<u64> = left.map(|(&number, _)| number).collect();
        for node in left {
            let decided = leader.applied;
            self.order(node, shard, Order::Forget { decided });
        }
    }
}
