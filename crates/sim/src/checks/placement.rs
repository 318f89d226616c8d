//! What placement decides: it never gives up a copy that is wanted before another is there, never leads to voters of whom
//! no majority answers, has no more copies on their way than it may, and comes to an end.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::command::{NodeRecord, NodeState};
use anser_host::{ActionKind, Decided, Policy, ShardView, Step};

use super::Checks;

/// Changes of one shard's voters that are enough to repair it and to even it out, once nothing fails any more.
const CHANGES_IN_PEACE: u64 = 8;
/// Leaders of one shard that are moved away in peace, at most: from a node that is let go of or was slow, with a copy, and to
/// even them out.
const MOVES_IN_PEACE: usize = 4;

/// What the node knows that decides.
pub(crate) struct Known<'a> {
    pub(crate) shards: &'a BTreeMap<u16, ShardView>,
    pub(crate) members: &'a BTreeMap<u64, NodeRecord>,
    /// Nodes that were heard lately.
    pub(crate) up: BTreeSet<u64>,
    pub(crate) policy: Policy,
    /// Copies that made no progress for as long as a silent node is waited for: they hold up no others.
    pub(crate) stalled: BTreeSet<(u16, u64)>,
    /// Nothing fails any more, and nobody wants anything else.
    pub(crate) is_peace: bool,
}

impl Known<'_> {
    fn state_of(&self, node: u64) -> NodeState {
        let known = self.members.get(&node);
        known.map_or(NodeState::Removed, |node| node.state)
    }

    /// Copies that each shard should have.
    fn wanted(&self) -> usize {
        let states = self.members.values().map(|node| node.state);
        let placeable = states.filter(|state| *state == NodeState::Active).count();
        self.policy.replicas.min(placeable).max(1)
    }

    /// Whether a node's copy is none to count on: the node is gone for ever, or has lost it, or something of it is damaged.
    fn has_no_copy(&self, shard: &ShardView, node: u64) -> bool {
        if shard.damaged.contains(&node) {
            return true;
        }
        let is_blank = shard.peers.get(&node).is_some_and(|peer| peer.is_blank);
        is_blank || self.state_of(node) == NodeState::Removed
    }
}

impl Checks {
    /// The most changes of one shard's voters in peace, of those that there may be.
    pub(crate) fn changes_in_peace(&self) -> (u64, u64) {
        let most = self.changes_in_peace.values().max();
        (most.copied().unwrap_or(0), CHANGES_IN_PEACE)
    }

    /// The most leaders of one shard that were moved away in peace, of those that there may be.
    pub(crate) fn moves_in_peace(&self) -> (usize, usize) {
        let most = self.moves_in_peace.values().map(BTreeSet::len).max();
        (most.unwrap_or(0), MOVES_IN_PEACE)
    }

    /// An order that was lost is given again, so the terms count of those that were told to go.
    fn leaders_moved(&mut self, by: u64, decided: &Decided, known: &Known<'_>) {
        if !known.is_peace {
            return;
        }
        for action in &decided.actions {
            let ActionKind::Transfer(to) = action.kind else {
                continue;
            };
            let terms = self.moves_in_peace.entry(action.shard).or_default();
            terms.insert(known.shards[&action.shard].term);
            if terms.len() > MOVES_IN_PEACE {
                let terms = terms.clone();
                self.fail(format!(
                    "node {by}: shard {} goes from node {} to node {to}, for {}, and again and again, in terms {terms:?}: placement does not end",
                    action.shard, action.leader, action.why
                ));
            }
        }
    }

    pub(crate) fn decided(&mut self, by: u64, decided: &Decided, known: &Known<'_>) {
        self.leaders_moved(by, decided, known);
        let changes = decided.actions.iter().filter_map(|action| {
            let ActionKind::Change(steps) = &action.kind else {
                return None;
            };
            Some((action.shard, &known.shards[&action.shard], steps))
        });
        let mut begun = 0;
        for (number, shard, steps) in changes {
            let after = voters_after(&shard.voters, steps);
            let mut given_up = shard.voters.difference(&after);
            let gives_up = given_up.any(|&node| !known.has_no_copy(shard, node));
            if gives_up && after.len() < shard.voters.len() && after.len() < known.wanted() {
                self.fail(format!(
                    "node {by}: {steps:?} leave shard {number} {after:?} of {:?}, {} copies are wanted",
                    shard.voters,
                    known.wanted()
                ));
            }
            let answer = after.iter().filter(|&&node| shard.is_active(node)).count();
            if after != shard.voters && answer * 2 <= after.len() {
                self.fail(format!(
                    "node {by}: {steps:?} lead shard {number} to {after:?}, of whom {answer} answer"
                ));
            }
            if known.is_peace && after != shard.voters {
                let changes = self.changes_in_peace.entry(number).or_default();
                *changes += 1;
                if *changes > CHANGES_IN_PEACE {
                    self.fail(format!(
                        "node {by}: {steps:?} of shard {number} with {:?}, and again and again: placement does not end",
                        shard.voters
                    ));
                }
            }
            let begins = match steps[..] {
                [Step::AddLearner(_)] => true,
                // Its node will need a copy, and until then the shard has a voter less.
                [Step::Remove(node)] => {
                    let votes = shard.voters.contains(&node) && shard.is_active(node);
                    votes && shard.damaged.contains(&node)
                }
                _ => false,
            };
            begun += usize::from(number != 0 && begins);
        }
        let shards = known.shards.iter().filter(|(number, _)| **number != 0);
        let learners = shards.flat_map(|(number, shard)| {
            let sound = shard.learners.difference(&shard.damaged);
            sound.filter(|&&node| !known.stalled.contains(&(*number, node)))
        });
        let under_way = learners.filter(|node| known.up.contains(node)).count();
        if begun > 0 && begun + under_way > known.policy.moves_max {
            self.fail(format!(
                "node {by}: {begun} copies are begun, {under_way} are on their way, {} may be",
                known.policy.moves_max
            ));
        }
    }
}

/// The voters that steps lead to.
pub(crate) fn voters_after(voters: &BTreeSet<u64>, steps: &[Step]) -> BTreeSet<u64> {
    let mut voters = voters.clone();
    for step in steps {
        match step {
            Step::AddVoter(node) => drop(voters.insert(*node)),
            Step::AddLearner(node) | Step::Remove(node) => drop(voters.remove(node)),
        }
    }
    voters
}
