//! Who leads: one that has caught up, is wanted there and has a sound disk; and about as many on each node.

use std::collections::BTreeSet;

use anser_broker::command::NodeState;

use super::{Action, ActionKind, ShardView, planner::Planner};

/// Leaders that a node may have more than another before one is moved.
const LEADERS_APART: usize = 2;
/// Leaders that leave unfit nodes at one look: so many, or one in so many, so that all have left after some looks.
const RELIEVED_LEAST: usize = 4;
const RELIEVED_PART: usize = 4;

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
            && !state.damaged.contains(&node)
            && place.is_some_and(|place| {
                place.up && place.state == NodeState::Active && place.unfit.is_none()
            })
            && state.has_caught_up(node)
    }

    /// Leaders leave nodes that are not fit to lead, some at each look.
    pub(super) fn relieve(&mut self) -> Vec<Action> {
        let view = self.view;
        let unfit = |node: u64| view.nodes.get(&node).and_then(|place| place.unfit);
        let burdens = view.shards.iter().filter_map(|(&shard, state)| {
            let unfit = unfit(state.leader)?;
            (!state.joint).then_some((shard, state, unfit))
        });
        // The catalog last: whoever leads it sees to the others.
        let burdens: Vec<_> = burdens.collect();
        let most = RELIEVED_LEAST.max(burdens.len() / RELIEVED_PART);
        let free = burdens
            .into_iter()
            .rev()
            .filter(|(shard, ..)| !view.told.contains(shard));
        let mut actions = Vec::new();
        for (shard, state, unfit) in free {
            if actions.len() == most {
                break;
            }
            if let Some(heir) = self.heir(state, &state.voters) {
                let why = format!("node {} {unfit}", state.leader);
                actions.push(self.hand_over(shard, heir, why));
            }
        }
        actions
    }

    /// One leader moves from the node that leads most, or from one that is let go of.
    pub(super) fn spread_leaders(&mut self) -> Option<Action> {
        let view = self.view;
        let led = &self.led;
        let goes = |node: u64| {
            let place = view.nodes.get(&node);
            place.is_none_or(|place| place.state != NodeState::Active)
        };
        let mut moves = Vec::new();
        for (&shard, state) in view.shards.iter().filter(|(_, state)| !state.joint) {
            for &heir in state
                .voters
                .iter()
                .filter(|&&node| self.may_lead(state, node))
            {
                let surplus = led[&state.leader].saturating_sub(led[&heir]);
                let must = goes(state.leader);
                let may = surplus >= LEADERS_APART && !view.restless.contains(&shard);
                if must || may {
                    moves.push((must, surplus, shard, state.leader, heir));
                }
            }
        }
        let (must, _, shard, leader, heir) = moves.into_iter().max()?;
        let why = if must {
            format!("node {leader} is let go of")
        } else {
            format!("node {leader} leads more shards than node {heir}")
        };
        Some(self.hand_over(shard, heir, why))
    }

    fn hand_over(&mut self, shard: u16, heir: u64, why: String) -> Action {
        let leader = self.view.shards[&shard].leader;
        *self.led.entry(heir).or_default() += 1;
        *self.led.entry(leader).or_default() -= 1;
        Action {
            shard,
            leader,
            kind: ActionKind::Transfer(heir),
            why,
        }
    }
}
