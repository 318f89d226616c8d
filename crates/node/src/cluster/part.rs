//! The thread with everything a node does as a member of a cluster besides its shards: telling how it is,
//! looking after placement, sending copies, keeping up with who the members are.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use anser_broker::{
    command::{Command, NodeState},
    error::Error,
    id::ShardId,
};
use anser_host::{
    Action, Fitness, NodeReport, Policy, REPORT_GATHERING, REPORT_INTERVAL, ReplicaReport,
    SyncTimes,
};
use anser_log::{FileSystem, Store};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tracing::{error, info, warn};

use super::{
    ClusterConfig,
    controller::Controller,
    copies::{self, ComingBytes, Outgoing},
    entries::{self, Asking},
    identity::{Identity, KnownPeer},
    peers::Cluster,
    seeking, upgrade,
    words::Note,
};
use crate::{
    desk::Desk,
    event::{Event, HostEvent, Reported},
    failure::{Failed, Failure},
    inboxes::Inboxes,
    status::{Counters, read},
};

/// How long to leave the catalog alone after it could not be told of this node.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long runners may take to say how their replicas are.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Part {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) config: ClusterConfig,
    pub(crate) data: PathBuf,
    /// How others reach this node.
    pub(crate) address: String,
    pub(crate) identity: Identity,
    pub(crate) inboxes: Inboxes,
    pub(crate) desk: Desk,
    pub(crate) store: Store<FileSystem>,
    pub(crate) reserve_bytes: u64,
    pub(crate) coming: ComingBytes,
    pub(crate) counters: Arc<Counters>,
    pub(crate) outgoing: UnboundedReceiver<Outgoing>,
    pub(crate) questions: UnboundedReceiver<Asking>,
    pub(crate) decided: Arc<Mutex<Vec<Action>>>,
    pub(crate) failed: Failed,
}

impl Part {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let Self {
            cluster,
            config,
            inboxes,
            desk,
            ..
        } = &self;
        let policy = Policy {
            replicas: config.replicas,
            moves_max: config.moves_max,
            grace: config.grace,
            reserve_bytes: self.reserve_bytes,
        };
        let controller = Controller {
            cluster: Arc::clone(cluster),
            inboxes: inboxes.clone(),
            host: anser_host::Controller::new(policy, cluster.reports.now()),
            counters: Arc::clone(&self.counters),
            decided: Arc::clone(&self.decided),
        };
        let teller = Teller {
            cluster: Arc::clone(cluster),
            inboxes: inboxes.clone(),
            store: self.store.clone(),
            coming: self.coming.clone(),
            counters: Arc::clone(&self.counters),
            syncs: SyncTimes::default(),
            differing: BTreeMap::new(),
            fitness: Fitness::default(),
        };
        let registration = register(
            Arc::clone(cluster),
            desk.clone(),
            config.clone(),
            self.address.clone(),
            self.failed.clone(),
        );
        let members = follow_members(
            Arc::clone(cluster),
            self.identity.clone(),
            self.data.clone(),
            self.failed.clone(),
        );
        let seeking = seeking::run(Arc::clone(cluster), config.clone(), self.address.clone());
        let upgrades = upgrade::run(Arc::clone(cluster), desk.clone());
        let of_entries = (Arc::clone(cluster), inboxes.clone());
        let copies = copies::send_all(
            Arc::clone(cluster),
            inboxes.clone(),
            Arc::clone(&self.counters),
            config.copy_bytes_per_second,
            self.outgoing,
        );
        let entries = entries::ask_all(of_entries.0, of_entries.1, self.questions);
        tokio::join!(
            look(teller, controller),
            registration,
            members,
            seeking,
            copies,
            entries,
            upgrades
        );
    }
}

async fn look(mut teller: Teller, mut controller: Controller) {
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let cluster = Arc::clone(&teller.cluster);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                teller.tell().await;
                controller.step();
            }
            () = cluster.reports.urgent() => {
                tokio::time::sleep(REPORT_GATHERING).await;
                teller.tell().await;
            }
        }
    }
}

/// Says how this node is.
struct Teller {
    cluster: Arc<Cluster>,
    inboxes: Inboxes,
    store: Store<FileSystem>,
    coming: ComingBytes,
    counters: Arc<Counters>,
    syncs: SyncTimes,
    /// Shards of which it was said that replicas differ, for as long as they do, and whether a majority had decided which
    /// are right.
    differing: BTreeMap<u16, bool>,
    fitness: Fitness,
}

impl Teller {
    async fn tell(&mut self) {
        let reported = report_all(&self.inboxes).await;
        let of_damaged = |it: &Reported| Some((it.replica.shard, it.damaged.clone()?));
        let damaged = reported.iter().filter_map(of_damaged).collect();
        let reported = reported.into_iter();
        let mut replicas: Vec<ReplicaReport> = reported.map(|it| it.replica).collect();
        for replica in &mut replicas {
            let shard = replica.shard;
            replica.bytes = self.store.shard_bytes(shard) + self.coming.of(ShardId(shard));
        }
        let mut report = NodeReport {
            node: self.cluster.node,
            full: self.counters.is_full(),
            free_bytes: self.store.free_bytes().unwrap_or(0),
            data_bytes: self.store.segment_bytes() + self.store.wal_bytes_in_use(),
            sync_micros: self.syncs.mean(
                read(&self.counters.syncs),
                read(&self.counters.sync_micros_sum),
                self.counters.write_age_micros(),
            ),
            replicas,
            knows: self.cluster.versions.knows(),
            leaves: self.cluster.leaves.load(Ordering::Relaxed),
            damaged,
            unfit: None,
        };
        report.unfit = self.cluster.reports.judge(&mut self.fitness, &report);
        self.cluster.reports.put(report.clone());
        self.cluster.tell_all(&Note::Report(report));
        self.compare();
    }

    /// Looks whether states differ that should be the same. A replica here that is not like most is replaced.
    fn compare(&mut self) {
        let differences = self.cluster.reports.differences();
        let differ = &self.counters.differing_shards;
        differ.store(differences.len() as u64, Ordering::Relaxed);
        self.differing
            .retain(|shard, _| differences.contains_key(shard));
        for (number, difference) in differences {
            let shard = ShardId(number);
            let what = difference.to_string();
            let is_decided = difference.right.is_some();
            let said = self.differing.insert(number, is_decided);
            if said.is_none_or(|was_decided| is_decided && !was_decided) {
                error!(shard = number, %what, "replicas have made different states of one log");
            }
            if let Some(mark) = difference.wrong(self.cluster.node) {
                let event = HostEvent::Differs { shard, mark, what };
                // A runner that is gone has no replica any more.
                drop(self.inboxes.of(shard).send(event.into()));
            }
        }
    }
}

/// How every replica here is.
pub(crate) async fn report_all(inboxes: &Inboxes) -> Vec<Reported> {
    let (sender, mut receiver) = unbounded_channel();
    for inbox in inboxes.all() {
        // A runner that is gone leaves its shards out of the answer.
        drop(inbox.send(Event::Report(sender.clone())));
    }
    drop(sender);
    let mut all = Vec::new();
    let gather = async {
        while let Some(some) = receiver.recv().await {
            all.extend(some);
        }
    };
    // A runner that is held up leaves its shards out too.
    tokio::time::timeout(REPORT_PATIENCE, gather).await.ok();
    all.sort_by_key(|reported| reported.status.shard);
    all
}

/// Tells the catalog of this node, until it knows it as it is.
async fn register(
    cluster: Arc<Cluster>,
    desk: Desk,
    config: ClusterConfig,
    address: String,
    failed: Failed,
) {
    loop {
        let known = cluster.members.all();
        let is_known = known.get(&cluster.node).is_some_and(|node| {
            node.address == address
                && node.host == config.host
                && node.zone == config.zone
                && node.start == cluster.start
        });
        if is_known {
            return;
        }
        // The first node registers itself before it lets anybody in, so that it is number one.
        if known.is_empty() && cluster.node != 1 {
            tokio::time::sleep(RETRY_INTERVAL).await;
            continue;
        }
        match tell_catalog(&cluster, &desk, &config, &address).await {
            Ok(()) => {}
            Err(Error::FormerStart) => return failed.end(Failure::former_start(cluster.node)),
            Err(Error::NodeRemoved) => return failed.end(Failure::removed(cluster.node)),
            Err(error) => {
                warn!(%error, "the catalog could not be told of this node; trying again");
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn tell_catalog(
    cluster: &Cluster,
    desk: &Desk,
    config: &ClusterConfig,
    address: &str,
) -> Result<(), Error> {
    if cluster.node == 1 {
        let formed = Command::ClusterFormed {
            cluster: cluster.id,
        };
        anser_host::propose(desk, ShardId::CATALOG, &formed).await?;
    }
    let add = Command::AddNode {
        incarnation: cluster.incarnation,
        start: cluster.start,
        address: address.to_owned(),
        host: config.host.clone(),
        zone: config.zone.clone(),
    };
    anser_host::propose(desk, ShardId::CATALOG, &add)
        .await
        .map(drop)
}

/// Keeps connections and the identity file in step with the catalog.
async fn follow_members(
    cluster: Arc<Cluster>,
    mut identity: Identity,
    data: PathBuf,
    failed: Failed,
) {
    let mut changes = cluster.members.changes();
    loop {
        let known = cluster.members.all();
        if let Some(failure) = cluster.is_let_go() {
            failed.end(failure);
        }
        for (node, _) in known
            .iter()
            .filter(|(_, node)| node.state == NodeState::Removed)
        {
            cluster.reports.forget(*node);
        }
        cluster.follow_members();
        let mut peers = cluster.members.peers();
        peers.remove(&cluster.node);
        let peers = peers.into_iter().map(|(number, peer)| {
            let known = KnownPeer::new(peer.address, peer.incarnation);
            (number, known)
        });
        let before = identity.clone();
        identity.set_cluster_version(cluster.versions.active());
        identity.peers = peers.collect();
        if let Some(own) = known.get(&cluster.node) {
            identity.hear_of_start(own.start);
        }
        if identity != before {
            info!(nodes = ?identity.peers.keys(), version = %identity.cluster_version(), "members");
            if let Err(error) = identity.write(&data) {
                warn!(%error, "the members could not be written down; the next start knows earlier ones");
            }
        }
        // The table lives as long as the node.
        if changes.changed().await.is_err() {
            return;
        }
    }
}
