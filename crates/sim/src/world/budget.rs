//! How much may go wrong: no set of voters, neither one that is there nor one that may come, ever loses half of its
//! copies. The product knows nothing of it, so what destroys looks at what placement is about to do, and a person who
//! asks for fewer copies looks at what is destroyed.

use std::collections::BTreeSet;

use super::{Node, World};
use crate::event::{Micros, SECOND};

/// How long a node that is lost may still be taken for a good one by those who decide.
pub(super) const UNNOTICED: Micros = 10 * SECOND;

impl World {
    /// Whether every set of voters can do without this node, besides those it must do without already.
    pub(super) fn may_destroy(&self, number: u64) -> bool {
        self.is_enough(Some(number), self.smallest_aim())
    }

    /// Whether the sets of voters that are there, and any of this size, can do without what is lost and one more.
    pub(super) fn is_enough(&self, more: Option<u64>, smallest: usize) -> bool {
        (0..self.common.plan.shards).all(|shard| {
            let sets = self.sets_of_voters(shard);
            let least = sets.iter().map(Vec::len).chain([smallest]).min();
            let voters: BTreeSet<u64> = sets.into_iter().flatten().collect();
            let lost = self.destroyed.iter().filter(|&&node| {
                Some(node) != more && (voters.contains(&node) || self.may_become_voter(node))
            });
            let lost = lost.count() + usize::from(more.is_some());
            lost == 0 || lost * 2 < least.expect("there is at least one")
        })
    }

    /// Whether somebody may not have noticed yet that a node is lost.
    fn may_become_voter(&self, number: u64) -> bool {
        self.nodes.get(&number).is_some_and(|node| {
            if node.is_gone {
                self.common.now < node.unnoticed_until
            } else {
                node.is_damaged() || node.lost_a_sector || self.common.checks.is_old_copy(number)
            }
        })
    }

    /// When everybody has noticed what is lost now: who is paused hears of it only then.
    pub(super) fn unnoticed_until(&self) -> Micros {
        let paused = self.nodes.values().map(|node| node.paused_until).max();
        self.common.now.max(paused.unwrap_or(0)) + UNNOTICED
    }

    /// A node sleeps until then: what was lost just before it will notice later.
    pub(super) fn sleeps(&mut self, until: Micros) {
        let now = self.common.now;
        let unnoticed = |node: &&mut Node| node.is_gone && node.unnoticed_until > now;
        for node in self.nodes.values_mut().filter(unnoticed) {
            node.unnoticed_until = node.unnoticed_until.max(until + UNNOTICED);
        }
    }

    /// The present sets of voters of a shard, and those that may come.
    pub(super) fn sets_of_voters(&self, shard: u16) -> Vec<Vec<u64>> {
        let is_old_copy = |number: u64| self.common.checks.is_old_copy(number);
        let is_lost = |number: u64| {
            let node = self.nodes.get(&number);
            is_old_copy(number) || node.is_none_or(|node| node.is_gone)
        };
        let mut sets = Vec::new();
        for membership in self.common.checks.memberships_in_force(shard, is_lost) {
            sets.push(membership.voters);
            sets.push(membership.voters_outgoing);
        }
        let paused_until =
            |number: u64| self.nodes.get(&number).map_or(0, |node| node.paused_until);
        let committed = |index: u64| self.common.checks.is_committed(shard, index);
        let now = self.common.now;
        sets.extend(self.common.aims.of(shard, now, paused_until, committed));
        sets.retain(|set| !set.is_empty());
        sets
    }

    /// The smallest number of voters that placement may aim at from now on.
    fn smallest_aim(&self) -> usize {
        let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        let placeable = processes
            .clone()
            .filter_map(crate::process::Process::placeable);
        let placeable = placeable.chain([self.human.placeable()]).min();
        let running = processes.map(|process| process.policy().replicas);
        let to_come = self.nodes.values().filter(|node| !node.is_gone);
        let replicas = running.chain(to_come.map(|node| node.replicas)).min();
        aim_of(replicas.unwrap_or(1), placeable.unwrap_or(1))
    }

    /// Whether a node may distrust its log. Suspects agree among themselves if all voters come back; if
    /// one of them will not, the operator has to know what was lost.
    pub(super) fn may_be_suspect(&self, number: u64) -> bool {
        let is_lost = |number: &u64| {
            // What was asked for may come at any time.
            let is_to_go = self.human.wants_gone(*number);
            let is_old_copy = self.common.checks.is_old_copy(*number);
            let node = self.nodes.get(number);
            is_to_go
                || is_old_copy
                || node.is_none_or(|node| {
                    // What lost a sector may not open again.
                    node.is_gone || node.is_damaged() || node.lost_a_sector
                })
        };
        // In the middle of a change the voters of both sets have to agree.
        let mut shards = 0..self.common.plan.shards;
        let all_return = shards.all(|shard| {
            let voters: BTreeSet<u64> = self.sets_of_voters(shard).concat().into_iter().collect();
            !voters.contains(&number) || !voters.iter().any(is_lost)
        });
        // Nobody may trust what certainly lacks something. Of another that was suspect before, and still is in some
        // shard, others may need the vote by now: it became a voter meanwhile.
        let node = &self.nodes[&number];
        let is_lossy = node.is_damaged() || node.lost_a_sector;
        all_return || is_lossy || self.common.checks.is_old_copy(number) || self.may_destroy(number)
    }
}

/// How many copies placement aims at where so many are wanted, and so many nodes may have one.
pub(super) fn aim_of(replicas: usize, placeable: usize) -> usize {
    replicas.min(placeable).max(1)
}
