//! The node: starts the threads, hands out the service, stops the threads in order.

use std::{
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
    time::{Millis, Stamp},
};
use anser_host::{Action, Beginning, Routes, WriterJob, time_off};
use anser_log::{Appender, FileSystem, Reader, Store};
use anser_replica::Replica;
use bytes::Bytes;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel},
        oneshot, watch,
    },
    task::LocalSet,
};
use tracing::warn;

use crate::{
    announcements::Announcements,
    bodies::{self, Bodies},
    clock::Clock,
    cluster::{
        self, ClusterStatus,
        copies::Copies,
        peers::Cluster,
        taking_part::{Joining, Membership, Place, Surroundings},
    },
    config::Config,
    courier::{self, Errand},
    desk::{Around, Bounds, Desk},
    event::Event,
    failure::{Failed, Failure, FailureKind},
    failures::Failures,
    inboxes::Inboxes,
    maintenance::{Chore, Maintenance},
    runner::Runner,
    startup::{self, Opening, StartError},
    status::{Counters, ShardStatus, Status, read},
    version::Versions,
    writer::Writer,
};

/// How long to wait for what the runners have to say of their shards.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
/// How long the start of a member waits until every shard has a leader.
const LEADERS_PATIENCE: Duration = Duration::from_secs(10);

/// Threads that read bodies from the disk.
const BODY_READERS: usize = 2;

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
            body_errors: read(&counters.body_errors),
            copied_bytes: read(&counters.copied_bytes),
            copies: counters.copies.status(),
            holds_lost: read(&counters.holds_lost),
            maintenance_errors: read(&counters.maintenance_errors),
        }
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

    /// Whether every shard could decide to let go of a node without asking it.
    fn can_spare(&self, node: u64) -> bool {
        let Some(cluster) = &self.desk().cluster else {
            return false;
        };
        let reports = &cluster.reports;
        reports.all().can_spare(node, cluster.shards, reports.now())
    }

    /// Lets a node be emptied (`Draining`), be used again (`Active`) or be gone for ever (`Removed`).
    /// A node that some shard cannot do without is not removed: [`Error::NodeNeeded`].
    pub async fn set_node_state(&self, node: u64, state: NodeState) -> Result<(), Error> {
        if state == NodeState::Removed && !self.can_spare(node) {
            return Err(Error::NodeNeeded);
        }
        let node = NodeId(node);
        let command = Command::SetNodeState { node, state };
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
        match &self.desk().cluster {
            Some(cluster) => cluster.leaders.all_known(),
            None => shards.len() == self.0.shards_alone && shards.iter().all(|shard| shard.serves),
        }
    }

    /// A sole voter leads as soon as its first entry is durable.
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

/// What every runner shares.
struct Parts {
    inboxes: Inboxes,
    routes: Arc<Routes>,
    versions: Arc<Versions>,
    announcements: Arc<Announcements>,
    counters: Arc<Counters>,
    failed: Failed,
    clock: Clock,
    stopping: Arc<AtomicBool>,
}

/// Whom the runners speak to.
struct Handles<'a> {
    jobs: &'a mpsc::Sender<WriterJob>,
    body_readers: &'a [mpsc::Sender<bodies::Job>],
    errands: &'a UnboundedSender<Errand>,
    member: Option<&'a Joining>,
}

/// A node whose threads have not begun.
struct Assembly<'a> {
    config: &'a Config,
    parts: Parts,
    shards: u16,
    /// Of each runner.
    beginnings: Vec<Beginning>,
    appender: Appender<FileSystem>,
    reader: Reader<FileSystem>,
    store: Store<FileSystem>,
    outlets: Vec<mpsc::Receiver<Event>>,
    chores: mpsc::Sender<Chore>,
    chore_list: mpsc::Receiver<Chore>,
    member: Option<Joining>,
}

impl<'a> Assembly<'a> {
    fn new(config: &'a Config, opening: Opening, clock: Clock) -> Self {
        let Opening {
            log,
            replicas,
            identity,
            shards,
            node,
            run,
            versions,
        } = opening;
        let (inboxes, outlets): (Vec<_>, Vec<_>) = (0..config.runners.clamp(1, shards.into()))
            .map(|_| mpsc::channel())
            .unzip();
        let parts = Parts {
            inboxes: Inboxes::new(inboxes),
            routes: Arc::default(),
            versions,
            announcements: Arc::default(),
            counters: Arc::default(),
            failed: Failed::new(),
            clock,
            stopping: Arc::default(),
        };
        learn_routes(&replicas, &parts);
        let (chores, chore_list) = mpsc::channel();
        let store = log.store;
        let member = identity.map(|identity| {
            let versions = Arc::clone(&parts.versions);
            let clock = parts.clock.clone();
            let (store, chores) = (store.clone(), chores.clone());
            Joining::new(identity, &replicas, store, chores, versions, clock)
        });
        let cache_bytes = config.cache_bytes / 2 / outlets.len();
        let beginning = || Beginning {
            node,
            shards,
            run,
            cache_bytes,
            time_off_max: config.time_off_max,
            replicas: Vec::new(),
        };
        warn_of_time_off(&replicas, &parts.clock, config.time_off_max);
        let mut beginnings: Vec<Beginning> = outlets.iter().map(|_| beginning()).collect();
        for (shard, replica) in replicas {
            let share = &mut beginnings[parts.inboxes.number_of(shard)];
            share.replicas.push((shard, replica));
        }
        Self {
            config,
            parts,
            shards,
            beginnings,
            appender: log.appender,
            reader: log.reader,
            store,
            outlets,
            chores,
            chore_list,
            member,
        }
    }

    fn start(self, place: Option<Place>) -> Result<Node, StartError> {
        let (config, parts, member) = (self.config, self.parts, self.member);
        let let_go = member.as_ref().map(|member| member.cluster.is_let_go());
        if let Some(failure) = let_go.flatten() {
            return Err(failure.into());
        }
        let (reader, store) = (self.reader, self.store);
        let (errands, errand_list) = unbounded_channel();
        let (decided, failures): (_, Arc<Failures>) = Default::default();
        let cluster = member.as_ref().map(|member| Arc::clone(&member.cluster));
        let body_readers = start_body_readers(&reader, config, &parts.counters)?;
        let copies = member.as_ref().map(|member| member.copies.clone());
        let (jobs, writer) = start_writer(self.appender, &parts, copies.clone())?;
        let around = around_desk(&parts, cluster.clone(), &errands, &body_readers);
        let desk = Desk::new(around, self.shards, bounds(config));
        let maintenance =
            maintenance_of(config, &parts, (&store, &reader), self.chore_list, copies);
        let handles = Handles {
            jobs: &jobs,
            body_readers: &body_readers,
            errands: &errands,
            member: member.as_ref(),
        };
        let runners = start_runners(&parts, self.beginnings, self.outlets, &handles)?;
        let maintenance = spawn("maintenance", move || maintenance.run())?;
        let (stop_courier, courier) = start_courier(desk.clone(), errand_list)?;
        let membership = match (member, place, &config.cluster) {
            (Some(member), Some(place), Some(cluster)) => {
                let around = Surroundings {
                    config: cluster.clone(),
                    data: config.data.clone(),
                    store: store.clone(),
                    reader,
                    inboxes: parts.inboxes.clone(),
                    desk: desk.clone(),
                    counters: parts.counters.clone(),
                    failed: parts.failed.clone(),
                    failures: Arc::clone(&failures),
                    decided: Arc::clone(&decided),
                };
                Some(member.begin(place, around)?)
            }
            _ => None,
        };
        let threads = Threads {
            stop_courier,
            courier,
            membership,
            chores: self.chores,
            maintenance,
            runners,
            writer,
        };
        Ok(Node(Arc::new(Inner {
            desk,
            announcements: parts.announcements,
            failures,
            clock: parts.clock,
            counters: parts.counters,
            failed: parts.failed,
            store,
            inboxes: parts.inboxes,
            shards_alone: cluster.map_or(usize::from(self.shards), |_| 0),
            decided,
            stopping: parts.stopping,
            threads: Mutex::new(Some(threads)),
        })))
    }
}

fn around_desk(
    parts: &Parts,
    cluster: Option<Arc<Cluster>>,
    errands: &UnboundedSender<Errand>,
    body_readers: &[mpsc::Sender<bodies::Job>],
) -> Around {
    Around {
        routes: parts.routes.clone(),
        cluster,
        versions: parts.versions.clone(),
        counters: parts.counters.clone(),
        errands: errands.clone(),
        inboxes: parts.inboxes.clone(),
        body_readers: body_readers.to_vec(),
    }
}

fn maintenance_of(
    config: &Config,
    parts: &Parts,
    (store, reader): (&Store<FileSystem>, &Reader<FileSystem>),
    chores: mpsc::Receiver<Chore>,
    copies: Option<Copies>,
) -> Maintenance {
    let (store, reader) = (store.clone(), reader.clone());
    Maintenance {
        host: anser_host::Maintenance::new(store, reader, config.reserve_bytes),
        inboxes: parts.inboxes.clone(),
        counters: parts.counters.clone(),
        failed: parts.failed.clone(),
        chores,
        copies,
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        in_flight_bytes: config.in_flight_bytes,
        command_bytes: Bounds::command_bytes(config.wal_file_bytes),
    }
}

fn start_writer(
    appender: Appender<FileSystem>,
    parts: &Parts,
    copies: Option<Copies>,
) -> Result<(mpsc::Sender<WriterJob>, JoinHandle<()>), StartError> {
    let (sender, jobs) = mpsc::channel();
    let (counters, failed) = (parts.counters.clone(), parts.failed.clone());
    let stopping = parts.stopping.clone();
    let writer = Writer {
        appender,
        jobs,
        inboxes: parts.inboxes.clone(),
        copies,
        counters,
        failed,
        stopping,
    };
    Ok((sender, spawn("writer", move || writer.run())?))
}

fn start_runners(
    parts: &Parts,
    beginnings: Vec<Beginning>,
    outlets: Vec<mpsc::Receiver<Event>>,
    handles: &Handles<'_>,
) -> Result<Vec<RunnerThread>, StartError> {
    let mut threads = Vec::new();
    for ((number, beginning), inbox) in beginnings.into_iter().enumerate().zip(outlets) {
        let itself = parts
            .inboxes
            .all()
            .nth(number)
            .expect("one inbox a runner")
            .clone();
        let runner = Runner {
            host: anser_host::Runner::new(beginning, &parts.clock.now()),
            inbox,
            itself: itself.clone(),
            writer: handles.jobs.clone(),
            body_readers: handles.body_readers.to_vec(),
            errands: handles.errands.clone(),
            routes: parts.routes.clone(),
            versions: parts.versions.clone(),
            announcements: parts.announcements.clone(),
            counters: parts.counters.clone(),
            failed: parts.failed.clone(),
            clock: parts.clock.clone(),
            member: handles.member.map(Joining::member),
        };
        let thread = spawn(&format!("runner-{number}"), move || runner.run())?;
        threads.push((itself, thread));
    }
    Ok(threads)
}

fn start_body_readers(
    reader: &anser_log::Reader<FileSystem>,
    config: &Config,
    counters: &Arc<Counters>,
) -> Result<Vec<mpsc::Sender<bodies::Job>>, StartError> {
    (0..BODY_READERS)
        .map(|number| {
            let (sender, jobs) = mpsc::channel();
            let cache_bytes = config.cache_bytes / 2 / BODY_READERS;
            let body_reader = Bodies::new(reader.clone(), cache_bytes, counters.clone());
            spawn(&format!("bodies-{number}"), move || body_reader.run(&jobs))?;
            Ok(sender)
        })
        .collect()
}

type CourierThread = (tokio::sync::oneshot::Sender<()>, JoinHandle<()>);

fn start_courier(
    desk: Desk,
    errands: UnboundedReceiver<Errand>,
) -> Result<CourierThread, StartError> {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(StartError::Thread)?;
    let thread = spawn("courier", move || {
        LocalSet::new().block_on(&runtime, async move {
            tokio::select! {
                () = courier::run(desk, errands) => {}
                _ = stopped => {}
            }
        });
    })?;
    Ok((stop, thread))
}

/// Fills the routes with what this node's copy of the catalog knows.
fn learn_routes(replicas: &[(ShardId, Replica)], parts: &Parts) {
    let catalog = replicas
        .iter()
        .find(|(shard, _)| *shard == ShardId::CATALOG);
    if let Some((_, catalog)) = catalog {
        parts.routes.replace(&catalog.shard().routes());
    }
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(StartError::Thread)
}

/// A wall clock that says that the node was off for very long may be wrong.
fn warn_of_time_off(replicas: &[(ShardId, Replica)], clock: &Clock, time_off_max: Millis) {
    let now = clock.now();
    let stamps = replicas.iter().map(|(_, replica)| replica);
    let stamps = stamps
        .filter(|replica| replica.is_sole_voter())
        .map(|replica| replica.shard().now());
    let used = stamps.filter(|stamp| *stamp != Stamp::default());
    let off = used.map(|stamp| time_off(stamp, &now)).min();
    if let Some(off) = off
        && off > time_off_max
    {
        warn!(
            seconds = off.0 / 1_000,
            counted = time_off_max.0 / 1_000,
            "the wall clock says that this node was off for longer than storage.time_off_seconds: queues go on as if it had been off for that long"
        );
    }
}
