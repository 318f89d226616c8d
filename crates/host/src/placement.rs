//! Where replicas should be and what is the next step to get there. Pure: a view in, steps out.
//!
//! A joining node, a dead one, one that is emptied and one with too much are the same case: the members a
//! shard should have differ from those it has (`targets.rs`). The way there is always the same too (`steps.rs`): a
//! learner is added, it catches up, then one joint change makes it a voter and lets go of whom it replaces. A copy is
//! never given up before the one that replaces it is a voter that has caught up, unless fewer copies are wanted, its
//! node is gone for ever, or it is damaged (`replacing.rs`).

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::command::NodeState;

use crate::{fitness::Unfit, order::Step};
pub(crate) use disputes::Disputes;
use planner::Planner;
pub(crate) use replacements::Replacements;
pub(crate) use stalls::Stalls;
pub(crate) use tenures::Tenures;

mod disputes;
mod leaders;
mod planner;
mod replacements;
mod replacing;
mod room;
mod stalls;
mod steps;
mod targets;
mod tenures;

/// Entries that a learner may be behind to become a voter.
const CAUGHT_UP: u64 = 1_000;

/// The cluster at one moment, as the catalog's leader knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Copies each shard should have.
    pub replicas: usize,
    pub moves_max: usize,
    /// What a copy leaves free on a disk.
    pub reserve_bytes: u64,
    /// A node has just come or gone: who leads is not settled yet.
    pub is_unsettled: bool,
    /// Every shard is in the view: a shard without a leader is missing from its nodes' loads.
    pub is_complete: bool,
    pub nodes: BTreeMap<u64, NodeView>,
    /// Only shards whose leader was heard lately.
    pub shards: BTreeMap<u16, ShardView>,
    /// Shards whose leader has just come, and does not go for the sake of evenness.
    pub restless: BTreeSet<u16>,
    /// Shards whose leader has just been told to go.
    pub told: BTreeSet<u16>,
    /// What a node has of a shard and was replaced not long ago: it is not again yet, damaged or not.
    pub resting: BTreeSet<(u16, u64)>,
    /// Shards of which replicas differ.
    pub differing: BTreeSet<u16>,
    /// Of these, those of which nobody can say which are right.
    pub undecided: BTreeSet<u16>,
    /// Of what rests, what was replaced so often that it is not any more.
    pub given_up: BTreeSet<(u16, u64)>,
    /// Copies on their way, or begun not long ago, that made no progress.
    pub stalled: BTreeSet<(u16, u64)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct NodeView {
    pub host: String,
    pub zone: String,
    pub state: NodeState,
    /// Heard lately.
    pub up: bool,
    /// Silent for longer than the grace time.
    pub dead: bool,
    /// Why it should not lead.
    pub unfit: Option<Unfit>,
    /// Its disk is nearly full.
    pub full: bool,
    pub free_bytes: u64,
}

#[derive(Debug, Clone, Default)]
pub struct ShardView {
    pub leader: u64,
    pub term: u64,
    pub last: u64,
    /// The last entry that is part of its leader's state.
    pub applied: u64,
    pub voters: BTreeSet<u64>,
    pub learners: BTreeSet<u64>,
    /// Whoever has applied this entry knows these members too.
    pub settled_at: u64,
    pub joint: bool,
    /// Nodes that say that something of theirs is damaged.
    pub damaged: BTreeSet<u64>,
    /// What a copy of it takes: as much as the largest that votes.
    pub bytes: u64,
    /// What the leader knows of the others.
    pub peers: BTreeMap<u64, PeerView>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct PeerView {
    pub matched: u64,
    pub active: bool,
    /// It votes, and has lost its state.
    pub is_blank: bool,
    /// What it has of the shard on its disk, with what has come of a copy.
    pub bytes: u64,
}

/// What to do next with one shard, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub shard: u16,
    pub leader: u64,
    pub kind: ActionKind,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    Change(Vec<Step>),
    Transfer(u64),
    /// Nothing to be done but to wait for a learner.
    Wait(u64),
    /// Nothing is done, although something is wrong.
    Hold,
}

/// The next steps: at most one for each shard.
pub(crate) fn plan(view: &View) -> Vec<Action> {
    let mut planner = Planner::new(view);
    let targets = planner.targets();
    let mut actions = Vec::new();
    if !view.is_unsettled {
        actions.extend(planner.relieve());
    }
    let relieved: BTreeSet<u16> = actions.iter().map(|action| action.shard).collect();
    for (&shard, target) in targets
        .iter()
        .filter(|(shard, _)| !relieved.contains(shard))
    {
        actions.extend(planner.step(shard, &view.shards[&shard], target));
    }
    let is_quiet = actions.is_empty() && view.told.is_empty();
    if is_quiet && view.is_complete && !view.is_unsettled {
        actions.extend(planner.spread_leaders());
    }
    actions.extend(planner.held);
    actions
}

impl ShardView {
    /// Whether its leader hears the node.
    pub fn is_active(&self, node: u64) -> bool {
        node == self.leader || self.peers.get(&node).is_some_and(|peer| peer.active)
    }

    /// Whether it could decide to let go of a node without asking it. While its voters change only those are known that will
    /// be left.
    pub(crate) fn can_spare(&self, node: u64, removed: &BTreeSet<u64>) -> bool {
        let is_member = |node: &u64| self.voters.contains(node) || self.peers.contains_key(node);
        if !is_member(&node) {
            return true;
        }
        let mut voters = self.voters.iter();
        let others = self.voters.iter();
        let others = others.filter(|&&other| other != node && self.is_active(other));
        let can_decide = voters.all(|it| *it != node) || others.count() > self.voters.len() / 2;
        can_decide && !self.joint && !removed.iter().any(is_member)
    }

    fn has_caught_up(&self, node: u64) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| {
            peer.active && peer.matched + CAUGHT_UP >= self.last && peer.matched > 0
        })
    }
}

/// Those whose copies count for a node's load: the catalog's learners are everywhere.
fn members(shard: u16, state: &ShardView) -> impl Iterator<Item = u64> {
    let learners = state.learners.iter().filter(move |_| shard != 0);
    state.voters.iter().chain(learners).copied()
}

#[cfg(test)]
mod tests;
