//! Restored backups: what a node's disk had been is put back under the same identity. The node has forgotten votes and
//! entries that others rely on, so the cluster must know it by its start and take it for nobody; whoever runs the
//! cluster replaces it. In the budget it counts as a lost disk.
//!
//! The product promises it as far as those know who judge: the last start of the node must stand in the catalog that
//! every other has on its disk. An old copy in which a shard has no other voter asks nobody before it serves, so it is
//! never put back.

use std::collections::BTreeMap;

use anser_broker::command::NodeStart;
use anser_log::disk::simulated::SimulatedDisk;

use super::World;
use crate::{
    coverage::sometimes,
    process::{Identity, Process, Stop},
};

#[derive(Default)]
pub(super) struct OldCopies {
    kept: BTreeMap<u64, Kept>,
    /// The start of each node that the catalog knows, and an entry of the catalog after which it does.
    known: BTreeMap<u64, (NodeStart, u64)>,
}

/// What a node was when its disk was copied.
struct Kept {
    disk: SimulatedDisk,
    identity: Identity,
}

impl World {
    /// Keeps a copy of a node's disk, or puts the one back that was kept of some node; whether it could be done.
    pub(super) fn copy_disk(&mut self, number: u64) -> bool {
        self.note_starts();
        let kept: Vec<u64> = self.old_copies.kept.keys().copied().collect();
        let old = kept.into_iter().find(|&number| self.may_put_back(number));
        if let Some(old) = old {
            self.put_back(old);
            return true;
        }
        let is_whole = !self.destroyed.contains(&number);
        if !is_whole || self.old_copies.kept.contains_key(&number) {
            return false;
        }
        self.crash(number, Stop::Kill);
        let node = &self.nodes[&number];
        let kept = Kept {
            disk: SimulatedDisk::from_image(&node.disk.contents()),
            identity: node.identity.clone(),
        };
        self.old_copies.kept.insert(number, kept);
        true
    }

    /// Looks which starts the catalog has heard of.
    pub(super) fn note_starts(&mut self) {
        let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        for process in processes {
            let Some(catalog) = process.replica(0) else {
                continue;
            };
            let index = catalog.applied().index;
            for &number in self.old_copies.kept.keys() {
                let start = self.nodes[&number].identity.start;
                let is_noted = self.old_copies.known.get(&number);
                let is_noted = is_noted.is_some_and(|(noted, _)| *noted == start);
                if !is_noted && process.start_of(number) == Some(start) {
                    self.old_copies.known.insert(number, (start, index));
                }
            }
        }
    }

    fn may_put_back(&self, number: u64) -> bool {
        let (node, kept) = (&self.nodes[&number], &self.old_copies.kept[&number]);
        let start = node.identity.start;
        let known = self.old_copies.known.get(&number);
        let Some(&(_, index)) = known.filter(|(known, _)| *known == start) else {
            return false;
        };
        let is_old = kept.identity.start.is_behind(start);
        let others = self.nodes.iter().filter(|(other, _)| **other != number);
        let mut others = others.filter(|(_, node)| !node.is_gone);
        let all_know = others.all(|(&other, _)| {
            let durable = self.common.checks.durable.get(&(other, 0));
            durable.is_some_and(|durable| durable.commit >= index)
        });
        let is_whole = node.is_up() && !self.destroyed.contains(&number);
        is_old && all_know && is_whole && self.may_destroy(number)
    }

    fn put_back(&mut self, number: u64) {
        let now = self.common.now;
        self.common
            .trace
            .say(now, || format!("node {number}: an old copy is put back"));
        self.destroyed.insert(number);
        self.crash(number, Stop::Kill);
        let kept = self.old_copies.kept.remove(&number);
        let kept = kept.expect("it was just seen");
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let last = node.identity.start;
        node.disk = kept.disk;
        node.identity = kept.identity;
        self.common.checks.put_back(number, last);
    }

    /// Whether an old copy that starts has to be thrown away unseen.
    pub(super) fn serves_alone(&self, process: &Process) -> bool {
        let alone = |voters: &[u64]| voters == [process.node];
        self.common.checks.is_old_copy(process.node)
            && process
                .replicas()
                .any(|(_, replica)| alone(&replica.status().membership.voters))
    }

    /// An old copy of a disk has been told what it is, and stays down.
    pub(super) fn old_copy_ends(&mut self, number: u64) {
        sometimes("an old copy of a disk was refused");
        self.throw_away(number);
    }
}
