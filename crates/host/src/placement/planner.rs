//! What is looked at while the next steps are found: the view, and how many copies and leaders each node will have.

use std::collections::BTreeMap;

use anser_broker::command::NodeState;
#[cfg(feature = "sabotage")]
use anser_broker::sabotage::is_planted;

use super::{Action, ActionKind, ShardView, View, members, room, targets::Target};

pub(super) struct Planner<'a> {
    pub(super) view: &'a View,
    /// Copies on each node that counts, as they will be when all that is begun or decided is done.
    pub(super) load: BTreeMap<u64, usize>,
    /// Shards that each node leads, likewise.
    pub(super) led: BTreeMap<u64, usize>,
    /// Bytes that each node can still take, when all that is begun or decided is done.
    pub(super) room: BTreeMap<u64, u64>,
    /// Copies that are on their way or ordered, but for those that make no progress.
    pub(super) moves: usize,
    /// Shards with too few copies that stay for now, of which nothing is on its way yet.
    pub(super) lacking: usize,
    /// Of shards for which nothing is done, although something is wrong.
    pub(super) held: Vec<Action>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        let mut load: BTreeMap<u64, usize> = view.nodes.keys().map(|&node| (node, 0)).collect();
        let mut led = load.clone();
        for (&shard, state) in &view.shards {
            for member in members(shard, state) {
                *load.entry(member).or_default() += 1;
            }
            *led.entry(state.leader).or_default() += 1;
        }
        let catching_up = |(&shard, state): (&u16, &ShardView)| {
            let is_up = |node: u64| view.nodes.get(&node).is_some_and(|node| node.up);
            let advances = |node: u64| is_up(node) && !view.stalled.contains(&(shard, node));
            let sound = state.learners.difference(&state.damaged);
            let waiting = sound.filter(|&&node| shard != 0 && advances(node));
            waiting.count()
        };
        let moves = view.shards.iter().map(catching_up).sum();
        Self {
            view,
            load,
            led,
            room: room::of_all(view),
            moves,
            lacking: 0,
            held: Vec::new(),
        }
    }

    /// Whether one copy more of a shard may be begun, with so many others still to come; it counts from now on.
    pub(super) fn may_begin(&mut self, shard: u16, others: usize) -> bool {
        #[cfg(feature = "sabotage")]
        let is_unbound = is_planted("moves without a bound");
        #[cfg(not(feature = "sabotage"))]
        let is_unbound = false;
        let may = self.moves + others < self.view.moves_max || is_unbound;
        self.moves += usize::from(may);
        if !may {
            self.hold(shard, "it waits for other copies".into());
        }
        may
    }

    /// Of every shard whose members are not just being changed. First whoever lacks a copy gets one, then
    /// moves that were begun go on, and only when nothing is lacking are others begun.
    pub(super) fn targets(&mut self) -> BTreeMap<u16, Target> {
        let view = self.view;
        let shards = view.shards.iter().filter(|(_, state)| !state.joint);
        let mut targets: BTreeMap<u16, Target> = shards
            .map(|(&shard, state)| (shard, self.repaired(shard, state)))
            .collect();
        let lacks = |(shard, target): &(&u16, &Target)| {
            if view.undecided.contains(shard) {
                return false;
            }
            let state = &view.shards[shard];
            // Those that are only to move stay until others are there.
            let stay = state.voters.iter().filter(|&&node| self.is_there(node));
            let coming = state.learners.intersection(&target.members);
            stay.count() + coming.count() < target.members.len()
        };
        self.lacking = targets.iter().filter(lacks).count();
        let settled: Vec<u16> = targets
            .iter()
            .filter(|(shard, target)| target.members == view.shards[shard].voters)
            .map(|(&shard, _)| shard)
            .collect();
        let nothing_lacks = view.is_complete && settled.len() == targets.len();
        let mut still = Vec::new();
        for shard in settled {
            match self.begun(shard) {
                Some(target) => {
                    targets.insert(shard, target);
                }
                None if view.undecided.contains(&shard) => {}
                None => still.push(shard),
            }
        }
        if nothing_lacks {
            for _ in self.moves..view.moves_max {
                let Some((shard, target)) = self.rebalanced(&still) else {
                    break;
                };
                targets.insert(shard, target);
                still.retain(|&other| other != shard);
            }
        }
        targets
    }

    pub(super) fn state_of(&self, node: u64) -> NodeState {
        let known = self.view.nodes.get(&node);
        known.map_or(NodeState::Removed, |node| node.state)
    }

    /// Whether what a node has is there: it may be silent for a while.
    fn is_there(&self, node: u64) -> bool {
        let known = self.view.nodes.get(&node);
        known.is_some_and(|node| node.state != NodeState::Removed && !node.dead)
    }

    /// Whether a copy of the shard may be on its way to a node.
    pub(super) fn may_take(&self, shard: u16, node: u64) -> bool {
        let place = self.view.nodes.get(&node);
        place.is_some_and(|place| place.state == NodeState::Active && place.up)
            && !self.view.given_up.contains(&(shard, node))
            && !self.view.stalled.contains(&(shard, node))
            && !self.is_full(node)
    }

    pub(super) fn hold(&mut self, shard: u16, why: String) {
        let leader = self.view.shards[&shard].leader;
        let kind = ActionKind::Hold;
        self.held.push(Action {
            shard,
            leader,
            kind,
            why,
        });
    }

    pub(super) fn load_of(&self, node: u64) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }
}
