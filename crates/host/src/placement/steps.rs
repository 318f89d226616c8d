//! The next step of one shard on the way from the members it has to those it should have.

use std::collections::BTreeSet;

use anser_broker::command::NodeState;
#[cfg(feature = "sabotage")]
use anser_broker::sabotage::is_planted;

use super::{
    Action, ActionKind, NodeView, ShardView, planner::Planner, replacing::blank_voter,
    targets::Target,
};
use crate::order::Step;

impl Planner<'_> {
    pub(super) fn step(
        &mut self,
        shard: u16,
        state: &ShardView,
        target: &Target,
    ) -> Option<Action> {
        let Target {
            members: target,
            why,
        } = target;
        let action = |kind, why: &str| {
            let leader = state.leader;
            Some(Action {
                shard,
                leader,
                kind,
                why: why.to_owned(),
            })
        };
        // Whoever gets a copy, or goes, decides who is right.
        if self.view.undecided.contains(&shard) {
            let why = "its copies differ, and nobody can say which are right";
            self.hold(shard, why.into());
            return None;
        }
        if let Some(blank) = blank_voter(state) {
            return self.replace_blank(shard, blank, action);
        }
        if let Some(damaged) = self.damaged(shard, state) {
            return self.replace_damaged(shard, state, damaged, action);
        }
        self.hold_damaged(shard, state);
        let missing: Vec<u64> = target.difference(&state.voters).copied().collect();
        let ready = |node: &u64| {
            state.learners.contains(node)
                && !state.damaged.contains(node)
                && state.has_caught_up(*node)
        };
        let (ready, late): (Vec<u64>, Vec<u64>) = missing.into_iter().partition(ready);
        // It leads until its successor has a copy, unless it is not to be counted on, or the copy not to be from it.
        let differs = self.view.differing.contains(&shard);
        let must_yield = !target.contains(&state.leader)
            && (late.is_empty() || differs || self.state_of(state.leader) == NodeState::Removed);
        if must_yield && let Some(heir) = self.heir(state, target) {
            // Another order would begin the transfer anew, and perhaps to another heir.
            if self.view.told.contains(&shard) {
                return None;
            }
            *self.led.entry(heir).or_default() += 1;
            *self.led.entry(state.leader).or_default() -= 1;
            return action(ActionKind::Transfer(heir), why);
        }
        let steps = self.exchange(shard, state, target, &ready);
        if !steps.is_empty() {
            if !can_decide(state, &steps) {
                return None;
            }
            return action(ActionKind::Change(steps), why);
        }
        if let Some(full) = self.learner_without_room(shard, state) {
            let why = format!("node {full} has no room for it");
            return action(ActionKind::Change(vec![Step::Remove(full)]), &why);
        }
        let begins = |node: &&u64| !state.learners.contains(node) && !state.damaged.contains(node);
        if let Some(&new) = late.iter().find(begins) {
            if !self.may_begin(shard, 0) {
                return None;
            }
            return action(ActionKind::Change(vec![Step::AddLearner(new)]), why);
        }
        let is_awaited =
            |node: &&u64| !state.learners.contains(node) || !state.damaged.contains(node);
        if let Some(&late) = late.iter().find(is_awaited) {
            return action(ActionKind::Wait(late), why);
        }
        self.tend_learners(shard, state, target)
            .and_then(|(step, why)| action(ActionKind::Change(vec![step]), &why))
    }

    /// Voters for those that are ready, in exchange for those that are one too many.
    fn exchange(
        &self,
        shard: u16,
        state: &ShardView,
        target: &BTreeSet<u64>,
        ready: &[u64],
    ) -> Vec<Step> {
        let kept = target.len();
        let spare = (state.voters.len() + ready.len()).saturating_sub(kept);
        #[cfg(feature = "sabotage")]
        let spare = if is_planted("copy given up first") {
            state.voters.len() - 1
        } else {
            spare
        };
        let let_go = state.voters.difference(target).copied();
        let mut let_go: Vec<u64> = let_go.filter(|&node| node != state.leader).collect();
        // Those who stay for now have to decide.
        let_go.sort_by_key(|&node| state.is_active(node));
        let let_go = let_go.into_iter().take(spare);
        let promoted = ready.iter().map(|&node| Step::AddVoter(node));
        promoted
            .chain(let_go.map(|node| self.let_go(shard, node)))
            .collect()
    }

    fn let_go(&self, shard: u16, node: u64) -> Step {
        let stays = self
            .view
            .nodes
            .get(&node)
            .is_some_and(|node| node.state != NodeState::Removed);
        if shard == 0 && stays {
            Step::AddLearner(node)
        } else {
            Step::Remove(node)
        }
    }

    /// The catalog's shard has a learner wherever it has no voter; others have none but those on their
    /// way.
    fn tend_learners(
        &mut self,
        shard: u16,
        state: &ShardView,
        target: &BTreeSet<u64>,
    ) -> Option<(Step, String)> {
        let fits = |node: &NodeView| node.state != NodeState::Removed;
        for &node in &state.learners {
            let known = self.view.nodes.get(&node);
            let wanted = shard == 0 && known.is_some_and(fits) || target.contains(&node);
            if !wanted {
                return Some((Step::Remove(node), "it is not needed there".into()));
            }
        }
        if shard != 0 {
            return None;
        }
        let missing = self.view.nodes.iter().find(|(node, place)| {
            fits(place)
                && place.up
                && !state.damaged.contains(node)
                && !state.voters.contains(node)
                && !state.learners.contains(node)
        });
        missing.map(|(&node, _)| (Step::AddLearner(node), "every node has the catalog".into()))
    }
}

/// Whether most of those who would decide after these steps can be reached.
fn can_decide(state: &ShardView, steps: &[Step]) -> bool {
    let mut deciding = state.voters.clone();
    for step in steps {
        match step {
            Step::AddVoter(node) => drop(deciding.insert(*node)),
            Step::AddLearner(node) | Step::Remove(node) => drop(deciding.remove(node)),
        }
    }
    #[cfg(feature = "sabotage")]
    if is_planted("change without a majority") {
        return true;
    }
    let reached = deciding.iter().filter(|&&node| state.is_active(node));
    reached.count() > deciding.len() / 2
}
