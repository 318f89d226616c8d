//! Putting a node together: what its threads share, whom each speaks to, and the order in which they begin.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool, mpsc},
    thread::{self, JoinHandle},
};

use anser_broker::{
    id::ShardId,
    time::{Millis, Stamp},
};
use anser_host::{Beginning, Restored, Routes, WriterJob, time_off};
use anser_log::{Appender, FileSystem, Reader, Store};
use anser_replica::Replica;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::LocalSet,
};
use tracing::warn;

use super::{Inner, Node, RunnerThread, Threads};
use crate::{
    announcements::Announcements,
    bodies::{self, Bodies},
    clock::Clock,
    cluster::{
        copies::Copies,
        peers::Cluster,
        taking_part::{Joining, Place, Surroundings},
    },
    config::Config,
    courier::{self, Errand},
    desk::{Around, Bounds, Desk},
    event::Event,
    failure::Failed,
    failures::Failures,
    inboxes::Inboxes,
    maintenance::{Chore, Maintenance},
    runner::Runner,
    startup::{Opening, StartError},
    status::Counters,
    version::Versions,
    writer::Writer,
};

/// Threads that read bodies from the disk.
const BODY_READERS: usize = 2;

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
pub(super) struct Assembly<'a> {
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
    pub(super) fn new(config: &'a Config, opening: Opening, clock: Clock) -> Self {
        let Opening {
            log,
            restored,
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
        let replicas = &restored.replicas;
        learn_routes(replicas, &parts);
        let (chores, chore_list) = mpsc::channel();
        let store = log.store;
        let member = identity.map(|identity| {
            let versions = Arc::clone(&parts.versions);
            let clock = parts.clock.clone();
            let (store, chores) = (store.clone(), chores.clone());
            Joining::new(identity, replicas, store, chores, versions, clock)
        });
        let cache_bytes = config.cache_bytes / 2 / outlets.len();
        let beginning = || Beginning {
            node,
            shards,
            run,
            cache_bytes,
            time_off_max: config.time_off_max,
            replicas: Vec::new(),
            damaged: Vec::new(),
            closed: Vec::new(),
        };
        warn_of_time_off(replicas, &parts.clock, config.time_off_max);
        let mut beginnings: Vec<Beginning> = outlets.iter().map(|_| beginning()).collect();
        share_out(restored, &mut beginnings, &parts.inboxes);
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

    pub(super) fn start(self, place: Option<Place>) -> Result<Node, StartError> {
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
                    reserve_bytes: config.reserve_bytes,
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

/// Each shard is one runner's.
fn share_out(restored: Restored, beginnings: &mut [Beginning], inboxes: &Inboxes) {
    let Restored {
        replicas,
        damaged,
        closed,
        ..
    } = restored;
    for (shard, replica) in replicas {
        let share = &mut beginnings[inboxes.number_of(shard)];
        share.replicas.push((shard, replica));
    }
    for (shard, what) in damaged {
        let share = &mut beginnings[inboxes.number_of(shard)];
        share.damaged.push((shard, what));
    }
    for closed in closed {
        let share = &mut beginnings[inboxes.number_of(closed.shard)];
        share.closed.push(closed);
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
    let mut host = anser_host::Maintenance::new(store, reader, config.reserve_bytes);
    if copies.is_some() {
        host = host.among_others();
    }
    Maintenance {
        host,
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
        in_flight_requests: config.in_flight_requests,
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
