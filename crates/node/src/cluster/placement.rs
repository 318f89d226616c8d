//! Where replicas should be and what is the next step to get there. Pure: a view in, steps out.
//!
//! A joining node, a dead one, one that is emptied and one with too much are the same case: the members a
//! shard should have differ from those it has. The way there is always the same too: a learner is added, it
//! catches up, then one joint change makes it a voter and lets go of whom it replaces. A copy is never
//! given up before the one that replaces it is a voter that has caught up.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::words::Step;

/// Entries that a learner may be behind to become a voter.
const CAUGHT_UP: u64 = 1_000;
/// Leaders that a node may have more than another before one is moved.
const LEADERS_APART: usize = 2;
/// Copies that a node may have more than another before one is moved.
const COPIES_APART: usize = 2;

/// The cluster at one moment, as the catalog's leader knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Copies each shard should have.
    pub(crate) replicas: usize,
    pub(crate) moves_max: usize,
    /// A node has just come or gone: who leads is not settled yet.
    pub(crate) is_unsettled: bool,
    /// Every shard is in the view: a shard without a leader is missing from its nodes' loads.
    pub(crate) is_complete: bool,
    pub(crate) nodes: BTreeMap<u64, NodeView>,
    /// Only shards whose leader was heard lately.
    pub(crate) shards: BTreeMap<u16, ShardView>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct NodeView {
    pub(crate) host: String,
    pub(crate) zone: String,
    pub(crate) wish: Wish,
    /// Heard lately.
    pub(crate) up: bool,
    /// Silent for longer than the grace time.
    pub(crate) dead: bool,
    /// Its disk is much slower than the others'.
    pub(crate) slow: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    #[default]
    Used,
    Emptied,
    Gone,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ShardView {
    pub(crate) leader: u64,
    pub(crate) term: u64,
    pub(crate) last: u64,
    pub(crate) voters: BTreeSet<u64>,
    pub(crate) learners: BTreeSet<u64>,
    pub(crate) joint: bool,
    /// What the leader knows of the others.
    pub(crate) peers: BTreeMap<u64, PeerView>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PeerView {
    pub(crate) matched: u64,
    pub(crate) active: bool,
    /// It votes, and has lost its state.
    pub(crate) is_blank: bool,
}

/// What to do next with one shard, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) shard: u16,
    pub(crate) leader: u64,
    pub(crate) deed: Deed,
    pub(crate) why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Change(Vec<Step>),
    Transfer(u64),
    /// Nothing to be done but to wait for a learner.
    Wait(u64),
}

/// The next steps: at most one for each shard.
pub(crate) fn plan(view: &View) -> Vec<Action> {
    let mut planner = Planner::new(view);
    let targets = planner.targets();
    let mut actions = Vec::new();
    for (&shard, target) in &targets {
        actions.extend(planner.step(shard, &view.shards[&shard], target));
    }
    if actions.is_empty() && view.is_complete && !view.is_unsettled {
        actions.extend(planner.spread_leaders());
    }
    actions
}

/// Who should vote, and why that differs from who does.
struct Target {
    members: BTreeSet<u64>,
    why: String,
}

struct Planner<'a> {
    view: &'a View,
    /// Copies on each node that counts, as they will be when all that is begun or decided is done.
    load: BTreeMap<u64, usize>,
    /// Shards that each node leads, likewise.
    led: BTreeMap<u64, usize>,
    moves: usize,
}

impl<'a> Planner<'a> {
    fn new(view: &'a View) -> Self {
        let mut load: BTreeMap<u64, usize> = view.nodes.keys().map(|&node| (node, 0)).collect();
        let mut led = load.clone();
        for (&shard, state) in &view.shards {
            for member in members(shard, state) {
                *load.entry(member).or_default() += 1;
            }
            *led.entry(state.leader).or_default() += 1;
        }
        let catching_up = |(&shard, state): (&u16, &ShardView)| {
            let waiting = state
                .learners
                .iter()
                .filter(|&&node| shard != 0 && view.nodes.get(&node).is_some_and(|node| node.up));
            waiting.count()
        };
        let moves = view.shards.iter().map(catching_up).sum();
        Self {
            view,
            load,
            led,
            moves,
        }
    }

    /// Of every shard whose members are not just being changed. First whoever lacks a copy gets one, then
    /// moves that were begun go on, and only when nothing is lacking are others begun.
    fn targets(&mut self) -> BTreeMap<u16, Target> {
        let view = self.view;
        let shards = view.shards.iter().filter(|(_, state)| !state.joint);
        let mut targets: BTreeMap<u16, Target> = shards
            .map(|(&shard, state)| (shard, self.repaired(shard, state)))
            .collect();
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

    fn step(&mut self, shard: u16, state: &ShardView, target: &Target) -> Option<Action> {
        let Target {
            members: target,
            why,
        } = target;
        let action = |deed, why: &str| {
            let leader = state.leader;
            Some(Action {
                shard,
                leader,
                deed,
                why: why.to_owned(),
            })
        };
        // As a voter it counts for nothing and gets nothing; as a learner it is sent a copy, and is promoted.
        if let Some(blank) = blank_voter(state) {
            let why = format!("node {blank} has lost its copy");
            return action(Deed::Change(vec![Step::AddLearner(blank)]), &why);
        }
        let missing: Vec<u64> = target.difference(&state.voters).copied().collect();
        let ready = |node: &u64| state.learners.contains(node) && has_caught_up(state, *node);
        let (ready, late): (Vec<u64>, Vec<u64>) = missing.into_iter().partition(ready);
        // It leads until its successor has a copy, unless it is not to be counted on.
        let must_yield = !target.contains(&state.leader)
            && (late.is_empty() || self.wish(state.leader) == Wish::Gone);
        if must_yield && let Some(heir) = self.heir(state, target) {
            *self.led.entry(heir).or_default() += 1;
            *self.led.entry(state.leader).or_default() -= 1;
            return action(Deed::Transfer(heir), why);
        }
        let steps = self.exchange(shard, state, target, &ready);
        if !steps.is_empty() {
            if !can_decide(state, target, &ready) {
                return None;
            }
            return action(Deed::Change(steps), why);
        }
        if let Some(&new) = late.iter().find(|node| !state.learners.contains(node)) {
            if self.moves >= self.view.moves_max {
                return None;
            }
            self.moves += 1;
            return action(Deed::Change(vec![Step::AddLearner(new)]), why);
        }
        if let Some(&late) = late.first() {
            return action(Deed::Wait(late), why);
        }
        self.tend_learners(shard, state, target)
            .and_then(|(step, why)| action(Deed::Change(vec![step]), &why))
    }

    /// Who of the target leads when its leader has to go: one that leads little.
    fn heir(&self, state: &ShardView, target: &BTreeSet<u64>) -> Option<u64> {
        let able = target.iter().filter(|&&node| self.may_lead(state, node));
        able.copied()
            .min_by_key(|node| (self.led.get(node).copied().unwrap_or(0), *node))
    }

    fn wish(&self, node: u64) -> Wish {
        let known = self.view.nodes.get(&node);
        known.map_or(Wish::Gone, |node| node.wish)
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
        let let_go = state.voters.difference(target).copied();
        let let_go = let_go.filter(|&node| node != state.leader).take(spare);
        let promoted = ready.iter().map(|&node| Step::AddVoter(node));
        promoted
            .chain(let_go.map(|node| self.let_go(shard, node)))
            .collect()
    }

    /// The voters without those that cannot be used, and with as many others as are wanted.
    fn repaired(&mut self, shard: u16, state: &ShardView) -> Target {
        let view = self.view;
        let placeable = view.nodes.values().filter(|node| node.wish == Wish::Used);
        let wanted = view.replicas.min(placeable.count()).max(1);
        let usable = |node: &u64| {
            let known = view.nodes.get(node);
            known.is_some_and(|node| node.wish == Wish::Used && !node.dead)
        };
        let mut target: BTreeSet<u64> = state.voters.iter().copied().filter(usable).collect();
        let mut why = String::from("too few copies");
        if let Some(lost) = state.voters.iter().find(|node| !usable(node)) {
            why = self.reason(*lost);
        }
        // A learner that is on its way stays the choice.
        let mut candidates: Vec<u64> = view.nodes.keys().copied().filter(usable).collect();
        candidates.retain(|node| !target.contains(node) && view.nodes[node].up);
        while target.len() < wanted && !candidates.is_empty() {
            let best = self.best(state, &target, &candidates);
            candidates.retain(|&node| node != best);
            target.insert(best);
            if !state.learners.contains(&best) || shard == 0 {
                *self.load.entry(best).or_default() += 1;
            }
        }
        // Who is silent but cannot be replaced yet keeps its place.
        for &node in &state.voters {
            let known = view.nodes.get(&node);
            let silent = known.is_some_and(|node| node.wish == Wish::Used && node.dead);
            if target.len() < wanted && silent {
                target.insert(node);
            }
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

    fn reason(&self, node: u64) -> String {
        match self.view.nodes.get(&node).map(|node| node.wish) {
            Some(Wish::Emptied) => format!("node {node} is being emptied"),
            Some(Wish::Used) => format!("node {node} has been silent for too long"),
            _ => format!("node {node} is gone"),
        }
    }

    /// The candidate that is farthest from those chosen, then one that has a copy on its way, then the
    /// one with the fewest copies.
    fn best(&self, state: &ShardView, chosen: &BTreeSet<u64>, candidates: &[u64]) -> u64 {
        let rank = |&node: &u64| {
            let learner = state.learners.contains(&node);
            (
                self.crowding(node, chosen),
                !learner,
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
            (
                node != state.leader,
                self.crowding(node, &others),
                self.load_of(node),
                node,
            )
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
    fn begun(&mut self, shard: u16) -> Option<Target> {
        let state = &self.view.shards[&shard];
        if shard == 0 {
            return None; // Its learners are everywhere, and on their way to nothing.
        }
        let fits = |node: &&u64| {
            let place = self.view.nodes.get(node);
            place.is_some_and(|place| place.wish == Wish::Used && place.up)
        };
        let to = *state.learners.iter().find(fits)?;
        let enough = self.load_of(to);
        let allowed =
            |&&from: &&u64| self.load_of(from) >= enough && self.may_replace(state, from, to);
        let rank = |&&from: &&u64| (self.load_of(from), from != state.leader, from);
        let from = *state.voters.iter().filter(allowed).max_by_key(rank)?;
        *self.load.entry(from).or_default() -= 1;
        Some(exchanged(state, from, to))
    }

    /// The move that evens out most, of those that can be begun.
    fn rebalanced(&mut self, shards: &[u16]) -> Option<(u16, Target)> {
        let view = self.view;
        let open = view
            .nodes
            .iter()
            .filter(|(_, place)| place.wish == Wish::Used && place.up);
        let open: Vec<u64> = open.map(|(&node, _)| node).collect();
        let mut best = None;
        for &shard in shards {
            let state = &view.shards[&shard];
            for &from in &state.voters {
                for &to in open.iter().filter(|node| !state.voters.contains(node)) {
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
        Some((shard, exchanged(&view.shards[&shard], from, to)))
    }

    /// Whether the copies stand no closer together then.
    fn may_replace(&self, state: &ShardView, from: u64, to: u64) -> bool {
        let others = state.voters.iter().copied().filter(|&node| node != from);
        let others = others.collect();
        self.crowding(to, &others) <= self.crowding(from, &others)
    }

    fn load_of(&self, node: u64) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }

    /// The catalog's shard has a learner wherever it has no voter; others have none but those on their
    /// way.
    fn tend_learners(
        &mut self,
        shard: u16,
        state: &ShardView,
        target: &BTreeSet<u64>,
    ) -> Option<(Step, String)> {
        let fits = |node: &NodeView| node.wish != Wish::Gone;
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
                && !state.voters.contains(node)
                && !state.learners.contains(node)
        });
        missing.map(|(&node, _)| (Step::AddLearner(node), "every node has the catalog".into()))
    }

    fn let_go(&self, shard: u16, node: u64) -> Step {
        let stays = self
            .view
            .nodes
            .get(&node)
            .is_some_and(|node| node.wish != Wish::Gone);
        if shard == 0 && stays {
            Step::AddLearner(node)
        } else {
            Step::Remove(node)
        }
    }

    fn may_lead(&self, state: &ShardView, node: u64) -> bool {
        let place = self.view.nodes.get(&node);
        state.voters.contains(&node)
            && node != state.leader
            && place.is_some_and(|place| place.up && place.wish == Wish::Used && !place.slow)
            && has_caught_up(state, node)
    }

    /// One leader moves from the node that leads most, or from one that should not lead.
    fn spread_leaders(&self) -> Option<Action> {
        let view = self.view;
        let led = &self.led;
        let unfit = |node: u64| {
            let place = view.nodes.get(&node);
            place.is_none_or(|place| place.wish != Wish::Used || place.slow)
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
            deed: Deed::Transfer(heir),
            why,
        })
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

fn has_caught_up(state: &ShardView, node: u64) -> bool {
    let peer = state.peers.get(&node);
    peer.is_some_and(|peer| {
        peer.active && peer.matched + CAUGHT_UP >= state.last && peer.matched > 0
    })
}

/// A voter without state that the others can do without: they decide about it alone.
fn blank_voter(state: &ShardView) -> Option<u64> {
    let is_blank = |node: &u64| state.peers.get(node).is_some_and(|peer| peer.is_blank);
    let sound = state.voters.iter().filter(|node| !is_blank(node));
    let reached = sound.filter(|&&node| is_active(state, node)).count();
    let blank = state.voters.iter().copied().find(is_blank);
    blank.filter(|_| reached > state.voters.len() / 2)
}

fn is_active(state: &ShardView, node: u64) -> bool {
    node == state.leader || state.peers.get(&node).is_some_and(|peer| peer.active)
}

/// Whether most of those who would decide can be reached.
fn can_decide(state: &ShardView, target: &BTreeSet<u64>, ready: &[u64]) -> bool {
    let staying = state.voters.intersection(target);
    let deciding: BTreeSet<u64> = staying.chain(ready).copied().collect();
    let reached = deciding.iter().filter(|&&node| is_active(state, node));
    reached.count() > deciding.len() / 2
}

/// Those whose copies count for a node's load: the catalog's learners are everywhere.
fn members(shard: u16, state: &ShardView) -> impl Iterator<Item = u64> {
    let learners = state.learners.iter().filter(move |_| shard != 0);
    state.voters.iter().chain(learners).copied()
}

#[cfg(test)]
mod tests;
