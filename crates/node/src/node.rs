//! The node: hands out the service, says how it is, and stops the threads in order.

mod assembly;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser_broker::{
    command::{Command, NodeState},
    error::Error,
    id::{NodeId, ShardId},
};
use anser_host::Action;
use anser_log::{FileSystem, Store};
use bytes::Bytes;
use tokio::sync::{
    mpsc::{error::TryRecvError, unbounded_channel},
    oneshot, watch,
};
use tracing::warn;

pub(crate) use assembly::spawn;

use assembly::Assembly;

use crate::{
    announcements::Announcements,
    clock::Clock,
    cluster::{
        self, ClusterStatus,
        taking_part::{Membership, Place},
    },
    config::Config,
    desk::Desk,
    door::Door,
    event::{Event, HostEvent},
    failure::{Failed, Failure, FailureKind},
    failures::Failures,
    inboxes::Inboxes,
    maintenance::Chore,
    startup::{self, StartError},
    status::{Counters, ShardStatus, Status, read},
};

/// How long to wait for what the runners have to say of their shards.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
/// How often a node that leaves looks whether it leads nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long the start of a member waits until every shard has a leader.
const LEADERS_PATIENCE: Duration = Duration::from_secs(10);

/// A running node. Clones are the same node; it stops by [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    desk: Desk,
    announcements: Arc<Announcements>,
    failures: Arc<Failures>,
    clock: Clock,
    counters: Arc<Counters>,
    failed: Failed,
    store: Store<FileSystem>,
    inboxes: Inboxes,
    /// Shards that this node alone has to serve to be ready.
    shards_alone: usize,
    /// What placement has decided last.
    decided: Arc<Mutex<Vec<Action>>>,
    stopping: Arc<AtomicBool>,
    threads: Mutex<Option<Threads>>,
}

type RunnerThread = (mpsc::Sender<Event>, JoinHandle<()>);

/// In the order in which they are stopped.
struct Threads {
    stop_courier: tokio::sync::oneshot::Sender<()>,
    courier: JoinHandle<()>,
    membership: Option<Membership>,
    chores: mpsc::Sender<Chore>,
    maintenance: JoinHandle<()>,
    runners: Vec<RunnerThread>,
    /// Ends when the runners have: they hold its jobs' senders.
    writer: JoinHandle<()>,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the data folder, or makes it, and serves when this returns. A member of a cluster that does
    /// not hear of a leader for every shard within ten seconds returns all the same.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let place = config.cluster.as_ref().map(Place::listen).transpose()?;
        let address = place.as_ref().map(|place| place.address.as_str());
        let opening = startup::open(config, address)?;
        let node = Assembly::new(config, opening, clock).start(place)?;
        node.wait_until_ready();
        if let Some(failure) = node.failure().filter(|it| it.kind != FailureKind::Storage) {
            node.shutdown();
            return Err(failure.into());
        }
        node.raise_version_alone();
        Ok(node)
    }

    /// Waits until the node cannot go on and gives the reason: the process must end.
    pub async fn failed(&self) -> Failure {
        self.0.failed.wait().await
    }

    /// Why the node is about to stop, if it is.
    pub fn failure(&self) -> Option<Failure> {
        self.0.failed.get()
    }

    /// Has other nodes lead what this one leads, as the first step of an end in order, and returns when they do, when
    /// nobody is there who could, or when the time is over. Meanwhile it serves on. Nothing to do for a node alone.
    pub fn leave(&self, patience: Duration) {
        let Some(cluster) = &self.desk().cluster else {
            return;
        };
        cluster.leaves.store(true, Ordering::Relaxed);
        cluster.reports.hurry();
        for inbox in self.0.inboxes.all() {
            // A runner that is gone leads nothing.
            drop(inbox.send(Event::Host(HostEvent::Leave)));
        }
        let end = Instant::now() + patience;
        while !cluster.leaders.leads_nothing()
            && cluster.reports.can_hand_over(cluster.node)
            && Instant::now() < end
        {
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Stops the threads; everything acknowledged is on the disk already. Requests that come later
    /// are refused. Blocks, and does nothing the second time.
    pub fn shutdown(&self) {
        let threads = self
            .0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(threads) = threads else { return };
        self.0.stopping.store(true, Ordering::Relaxed);
        self.0.announcements.close();
        // A thread that is gone already has nothing to be told.
        threads.stop_courier.send(()).ok();
        drop(threads.courier.join());
        if let Some(membership) = threads.membership {
            membership.end();
        }
        threads.chores.send(Chore::Stop).ok();
        drop(threads.maintenance.join());
        for (runner, thread) in threads.runners {
            drop(runner.send(Event::Stop));
            drop(thread.join());
        }
        drop(threads.writer.join());
    }

    /// What the node is doing, for metrics and health checks.
    pub fn status(&self) -> Status {
        let shards = self.shards();
        let counters = self.counters();
        let failure = self.0.failed.get().map(|failure| failure.reason);
        Status {
            ready: failure.is_none() && self.is_served(&shards),
            failure,
            shards,
            wal_bytes: self.0.store.wal_bytes_in_use(),
            segment_bytes: self.0.store.segment_bytes(),
            free_bytes: self.0.store.free_bytes().unwrap_or(0),
            storage_full: counters.is_full(),
            syncs: read(&counters.syncs),
            sync_micros: counters.sync_buckets.iter().map(read).collect(),
            sync_micros_sum: read(&counters.sync_micros_sum),
            appended_entries: read(&counters.appended_entries),
            appended_bytes: read(&counters.appended_bytes),
            cache_hits: read(&counters.cache_hits),
            cache_misses: read(&counters.cache_misses),
            snapshots: read(&counters.snapshots),
            kept_bytes: read(&counters.kept_bytes),
            scrubbed_bytes: read(&counters.scrubbed_bytes),
            scrub_errors: read(&counters.scrub_errors),
            mended: read(&counters.mended),
            body_errors: read(&counters.body_errors),
            copied_bytes: read(&counters.copied_bytes),
            copies: counters.copies.status(),
            holds_lost: read(&counters.holds_lost),
            maintenance_errors: read(&counters.maintenance_errors),
            differing_shards: read(&counters.differing_shards),
            copies_given_up: read(&counters.copies_given_up),
        }
    }

    /// The other nodes of the cluster that were not removed: from the catalog, and where that says nothing yet from the
    /// node's last run.
    pub fn peers(&self) -> BTreeSet<u64> {
        let cluster = self.desk().cluster.as_ref();
        cluster.map_or_else(BTreeSet::new, |it| it.members.others(it.node))
    }

    /// Where the nodes of [`Node::peers`] are reached by each other, as `HOST:PORT`.
    pub fn peer_addresses(&self) -> Vec<String> {
        let Some(cluster) = self.desk().cluster.as_ref() else {
            return Vec::new();
        };
        let peers = cluster.members.peers().into_iter();
        let others = peers.filter(|(number, _)| *number != cluster.node);
        others.map(|(_, peer)| peer.address).collect()
    }

    /// The cluster as this node sees it.
    pub fn cluster_status(&self) -> ClusterStatus {
        match &self.desk().cluster {
            Some(cluster) => cluster::status::of(cluster, &self.0.decided),
            None => ClusterStatus {
                version: self.desk().versions.active().0,
                ..ClusterStatus::default()
            },
        }
    }

    /// Whether every shard could decide to let go of a node without asking it, nor those that were removed before.
    fn can_spare(&self, node: u64, removed: &BTreeSet<u64>) -> bool {
        let Some(cluster) = &self.desk().cluster else {
            return false;
        };
        let reports = &cluster.reports;
        reports
            .all()
            .can_spare(node, removed, cluster.shards, reports.now())
    }

    /// Lets a node be emptied (`Draining`), be used again (`Active`) or be gone for ever (`Removed`).
    /// A node that some shard cannot do without is not removed: [`Error::NodeNeeded`]; nor is one of two that are removed at
    /// once: [`Error::OtherNodes`].
    pub async fn set_node_state(&self, node: u64, state: NodeState) -> Result<(), Error> {
        let cluster = self.desk().cluster.as_ref();
        let removed = cluster.map_or_else(BTreeSet::new, |it| it.members.removed());
        if state == NodeState::Removed && !self.can_spare(node, &removed) {
            return Err(Error::NodeNeeded);
        }
        let command = Command::SetNodeState {
            node: NodeId(node),
            state,
            removed: removed.len() as u64,
        };
        anser_host::propose(self.desk(), ShardId::CATALOG, &command)
            .await
            .map(drop)
    }

    /// Gives every node of the cluster these bytes, unless a newer revision is known already.
    pub fn share(&self, revision: u64, bytes: Bytes) {
        if let Some(cluster) = &self.desk().cluster
            && cluster.shared.adopt(revision, bytes)
            && let Some(note) = cluster.shared.note()
        {
            cluster.tell_all(&note);
        }
    }

    /// The newest revision that any node has shared, and how it changes.
    pub fn shared(&self) -> watch::Receiver<(u64, Bytes)> {
        match &self.desk().cluster {
            Some(cluster) => cluster.shared.subscribe(),
            None => watch::channel((0, Bytes::new())).1,
        }
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.0.desk
    }

    pub(crate) fn door(&self) -> &Door {
        &self.0.desk.door
    }

    pub(crate) fn announcements(&self) -> &Announcements {
        &self.0.announcements
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.0.failures
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    fn shards(&self) -> Vec<ShardStatus> {
        let (sender, mut receiver) = unbounded_channel();
        for inbox in self.0.inboxes.all() {
            // A runner that is gone leaves its shards out of the answer.
            drop(inbox.send(Event::Report(sender.clone())));
        }
        drop(sender);
        let until = Instant::now() + STATUS_PATIENCE;
        let mut shards: Vec<ShardStatus> = Vec::new();
        while Instant::now() < until {
            match receiver.try_recv() {
                Ok(some) => shards.extend(some.into_iter().map(|reported| reported.status)),
                Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(200)),
                Err(TryRecvError::Disconnected) => break,
            }
        }
        shards.sort_by_key(|shard| shard.shard);
        shards
    }

    fn is_served(&self, shards: &[ShardStatus]) -> bool {
        if let Some(cluster) = &self.desk().cluster {
            return cluster.leaders.all_known();
        }
        let is_settled = |shard: &ShardStatus| shard.serves || shard.closed;
        shards.len() == self.0.shards_alone && shards.iter().all(is_settled)
    }

    /// A sole voter leads as soon as its first entry is durable. A shard that stays closed is not waited for.
    fn wait_until_ready(&self) {
        let is_member = self.desk().cluster.is_some();
        let until = Instant::now() + LEADERS_PATIENCE;
        while self.0.failed.get().is_none() && !self.is_served(&self.shards()) {
            if is_member && Instant::now() >= until {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A node for itself can read whatever it writes.
    fn raise_version_alone(&self) {
        let versions = &self.desk().versions;
        let knows = versions.knows();
        if self.desk().cluster.is_some() || versions.active() >= knows {
            return;
        }
        // Nodes of no cluster have no place in the catalog.
        let Ok(mut answered) = self.desk().hand_in_version(knows, 0) else {
            return;
        };
        while self.0.failed.get().is_none() {
            match answered.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {
                    thread::sleep(Duration::from_millis(1));
                }
                // Done, or the runner is gone, which says so itself.
                Ok(Ok(_)) | Err(oneshot::error::TryRecvError::Closed) => return,
                Ok(Err(error)) => {
                    return warn!(%error, "what came with this program cannot be used until the next start");
                }
            }
        }
    }
}
