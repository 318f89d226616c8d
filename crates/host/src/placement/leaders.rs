//! Who leads: one that has caught up, is wanted there and has a sound disk; and about as many on each node.

use std::collections::BTreeSet;

use anser_broker::command::NodeState;

use super::{Action, ActionKind, ShardView, planner::Planner};

/// Leaders that a node may have more than another before one is moved.
const LEADERS_APART: usize = 2;

impl Planner<'_> {
    /// Who of the target leads when its leader has to go: one that leads little.
    pub(super) fn heir(&self, state: &ShardView, target: &BTreeSet<u64>) -> Option<u64> {
        let able = target.iter().filter(|&&node| self.may_lead(state, node));
        able.copied()
            .min_by_key(|node| (self.led.get(node).copied().unwrap_or(0), *node))
    }

    pub(super) fn may_lead(&self, state: &ShardView, node: u64) -> bool {
        let place = self.view.nodes.get(&node);
        state.voters.contains(&node)
            && node != state.leader
            && place
                .is_some_and(|place| place.up && place.state == NodeState::Active && !place.slow)
            && state.has_caught_up(node)
    }

    /// One leader moves from the node that leads most, or from one that should not lead.
    pub(super) fn spread_leaders(&self) -> Option<Action> {
        let view = self.view;
        let led = &self.led;
        let unfit = |node: u64| {
            let place = view.nodes.get(&node);
            place.is_none_or(|place| place.state != NodeState::Active || place.slow)
        };
        let mut moves = Vec::new();
        for (&shard, state) in view.shards.iter().filter(|(_, state)| !state.joint) {
            for &heir in state
                .voters
                .iter()
                .filter(|&&node| self.may_lead(state, node))
            {
                let surplus = led[&state.leader].saturating_sub(led[&heir]);
                let must = unfit(state.leader);
                if must || surplus >= LEADERS_APART {
                    moves.push((must, surplus, shard, state.leader, heir));
                }
            }
        }
        let (must, _, shard, leader, heir) = moves.into_iter().max()?;
        let why = if must {
            format!("node {leader} should not lead")
        } else {
            format!("node {leader} leads more shards than node {heir}")
        };
        Some(Action {
            shard,
            leader,
            kind: ActionKind::Transfer(heir),
            why,
        })
    }
}
