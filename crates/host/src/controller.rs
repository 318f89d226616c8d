//! Looks at the cluster where the catalog is led: makes a view of what was heard, and orders of what placement plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anser_broker::command::{NodeRecord, NodeState};

use crate::{
    comparing,
    order::Order,
    placement::{
        self, Action, ActionKind, Disputes, NodeView, Replacements, ShardView, Stalls, Tenures,
        View,
    },
    reports::{Reports, SILENCE},
};

/// How long after a node came or went leaders are not spread: reports are older than elections.
const SETTLING: Duration = Duration::from_secs(2);

/// What the operator has asked of placement.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub replicas: usize,
    pub moves_max: usize,
    pub grace: Duration,
    /// What a copy leaves free on a disk.
    pub reserve_bytes: u64,
}

/// What one node knows of the cluster at one moment, by a clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub struct Knowledge<'a> {
    pub now: Duration,
    /// Shards of the whole cluster.
    pub shards: u16,
    /// All nodes that ever were members.
    pub members: &'a BTreeMap<u64, NodeRecord>,
    pub reports: &'a Reports,
}

/// What was decided at one look.
#[derive(Debug, Default)]
pub struct Decided {
    pub actions: Vec<Action>,
    /// By the node that is to follow them.
    pub orders: Vec<(u64, Order)>,
}

#[derive(Debug)]
pub struct Controller {
    policy: Policy,
    /// Since when this node has listened as the one that decides: before, silence says nothing.
    since: Option<Duration>,
    looked: Duration,
    /// The nodes that were up at the last look, and since when these.
    up: (BTreeSet<u64>, Duration),
    tenures: Tenures,
    replacements: Replacements,
    disputes: Disputes,
    stalls: Stalls,
}

impl Controller {
    pub fn new(policy: Policy, now: Duration) -> Self {
        Self {
            policy,
            since: None,
            looked: now,
            up: (BTreeSet::new(), now),
            tenures: Tenures::default(),
            replacements: Replacements::default(),
            disputes: Disputes::default(),
            stalls: Stalls::default(),
        }
    }

    /// Takes a look on a node that does not decide, so that it knows what has happened before it does.
    pub fn watch(&mut self, known: Knowledge<'_>) {
        self.since = None;
        self.follow(known, &known.reports.shards(known.now));
    }

    /// How many copies of shards, of any nodes, have been replaced so often that they are not any more.
    pub fn given_up(&self) -> usize {
        self.replacements.given_up().len()
    }

    /// Copies of shards that were begun on nodes and made no progress.
    pub fn stalled(&self) -> BTreeSet<(u16, u64)> {
        self.stalls.all()
    }

    fn follow(&mut self, known: Knowledge<'_>, shards: &BTreeMap<u16, ShardView>) {
        let Knowledge { now, members, .. } = known;
        self.tenures.look(shards, now);
        self.replacements.look(shards, now);
        self.stalls.look(shards, self.policy.grace, now);
        // A person who has a node emptied has decided for the others, and so has a majority that is not heard any more.
        let counts = |shard: u16, node: u64| {
            let record = members.get(&node);
            let stays = record.is_some_and(|record| record.state == NodeState::Active);
            stays && !self.disputes.is_wrong(shard, node)
        };
        let disputes = comparing::disputes(known.reports, shards, now, counts);
        self.disputes.look(shards, disputes, now);
    }

    /// Takes a look, on the node that leads the catalog.
    pub fn look(&mut self, known: Knowledge<'_>) -> Decided {
        let view = self.view(known);
        let actions = placement::plan(&view);
        for action in &actions {
            if matches!(action.kind, ActionKind::Transfer(_)) {
                self.tenures.told(action.shard, known.now);
            }
        }
        let mut orders: Vec<(u64, Order)> = actions.iter().filter_map(order_of).collect();
        orders.extend(clear_away(known.reports, &view));
        Decided { actions, orders }
    }

    fn view(&mut self, known: Knowledge<'_>) -> View {
        let since = self.listening_since(known.now);
        let shards = known.reports.shards(known.now);
        self.follow(known, &shards);
        let members = known.members.iter();
        let nodes: BTreeMap<u64, NodeView> = members
            .map(|(&number, record)| (number, self.node_view(number, record, known, since)))
            .collect();
        View {
            replicas: self.policy.replicas,
            moves_max: self.policy.moves_max,
            reserve_bytes: self.policy.reserve_bytes,
            is_unsettled: self.is_unsettled(&nodes, known.now),
            is_complete: shards.len() == usize::from(known.shards),
            nodes,
            shards,
            restless: self.tenures.restless(known.now),
            told: self.tenures.told_lately(known.now),
            resting: self.replacements.resting(self.policy.grace, known.now),
            given_up: self.replacements.given_up(),
            stalled: self.stalls.all(),
            differing: self.disputes.differing(),
            undecided: self.disputes.undecided(),
        }
    }

    /// A node that did not look, because it slept or did not decide, has heard nobody meanwhile.
    fn listening_since(&mut self, now: Duration) -> Duration {
        let has_slept = now.saturating_sub(self.looked) >= SILENCE;
        self.looked = now;
        let since = self.since.filter(|_| !has_slept).unwrap_or(now);
        self.since = Some(since);
        since
    }

    fn node_view(
        &self,
        number: u64,
        record: &NodeRecord,
        known: Knowledge<'_>,
        since: Duration,
    ) -> NodeView {
        let heard = known.reports.of(number);
        let listened = known.now.saturating_sub(since);
        let silent = heard.map_or(listened, |heard| {
            known.now.saturating_sub(heard.at).min(listened + SILENCE)
        });
        NodeView {
            host: record.host.clone(),
            zone: record.zone.clone(),
            state: record.state,
            up: heard.is_some_and(|heard| heard.is_recent(known.now)),
            dead: silent > self.policy.grace,
            unfit: heard.and_then(|heard| heard.report.unfit_to_lead()),
            full: heard.is_some_and(|heard| heard.report.full),
            free_bytes: heard.map_or(0, |heard| heard.report.free_bytes),
        }
    }

    fn is_unsettled(&mut self, nodes: &BTreeMap<u64, NodeView>, now: Duration) -> bool {
        let up = nodes.iter().filter(|(_, node)| node.up);
        let up: BTreeSet<u64> = up.map(|(&node, _)| node).collect();
        if up != self.up.0 {
            self.up = (up, now);
        }
        now.saturating_sub(self.up.1) < SETTLING
    }
}

fn order_of(action: &Action) -> Option<(u64, Order)> {
    let shard = action.shard;
    let order = match &action.kind {
        ActionKind::Wait(_) | ActionKind::Hold => return None,
        ActionKind::Change(steps) => Order::Change {
            shard,
            steps: steps.clone(),
        },
        ActionKind::Transfer(to) => Order::Transfer { shard, to: *to },
    };
    Some((action.leader, order))
}

/// Replicas that their shards' members have let go of are taken off the disks they are on, once most of the voters know
/// that these are the members.
///
/// Otherwise: 1. Leader A of {A, B, X} applies a change to {A, B, Z}, of which B and Z do not hear. 2. X lets go of its
/// replica, and A's machine is lost. 3. B still counts {A, B, X}; X knows nothing and gives no vote, and Z is no voter by
/// what it knows: two of three members are well, and nobody can be elected.
fn clear_away(reports: &Reports, view: &View) -> Vec<(u64, Order)> {
    let mut orders = Vec::new();
    for (node, heard) in reports.all() {
        for replica in &heard.report.replicas {
            let Some(shard) = view.shards.get(&replica.shard) else {
                continue;
            };
            let is_member = shard.voters.contains(&node) || shard.learners.contains(&node);
            if !is_member && !shard.joint && most_know(reports, replica.shard, shard) {
                let order = Order::Forget {
                    shard: replica.shard,
                    decided: shard.applied,
                };
                orders.push((node, order));
            }
        }
    }
    orders
}

/// Whether most of a shard's voters have applied the change to its present members, as they say themselves.
fn most_know(reports: &Reports, number: u16, shard: &ShardView) -> bool {
    let knows = |voter: &&u64| {
        let heard = reports.all().find(|(node, _)| node == *voter);
        let replicas = heard.map_or(&[][..], |(_, heard)| &heard.report.replicas);
        let mut replica = replicas.iter().filter(|replica| replica.shard == number);
        replica.any(|replica| replica.applied >= shard.settled_at)
    };
    shard.voters.iter().filter(knows).count() * 2 > shard.voters.len()
}

#[cfg(test)]
mod tests;
