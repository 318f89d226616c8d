//! Who should vote in a shard, and why that differs from who does: repair first, then moves that were begun, then
//! moves that even out.

use std::{cmp::Reverse, collections::BTreeSet};

use anser_broker::command::NodeState;

use super::{NodeView, ShardView, members, planner::Planner};

/// Copies that a node may have more than another before one is moved.
const COPIES_APART: usize = 2;

pub(super) struct Target {
    pub(super) members: BTreeSet<u64>,
    pub(super) why: String,
}

impl Planner<'_> {
    /// The voters without those that cannot be used, and with as many others as are wanted.
    pub(super) fn repaired(&mut self, shard: u16, state: &ShardView) -> Target {
        let view = self.view;
        let placeable = view
            .nodes
            .values()
            .filter(|node| node.state == NodeState::Active);
        let wanted = view.replicas.min(placeable.count()).max(1);
        let lives = |node: &u64| {
            let known = view.nodes.get(node);
            known.is_some_and(|node| node.state == NodeState::Active && !node.dead)
        };
        let usable = |node: &u64| lives(node) && !view.given_up.contains(&(shard, *node));
        let mut target: BTreeSet<u64> = state.voters.iter().copied().filter(usable).collect();
        let mut why = String::from("too few copies");
        if let Some(lost) = state.voters.iter().find(|node| !usable(node)) {
            why = self.reason(shard, *lost);
        }
        // A learner that is on its way stays the choice.
        let mut candidates: Vec<u64> = view.nodes.keys().copied().filter(usable).collect();
        candidates.retain(|node| !target.contains(node) && view.nodes[node].up);
        let open = candidates.len();
        candidates.retain(|&node| self.has_room(shard, node, 0));
        let lacks_room = candidates.len() < open;
        candidates.retain(|&node| !view.stalled.contains(&(shard, node)));
        while target.len() < wanted && !candidates.is_empty() {
            let best = self.best(state, &target, &candidates);
            candidates.retain(|&node| node != best);
            target.insert(best);
            self.expect(shard, state, best);
        }
        // Who cannot be replaced yet keeps its place. A new copy on a node where it was damaged again and again, or made no
        // progress, is better than one that is silent.
        let is_up = |node: &u64| view.nodes[node].up;
        let kept = state.voters.iter().copied();
        let kept = kept.filter(|&node| self.may_stay(node));
        let (answer, silent): (Vec<u64>, Vec<u64>) = kept.partition(is_up);
        let again = view.nodes.keys().copied();
        let again = again.filter(|node| lives(node) && is_up(node));
        let again: Vec<u64> = again
            .filter(|&node| self.has_room(shard, node, 0))
            .collect();
        for node in answer.into_iter().chain(again).chain(silent) {
            if target.len() < wanted && target.insert(node) {
                self.expect(shard, state, node);
            }
        }
        let lacks = target.len() < wanted
            || target
                .iter()
                .any(|node| state.voters.contains(node) && !usable(node));
        if lacks && lacks_room {
            self.hold(
                shard,
                format!("{why}, and no other node has room for a copy"),
            );
        }
        while target.len() > wanted {
            let worst = self.worst(state, &target);
            target.remove(&worst);
            *self.load.entry(worst).or_default() -= 1;
            why = "more copies than asked for".into();
        }
        Target {
            members: target,
            why,
        }
    }

    /// Counts a copy on a node, and the room that it takes, unless it is counted already.
    fn expect(&mut self, shard: u16, state: &ShardView, node: u64) {
        if !members(shard, state).any(|member| member == node) {
            *self.load.entry(node).or_default() += 1;
            self.take_room(shard, node);
        }
    }

    /// Whether a copy there is better than none: on a node that is being emptied, or that is silent.
    fn may_stay(&self, node: u64) -> bool {
        self.state_of(node) != NodeState::Removed
    }

    fn reason(&self, shard: u16, node: u64) -> String {
        match self.state_of(node) {
            NodeState::Active if self.view.given_up.contains(&(shard, node)) => {
                format!("what node {node} has of it is damaged again and again")
            }
            NodeState::Draining => format!("node {node} is being emptied"),
            NodeState::Active => format!("node {node} has been silent for too long"),
            NodeState::Removed => format!("node {node} is gone"),
        }
    }

    /// A candidate without a damaged copy before others, then the one that is farthest from those chosen, then one that
    /// has a copy on its way, then one whose disk nothing is known against, then the one with the fewest copies.
    fn best(&self, state: &ShardView, chosen: &BTreeSet<u64>, candidates: &[u64]) -> u64 {
        let rank = |&node: &u64| {
            let learner = state.learners.contains(&node);
            (
                state.damaged.contains(&node),
                self.crowding(node, chosen),
                !learner,
                self.is_doubtful(node),
                self.load_of(node),
                node,
            )
        };
        *candidates
            .iter()
            .min_by_key(|node| rank(node))
            .expect("there is a candidate")
    }

    fn worst(&self, state: &ShardView, target: &BTreeSet<u64>) -> u64 {
        let rank = |&node: &u64| {
            let others: BTreeSet<u64> = target
                .iter()
                .copied()
                .filter(|&other| other != node)
                .collect();
            // Before the leader: a copy that took the load off its node would go for it, and come again.
            let place = (self.crowding(node, &others), self.load_of(node));
            #[cfg(feature = "sabotage")]
            let place = if node == state.leader
                && anser_broker::sabotage::is_planted("the only copy cannot move")
            {
                Default::default()
            } else {
                place
            };
            (place, node != state.leader, node)
        };
        *target
            .iter()
            .max_by_key(|node| rank(node))
            .expect("a target is never empty")
    }

    /// How many of the chosen stand in the same zone and on the same host.
    fn crowding(&self, node: u64, chosen: &BTreeSet<u64>) -> (usize, usize) {
        let nodes = &self.view.nodes;
        let Some(place) = nodes.get(&node) else {
            return (usize::MAX, usize::MAX);
        };
        let same = |part: fn(&NodeView) -> &str| {
            let others = chosen.iter().filter(|&&other| other != node);
            let equal = others.filter(|other| nodes.get(other).map(part) == Some(part(place)));
            equal.count()
        };
        (same(|node| &node.zone), same(|node| &node.host))
    }

    /// A copy that is on its way to take the place of another goes on, unless that would have to be undone.
    pub(super) fn begun(&mut self, shard: u16) -> Option<Target> {
        let state = &self.view.shards[&shard];
        if shard == 0 {
            return None; // Its learners are everywhere, and on their way to nothing.
        }
        let mut learners = state.learners.iter().copied();
        let to = learners.find(|&node| self.may_take(shard, node))?;
        let enough = self.load_of(to);
        let allowed =
            |&&from: &&u64| self.load_of(from) >= enough && self.may_replace(state, from, to);
        let rank = |&&from: &&u64| (self.load_of(from), from != state.leader, from);
        let from = *state.voters.iter().filter(allowed).max_by_key(rank)?;
        *self.load.entry(from).or_default() -= 1;
        Some(exchanged(state, from, to))
    }

    /// The move that evens out most, of those that can be begun.
    pub(super) fn rebalanced(&mut self, shards: &[u16]) -> Option<(u16, Target)> {
        let view = self.view;
        let mut best = None;
        for &shard in shards {
            let state = &view.shards[&shard];
            let open = view.nodes.keys().copied();
            let open = open.filter(|&node| self.may_take(shard, node));
            let open = open.filter(|node| !state.voters.contains(node));
            // Evenness leaves twice the reserve.
            let open = open.filter(|&node| self.has_room(shard, node, view.reserve_bytes));
            let open: Vec<u64> = open.collect();
            for &from in &state.voters {
                for &to in &open {
                    let apart = self.load_of(from).saturating_sub(self.load_of(to));
                    if apart < COPIES_APART || !self.may_replace(state, from, to) {
                        continue;
                    }
                    let rank = (apart, from != state.leader, Reverse((shard, from, to)));
                    best = best.max(Some(rank));
                }
            }
        }
        let (_, _, Reverse((shard, from, to))) = best?;
        *self.load.entry(from).or_default() -= 1;
        *self.load.entry(to).or_default() += 1;
        self.take_room(shard, to);
        Some((shard, exchanged(&view.shards[&shard], from, to)))
    }

    /// Whether the copies stand no closer together then.
    fn may_replace(&self, state: &ShardView, from: u64, to: u64) -> bool {
        let others = state.voters.iter().copied().filter(|&node| node != from);
        let others = others.collect();
        self.crowding(to, &others) <= self.crowding(from, &others)
    }
}

fn exchanged(state: &ShardView, from: u64, to: u64) -> Target {
    let mut members = state.voters.clone();
    members.remove(&from);
    members.insert(to);
    Target {
        members,
        why: format!("node {from} has more copies than node {to}"),
    }
}
