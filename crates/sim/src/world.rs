//! A whole cluster: its nodes, its network, its clients, and what goes wrong.

mod aims;
mod budget;
mod common;
mod damage;
mod disk_errors;
mod faults;
mod homes;
mod human;
mod nodes;
mod old_copies;
mod programs;
mod quorum;
mod watching;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::version::ClusterVersion;

use crate::{
    client::Clients,
    event::{Event, MILLISECOND, Micros, Relief, SECOND},
    plan::{Fault, Plan},
};

pub(crate) use common::Common;
pub use common::Statistics;
use human::Human;
use nodes::Node;
use old_copies::OldCopies;
use programs::Programs;

/// After the chaos: how long until every shard has a leader, ten election timeouts.
const LEADER_WITHIN: Micros = 14 * SECOND;
/// After the chaos: how long until everything sent has been received and deleted.
const DRAINED_WITHIN: Micros = 120 * SECOND;

pub(crate) struct World {
    pub(crate) common: Common,
    nodes: BTreeMap<u64, Node>,
    clients: Clients,
    human: Human,
    old_copies: OldCopies,
    programs: Programs,
    /// Nodes whose durable copies may be lost: destroyed, damaged or suspect.
    destroyed: BTreeSet<u64>,
    /// Shards that have lost their quorum for good.
    ruined: BTreeSet<u16>,
    ruined_at: Micros,
    /// Shards that have lost it, or may have, by a change that came too late to be stopped.
    unlucky: BTreeSet<u16>,
    /// Shards that have had a leader since then.
    led_again: BTreeSet<u16>,
}

impl World {
    pub(crate) fn new(plan: Plan, prints: bool) -> Self {
        let mut common = Common::new(plan, prints);
        let clients = Clients::new(&common.plan);
        let human = Human::new(&common.plan);
        let programs = Programs::new(&common.plan);
        common.network.latency = 300;
        let mut world = Self {
            common,
            nodes: BTreeMap::new(),
            clients,
            human,
            old_copies: OldCopies::default(),
            programs,
            destroyed: BTreeSet::new(),
            ruined: BTreeSet::new(),
            ruined_at: 0,
            unlucky: BTreeSet::new(),
            led_again: BTreeSet::new(),
        };
        world.set_network();
        let first = world.new_machine();
        world.add_node(1, first, ClusterVersion::FIRST, BTreeMap::new());
        for _ in 1..world.common.plan.nodes {
            world.get_machine();
        }
        world.plan_events();
        world
    }

    fn set_network(&mut self) {
        let Common {
            network,
            plan,
            random,
            ..
        } = &mut self.common;
        network.latency = random.between(100, 2_000);
        if plan.has(Fault::Latency) {
            network.latency = random.between(2_000, 60_000);
        }
        if plan.has(Fault::Drops) {
            network.drops = random.between(5, 200);
        }
        if plan.has(Fault::Doubles) {
            network.doubles = random.between(5, 50);
        }
        network.reorders = plan.has(Fault::Reordering);
        self.common.lost_answers = if self.common.plan.has(Fault::Drops) {
            30
        } else {
            0
        };
    }

    fn plan_events(&mut self) {
        let Common { agenda, plan, .. } = &mut self.common;
        for client in 0..plan.clients {
            let at = 500 * MILLISECOND + client as u64 * 1_000;
            agenda.add(at, Event::Client { client });
        }
        agenda.add(200 * MILLISECOND, Event::Operator);
        agenda.add(SECOND, Event::Inspection);
        agenda.add(plan.chaos, Event::Heal);
        if !plan.is_calm() {
            agenda.add(3 * SECOND, Event::Fault);
        }
    }

    /// Runs until the end, or to the first failure.
    pub(crate) fn run(&mut self) {
        while let Some((at, event)) = self.common.agenda.next() {
            self.common.now = at;
            self.common.statistics.events += 1;
            self.handle(event);
            if !self.common.checks.failures().is_empty() || self.is_over() {
                return;
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let Some(healed) = self.common.healed else {
            return false;
        };
        let doubt = if self.clients.are_done() {
            let Some(doubt) = self.lasting_doubt() else {
                // That nobody serves what has no quorum is seen only later.
                return self.ruined.is_empty()
                    || self.common.now > healed + LEADER_WITHIN + 3 * SECOND;
            };
            Some(doubt)
        } else {
            None
        };
        if self.common.now > healed + DRAINED_WITHIN {
            let complaint = doubt.unwrap_or_else(|| self.clients.complaint());
            let text = format!("no liveness: after the chaos {complaint}");
            self.common.checks.fail(text);
        }
        false
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Node { node, life, what } => self.node_event(node, life, what),
            Event::Start { node } => self.start(node),
            Event::End { node, life, stop } => self.end(node, life, stop),
            Event::Client { client } => self.clients.act(client, &mut self.common),
            Event::Patience { client, request } => {
                self.clients.give_up(client, request, &mut self.common);
            }
            Event::Response { request, response } if request >= common::OWN_REQUESTS => {
                self.answered(request, &response);
            }
            Event::Response { request, response } => {
                self.clients.hear(request, &response, &mut self.common);
            }
            Event::Fault => self.strike(),
            Event::Relief(relief) => self.relieve(relief),
            Event::Operator => self.operate(),
            Event::Inspection => self.inspect(),
            Event::Heal => self.heal(),
        }
    }

    fn relieve(&mut self, relief: Relief) {
        match relief {
            Relief::Links(links) => {
                for link in links {
                    self.common.network.cut.remove(&link);
                }
            }
            Relief::Pause { node } => self.resume(node),
            Relief::Disk { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.relieve(&mut self.common);
                }
            }
        }
    }

    /// Slow checks, and those of liveness.
    fn inspect(&mut self) {
        let next = self.common.now + 2 * SECOND;
        self.common.agenda.add(next, Event::Inspection);
        for node in self.nodes.values_mut() {
            if let Some(process) = &mut node.process {
                for (shard, _) in process.replicas() {
                    process.hash_state(shard, &mut self.common);
                    process.tell_time(shard, &mut self.common);
                }
                process.check_bounds(&mut self.common);
            }
        }
        if let Some(healed) = self.common.healed {
            let Common {
                now, checks, lives, ..
            } = &mut self.common;
            checks.differing_is_mended(healed, |node| lives.contains_key(&node), *now);
        }
        self.note_healed();
        self.watch_members();
        self.watch_homes();
        self.note_starts();
        self.watch_ruin();
        let (changes, most) = self.common.checks.changes_in_peace();
        let taken = changes * 100 / most;
        let statistics = &mut self.common.statistics;
        statistics.note("changes of a shard's voters in peace", taken);
        let (moves, most) = self.common.checks.moves_in_peace();
        let taken = u64::try_from(moves * 100 / most).expect("a small share");
        statistics.note("leaders of a shard moved in peace", taken);
        let Some(healed) = self.common.healed else {
            return;
        };
        for shard in 0..self.common.plan.shards {
            if self.leader(shard).is_some() {
                self.led_again.insert(shard);
            }
        }
        if self.common.now <= healed + LEADER_WITHIN {
            return;
        }
        let may_stand_still = self.ruined.union(&self.unlucky);
        let excused: BTreeSet<u16> = may_stand_still.chain(&self.led_again).copied().collect();
        let mut shards = 0..self.common.plan.shards;
        if !shards.all(|shard| excused.contains(&shard)) {
            let text = format!("no liveness: only {:?} have had a leader", self.led_again);
            self.common.checks.fail(text);
        }
        self.check_ruined();
    }

    /// How everything is, for whoever reads the trace.
    pub(crate) fn describe(&mut self) {
        for (number, node) in &self.nodes {
            let Some(process) = &node.process else {
                continue;
            };
            let paused = node.paused_until > self.common.now;
            for (shard, replica) in process.replicas() {
                let status = replica.status();
                let serves = replica.serves();
                let times = process.times(shard, self.common.now);
                self.common.trace.say(self.common.now, || {
                    format!(
                        "node {number} (paused: {paused}) shard {shard} serves: {serves} {times} {status:?}"
                    )
                });
            }
        }
    }

    /// The clients' history, for the judge, and the queues of which it is not asked that nothing is missing.
    pub(crate) fn into_history(self) -> (anser_check::History, BTreeSet<String>, Common) {
        let Common {
            plan,
            now,
            lost_receives,
            checks,
            ..
        } = &self.common;
        let ruined = self.clients.queues_given_up();
        let leaps = checks.leaps();
        let history = self.clients.into_history(plan, *now, lost_receives, leaps);
        (history, ruined, self.common)
    }
}
