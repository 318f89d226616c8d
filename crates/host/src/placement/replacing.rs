//! A voter that lacks its state, or has something damaged, is let go of and given a new copy by the others, no faster than copies
//! may be made: until it has one, the shard has a voter less.

use super::{Action, ActionKind, ShardView, planner::Planner, replacements::TIMES_MAX};
use crate::order::Step;

impl Planner<'_> {
    /// As a voter it counts for nothing and gets nothing; as a learner it is sent a copy, and is promoted.
    pub(super) fn replace_blank(
        &mut self,
        shard: u16,
        blank: u64,
        action: impl Fn(ActionKind, &str) -> Option<Action>,
    ) -> Option<Action> {
        if !self.may_begin(shard, 0) {
            return None;
        }
        let why = format!("node {blank} has lost its copy");
        action(ActionKind::Change(vec![Step::AddLearner(blank)]), &why)
    }

    /// A damaged copy that the others can do without goes, and its node is given a new one, once what is
    /// there is set aside. Who leads with a damaged copy hands over first.
    pub(super) fn replace_damaged(
        &mut self,
        shard: u16,
        state: &ShardView,
        damaged: u64,
        action: impl Fn(ActionKind, &str) -> Option<Action>,
    ) -> Option<Action> {
        let why = format!("what node {damaged} has of it is damaged");
        if damaged != state.leader {
            // One that is closed decides nothing as it is.
            let decides = state.voters.contains(&damaged) && state.is_active(damaged);
            if decides && !self.has_room_instead(shard, damaged) {
                self.hold(shard, format!("{why}, and no node has room for a new copy"));
                return None;
            }
            if decides && !self.may_begin(shard, self.lacking) {
                return None;
            }
            return action(ActionKind::Change(vec![Step::Remove(damaged)]), &why);
        }
        let heir = self.heir(state, &state.voters)?;
        if self.view.told.contains(&shard) {
            return None;
        }
        *self.led.entry(heir).or_default() += 1;
        *self.led.entry(damaged).or_default() -= 1;
        action(ActionKind::Transfer(heir), &why)
    }

    /// Whose copy is damaged and has to do something about it: a leader for whom somebody can lead, a learner, and a voter
    /// whom most can do without, for they decide about it alone, and have all that it has. A voter that was replaced not
    /// long ago waits, unless it is closed; a learner does not, for until it has a sound copy a voter is missing.
    pub(super) fn damaged(&self, shard: u16, state: &ShardView) -> Option<u64> {
        let rests = |node| state.is_active(node) && self.view.resting.contains(&(shard, node));
        let leads = state.damaged.contains(&state.leader);
        if leads && self.heir(state, &state.voters).is_some() {
            return Some(state.leader);
        }
        let is_sound = |node: &&u64| !state.damaged.contains(node) && state.is_active(**node);
        let sound = state.voters.iter().filter(is_sound).count();
        let mut voters = state.voters.intersection(&state.damaged).copied();
        let voter = voters.find(|&node| !rests(node));
        let voter = voter.filter(|_| !leads && sound > state.voters.len() / 2);
        let mut learners = state.learners.intersection(&state.damaged).copied();
        learners.next().or(voter)
    }

    /// Says which damaged copies stay for now.
    pub(super) fn hold_damaged(&mut self, shard: u16, state: &ShardView) {
        let view = self.view;
        for &node in state.voters.intersection(&state.damaged) {
            let why = if view.given_up.contains(&(shard, node)) {
                format!(
                    "node {node} was given {TIMES_MAX} copies, and what it has is damaged again: look at its memory and its disk"
                )
            } else if view.resting.contains(&(shard, node)) {
                format!(
                    "node {node} was given a copy not long ago, and what it has is damaged again"
                )
            } else {
                continue;
            };
            self.hold(shard, why);
        }
    }
}

/// A voter without state that the others can do without: they decide about it alone.
pub(super) fn blank_voter(state: &ShardView) -> Option<u64> {
    let is_blank = |node: &u64| state.peers.get(node).is_some_and(|peer| peer.is_blank);
    let sound = state.voters.iter().filter(|node| !is_blank(node));
    let reached = sound.filter(|&&node| state.is_active(node)).count();
    let blank = state.voters.iter().copied().find(is_blank);
    blank.filter(|_| reached > state.voters.len() / 2)
}
