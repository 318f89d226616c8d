//! Where there is room for a copy: it leaves the reserve of its disk, for below that sends to every shard of the node are refused.
//!
//! Voters stay where they are, however full their disks: without one of them the shard would have a copy less.

use std::collections::BTreeMap;

use anser_broker::command::NodeState;

use super::{ShardView, View, planner::Planner};

/// What each disk can take above its reserve, less what is on its way there.
pub(super) fn of_all(view: &View) -> BTreeMap<u64, u64> {
    let coming = |node: u64| {
        let shards = view.shards.values();
        let learned = shards.filter(move |state| state.learners.contains(&node));
        learned.map(move |state| missing_bytes(state, node))
    };
    let room = |(&node, place): (&u64, &super::NodeView)| {
        let spare = place.free_bytes.saturating_sub(view.reserve_bytes);
        (node, coming(node).fold(spare, u64::saturating_sub))
    };
    view.nodes.iter().map(room).collect()
}

fn missing_bytes(state: &ShardView, node: u64) -> u64 {
    let here = state.peers.get(&node).map_or(0, |peer| peer.bytes);
    state.bytes.saturating_sub(here)
}

impl Planner<'_> {
    pub(super) fn is_full(&self, node: u64) -> bool {
        self.view.nodes.get(&node).is_some_and(|place| place.full)
    }

    /// Whether a node could have a copy of the shard, with so many bytes left above its reserve.
    pub(super) fn has_room(&self, shard: u16, node: u64, spare: u64) -> bool {
        let state = &self.view.shards[&shard];
        if state.voters.contains(&node) {
            return true;
        }
        // What is on its way has its room already.
        let comes = state.learners.contains(&node);
        !self.is_full(node) && (comes || self.room_of(node) >= state.bytes.saturating_add(spare))
    }

    pub(super) fn take_room(&mut self, shard: u16, node: u64) {
        let bytes = self.view.shards[&shard].bytes;
        let room = self.room.entry(node).or_default();
        *room = room.saturating_sub(bytes);
    }

    fn room_of(&self, node: u64) -> u64 {
        self.room.get(&node).copied().unwrap_or(0)
    }

    /// Whether some node could have the copy that takes the place of a voter's, which makes room on its own disk, but for what is
    /// set aside of it.
    pub(super) fn has_room_instead(&self, shard: u16, voter: u64) -> bool {
        let voters = &self.view.shards[&shard].voters;
        self.view.nodes.iter().any(|(&node, place)| {
            let is_open = place.state == NodeState::Active && place.up && !place.full;
            let has_room = if node == voter {
                self.room_of(node) >= self.view.reserve_bytes
            } else {
                !voters.contains(&node) && self.has_room(shard, node, 0)
            };
            is_open && has_room
        })
    }

    /// Who only learns a shard makes a disk no fuller that is nearly full.
    pub(super) fn learner_without_room(&self, shard: u16, state: &ShardView) -> Option<u64> {
        let mut learners = state.learners.iter().copied();
        learners.find(|&node| shard != 0 && self.is_full(node))
    }

    /// Whether a copy had better go elsewhere: the node is not fit to lead, or copies to it make no progress.
    pub(super) fn is_doubtful(&self, node: u64) -> bool {
        let place = self.view.nodes.get(&node);
        let is_unfit = place.is_some_and(|place| place.unfit.is_some());
        is_unfit || self.view.stalled.iter().any(|&(_, other)| other == node)
    }
}
