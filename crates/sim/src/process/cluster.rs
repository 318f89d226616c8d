//! This node among the others: who they are, how each says it is, and what placement decides where the catalog is led.
//! `anser-host` says how; here are the moments and the network.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    codec,
    command::{Command, NodeStart, NodeState},
    id::ShardId,
    version::ClusterVersion,
};
use anser_host::{
    ActionKind, Agreement, CatalogNodes, Controller, Decided, Fitness, Knowledge, Members,
    NodeReport, Order, Peer, Policy, REPORT_GATHERING, REPORT_INTERVAL, ReplicaReport, Reports,
    Stranger, SyncTimes, Visitor, differences,
};

use super::{Process, copies};
use crate::{
    checks::placement::{Known, voters_after},
    coverage::sometimes,
    event::{Ask, Event, Happening, MILLISECOND, Micros, Request, SECOND, micros},
    world::Common,
};

/// How long to leave the catalog alone after it could not be told of this node.
const RETRY_INTERVAL: Micros = SECOND;

/// Which node a disk is, and what is written there of the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) incarnation: [u8; 16],
    pub(crate) start: NodeStart,
    /// The catalog has heard of that start, so that the next one takes another number.
    pub(crate) start_is_known: bool,
    /// The version of the cluster when it was heard last.
    pub(crate) cluster_version: ClusterVersion,
    pub(crate) zone: String,
    /// Those that were known at the last run, for as long as the catalog has not been heard.
    pub(crate) earlier: BTreeMap<u64, Peer>,
}

pub(super) struct Cluster {
    identity: Identity,
    pub(super) members: Members,
    pub(super) reports: Reports,
    pub(super) agreement: Agreement,
    controller: Controller,
    policy: Policy,
    syncs: SyncTimes,
    fitness: Fitness,
    /// How many syncs there were, and how long they took.
    synced: (u64, Micros),
    hurries: bool,
    /// The cluster has let go of this node.
    is_let_go: bool,
}

impl Cluster {
    pub(super) fn new(identity: Identity, policy: Policy, now: &anser_host::Now) -> Self {
        Self {
            members: Members::new(identity.earlier.clone()),
            identity,
            reports: Reports::default(),
            agreement: Agreement::default(),
            controller: Controller::new(policy, now.beat),
            policy,
            syncs: SyncTimes::default(),
            fitness: Fitness::default(),
            synced: (0, 0),
            hurries: false,
            is_let_go: false,
        }
    }

    pub(super) fn synced(&mut self, length: Micros) {
        self.synced = (self.synced.0 + 1, self.synced.1 + length);
    }
}

impl Process {
    pub(super) fn begin_among_nodes(&mut self, common: &mut Common) {
        if let Some(catalog) = self.replica(0) {
            let (nodes, version) = (catalog.shard().nodes(), catalog.shard().version());
            self.nodes_changed(CatalogNodes { nodes, version }, common);
        }
        self.dial(common);
        let first = common.random.below(micros(REPORT_INTERVAL));
        common.later(self.node, self.life, first, Happening::Report);
        let first = common.random.below(100 * MILLISECOND);
        common.later(self.node, self.life, first, Happening::Register);
    }

    pub(super) fn take_among_nodes(&mut self, what: Happening, common: &mut Common) {
        match what {
            Happening::Report => self.report_and_decide(common),
            Happening::ReportUrgently => self.report_urgently(common),
            Happening::Heard { report } => self.heard(report, common),
            Happening::Dialled { visitor, from_life } => {
                self.dialled(&visitor, from_life, common);
            }
            Happening::TurnedAway { stranger } => self.turned_away(stranger, common),
            Happening::Register => self.register(common),
            Happening::Order { order } => self.order(order, common),
            Happening::Leave => {
                sometimes("a node gave its leaderships away before it ended");
                self.leaves = true;
                self.report_urgently(common);
                self.tell(anser_host::Event::Leave, common);
            }
            other => unreachable!("taken elsewhere: {other:?}"),
        }
    }

    /// The other nodes that this one speaks to.
    pub(crate) fn others(&self) -> BTreeMap<u64, Peer> {
        let mut peers = self.cluster.members.peers();
        peers.remove(&self.node);
        peers
    }

    /// Connects to those to whom there is no connection.
    fn dial(&self, common: &mut Common) {
        let identity = &self.cluster.identity;
        for to in self.others().into_keys() {
            let visitor = Visitor {
                node: self.node,
                incarnation: identity.incarnation,
                start: identity.start,
                address: address_of(self.node),
            };
            let Some(&life) = common.lives.get(&to) else {
                continue;
            };
            if common.network.is_linked(self.node, to) {
                continue;
            }
            let (network, random) = (&mut common.network, &mut common.random);
            if let Some(at) = network.dial(self.node, to, common.now, random) {
                let (node, from_life) = (to, self.life);
                let what = Happening::Dialled { visitor, from_life };
                common.agenda.add(at, Event::Node { node, life, what });
            }
        }
    }

    /// Another node wants to connect.
    fn dialled(&mut self, visitor: &Visitor, from_life: u64, common: &mut Common) {
        let from = visitor.node;
        if common.lives.get(&from) != Some(&from_life) {
            return;
        }
        let members = &mut self.cluster.members;
        match members.judge(from, visitor.incarnation, visitor.start) {
            Ok(()) => {
                common.network.link(from, self.node);
                let known = members.all().get(&from).map(|known| known.start);
                common.checks.let_in(self.node, from, known);
                if members.all().is_empty() && !members.peers().contains_key(&from) {
                    sometimes("a node without the catalog heard of another by its visit");
                }
                if members.hear(visitor) {
                    self.dial(common);
                }
            }
            Err(stranger) => {
                let at = common.now + common.network.client_delay(&mut common.random);
                let what = Happening::TurnedAway { stranger };
                let (node, life) = (from, from_life);
                common.agenda.add(at, Event::Node { node, life, what });
            }
        }
    }

    /// Another node does not take this one for a member.
    fn turned_away(&mut self, stranger: Stranger, common: &mut Common) {
        match stranger {
            Stranger::Removed => {
                sometimes("a node heard that it was removed");
                self.let_go("another node says so");
            }
            Stranger::FormerStart => {
                common.checks.refused_by_start(self.node);
                self.let_go("its disk is an old copy");
            }
            // It may not have heard of this node yet.
            Stranger::Unknown | Stranger::FormerIncarnation => {}
        }
    }

    fn let_go(&mut self, why: &str) {
        self.cluster.is_let_go = true;
        self.fail(format!("it is let go of: {why}"));
    }

    /// What this node's copy of the catalog says of a node.
    pub(crate) fn state_of(&self, node: u64) -> Option<NodeState> {
        self.cluster.members.all().get(&node).map(|node| node.state)
    }

    /// The start of a node that this node's copy of the catalog names.
    pub(crate) fn start_of(&self, node: u64) -> Option<NodeStart> {
        self.cluster.members.all().get(&node).map(|node| node.start)
    }

    /// Whether the cluster has let go of this node, as far as it has heard.
    pub(crate) fn is_let_go(&self) -> bool {
        self.cluster.is_let_go
    }

    /// How many nodes may be given copies, as far as this one has heard; `None` if it has heard of none.
    pub(crate) fn placeable(&self) -> Option<usize> {
        let members = self.cluster.members.all().values();
        let active = members
            .filter(|node| node.state == NodeState::Active)
            .count();
        (active > 0).then_some(active)
    }

    pub(crate) fn policy(&self) -> Policy {
        self.cluster.policy
    }

    /// Whether every shard could decide to let go of a node without asking it.
    pub(crate) fn can_spare(&self, node: u64, common: &Common) -> bool {
        let now = self.clock.now(common.now).beat;
        self.cluster
            .reports
            .can_spare(node, &self.removed(), common.plan.shards, now)
    }

    /// The nodes that were removed, as far as this one has heard.
    pub(crate) fn removed(&self) -> BTreeSet<u64> {
        self.cluster.members.removed()
    }

    /// This node's copy of the catalog says so of the nodes.
    pub(super) fn nodes_changed(&mut self, catalog: CatalogNodes, common: &mut Common) {
        self.rise(catalog.version, common);
        self.cluster.members.set(catalog.nodes);
        for (&number, node) in self.cluster.members.all() {
            if node.state == NodeState::Removed {
                self.cluster.reports.forget(number);
            }
        }
        let peers = self.others();
        common
            .network
            .unlink(self.node, |other| peers.contains_key(&other));
        self.dial(common);
        if self.state_of(self.node) == Some(NodeState::Removed) {
            sometimes("a node heard that it was removed");
            self.let_go("the catalog says so");
        }
    }

    /// Tells the catalog of this start, until it knows of it.
    fn register(&mut self, common: &mut Common) {
        let Cluster {
            members, identity, ..
        } = &self.cluster;
        let known = members.all().get(&self.node);
        if known.is_some_and(|known| known.start == identity.start) {
            return;
        }
        let add = Command::AddNode {
            incarnation: identity.incarnation,
            start: identity.start,
            address: address_of(self.node),
            host: format!("host-{}", self.node),
            zone: identity.zone.clone(),
        };
        common.later(self.node, self.life, RETRY_INTERVAL, Happening::Register);
        // The first node registers itself before it lets anybody in, so that it is number one.
        if members.all().is_empty() && self.node != 1 {
            return;
        }
        let request = Request {
            number: common.next_request(),
            shard: ShardId::CATALOG.0,
            ask: Ask::Propose(codec::encode(&add)),
        };
        self.request(request);
    }

    /// Others should not have to wait to hear how this node is.
    pub(super) fn hurry(&mut self, common: &mut Common) {
        if !self.cluster.hurries {
            self.cluster.hurries = true;
            let length = micros(REPORT_GATHERING);
            common.later(self.node, self.life, length, Happening::ReportUrgently);
        }
    }

    fn report_urgently(&mut self, common: &mut Common) {
        self.cluster.hurries = false;
        self.report(common);
    }

    /// Says how this node is, and takes the next steps of placement if it leads the catalog.
    fn report_and_decide(&mut self, common: &mut Common) {
        let length = micros(REPORT_INTERVAL);
        common.later(self.node, self.life, length, Happening::Report);
        self.dial(common);
        self.report(common);
        self.decide(common);
    }

    fn report(&mut self, common: &mut Common) {
        let mut replicas = Vec::new();
        for (shard, replica) in self.host.replicas() {
            let mut report = ReplicaReport::of(shard, replica);
            report.bytes = self.store.shard_bytes(shard.0) + self.copies.coming_bytes(shard);
            if report.led.is_some() {
                let settled = replica.status().settled;
                common.checks.settled(self.node, shard.0, &settled);
            }
            replicas.push(report);
        }
        replicas.extend(self.host.closed().map(ReplicaReport::closed));
        let damaged = self.host.damaged();
        let damaged = damaged.map(|(shard, what)| (shard.0, what.to_owned()));
        let under_way = self.writer.age(common.now);
        let (syncs, length) = self.cluster.synced;
        let mut report = NodeReport {
            node: self.node,
            knows: self.knows(),
            leaves: self.leaves,
            full: self.maintenance.is_full(),
            free_bytes: self.store.free_bytes().unwrap_or(0),
            sync_micros: self.cluster.syncs.mean(syncs, length, under_way),
            replicas,
            damaged: damaged.collect(),
            ..NodeReport::default()
        };
        let now = self.clock.now(common.now).beat;
        report.unfit = self
            .cluster
            .fitness
            .judge(&report, &self.cluster.reports, now);
        let others: Vec<u64> = self.others().into_keys().collect();
        for to in others {
            let report = report.clone();
            copies::send(self.node, to, 0, Happening::Heard { report }, common);
        }
        self.heard(report, common);
        self.compare(common);
    }

    /// Those for which nothing should be sent: a disk here, or of a voter, is nearly full.
    pub(super) fn full_shards(&self, common: &Common) -> BTreeSet<u16> {
        let now = self.clock.now(common.now).beat;
        let is_full_here = self.maintenance.is_full();
        let reports = &self.cluster.reports;
        let is_full = |&shard: &u16| is_full_here || reports.is_full(ShardId(shard), now);
        (0..common.plan.shards).filter(is_full).collect()
    }

    /// Finds out whether the state of a replica here is not that of the others.
    fn compare(&mut self, common: &mut Common) {
        let now = self.clock.now(common.now).beat;
        for (shard, difference) in differences(&self.cluster.reports, now) {
            let what = difference.to_string();
            common.checks.said_to_differ(shard, &what);
            let Some(mark) = difference.wrong(self.node) else {
                continue;
            };
            if !self.is_known_damaged(shard) {
                common.statistics.differing += 1;
            }
            let shard = ShardId(shard);
            self.tell(anser_host::Event::Differs { shard, mark, what }, common);
        }
    }

    fn heard(&mut self, report: NodeReport, common: &Common) {
        if report.node != self.node {
            let led = report.replicas.iter();
            for replica in led.filter(|replica| replica.led.is_some()) {
                let leaders = self.port.leaders();
                leaders.heard(ShardId(replica.shard), replica.term, report.node);
            }
        }
        let now = self.clock.now(common.now).beat;
        self.cluster.reports.put(report, now);
    }

    fn decide(&mut self, common: &mut Common) {
        let decides = self.serves(ShardId::CATALOG.0);
        if decides {
            self.raise(common);
        } else {
            self.cluster.agreement = Agreement::default();
        }
        let known = Knowledge {
            now: self.clock.now(common.now).beat,
            shards: common.plan.shards,
            members: self.cluster.members.all(),
            reports: &self.cluster.reports,
        };
        if !decides {
            return self.cluster.controller.watch(known);
        }
        let decided = self.cluster.controller.look(known);
        self.watch(&decided, common);
        for action in &decided.actions {
            common.trace.say(common.now, || {
                format!(
                    "node {} plans for shard {}: {}",
                    self.node, action.shard, action.why
                )
            });
        }
        for (node, order) in decided.orders {
            let (from, now) = (self.node, common.now);
            common.trace.say(now, || {
                format!("node {from} orders of node {node}: {order:?}")
            });
            if node == self.node {
                self.order(order, common);
            } else {
                copies::send(self.node, node, 0, Happening::Order { order }, common);
            }
        }
    }

    fn watch(&self, decided: &Decided, common: &mut Common) {
        let Cluster {
            members,
            reports,
            policy,
            controller,
            ..
        } = &self.cluster;
        let now = self.clock.now(common.now).beat;
        let shards = reports.shards(now);
        let known = Known {
            shards: &shards,
            members: members.all(),
            up: reports.recent(now).map(|(node, _)| node).collect(),
            policy: *policy,
            stalled: controller.stalled(),
            is_peace: common.is_peace(),
        };
        common.checks.decided(self.node, decided, &known);
        for action in &decided.actions {
            match &action.kind {
                ActionKind::Change(steps) => {
                    let voters = voters_after(&shards[&action.shard].voters, steps);
                    let voters = voters.into_iter().collect();
                    let (shard, leader, now) = (action.shard, action.leader, common.now);
                    common.statistics.membership_changes += 1;
                    common.aims.ordered(shard, leader, voters, now);
                }
                ActionKind::Transfer(_) if action.why.contains("leads more") => {
                    sometimes("leaders were spread");
                }
                ActionKind::Transfer(_) if action.why.contains("slower disk") => {
                    sometimes("a leader left a slow disk");
                }
                ActionKind::Hold if action.why.contains("has room") => {
                    sometimes("a shard lacked a copy, and no node had room for it");
                }
                ActionKind::Transfer(_) | ActionKind::Wait(_) | ActionKind::Hold => {}
            }
        }
    }

    fn order(&mut self, order: Order, common: &mut Common) {
        if !matches!(order, Order::Forget { .. }) && !self.serves(order.shard()) {
            sometimes("an order came to a node that did not lead any more");
        }
        let node = self.node;
        let is_connected =
            |to| common.lives.contains_key(&to) && common.network.is_connected(node, to);
        if let Some(event) = order.event(is_connected) {
            self.tell(event, common);
        }
    }
}

pub(crate) fn address_of(node: u64) -> String {
    format!("node-{node}")
}
