//! The node: starts the threads, hands out the service, stops the threads in order.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser_broker::id::ShardId;
use anser_log::{Appender, FileSystem, Opened, Store};
use anser_replica::Replica;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::LocalSet,
};

use crate::{
    announcements::Announcements,
    bodies::{self, BodyReader},
    cache::EntryCache,
    clock::{Clock, ShardTime},
    config::Config,
    courier::{self, Errand},
    desk::{Bounds, Desk},
    event::{Event, Look},
    failure::Failed,
    failures::Failures,
    maintenance::Maintenance,
    routes::Routes,
    runner::Runner,
    scrub::Scrub,
    startup::{self, Opening, StartError},
    status::{Counters, ShardStatus, Status, read},
    writer::{self, Writer},
};

/// How long to wait for what the runners have to say of their shards.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// Threads that read bodies from the disk.
const BODY_READERS: usize = 2;

/// A running node. Clones are the same node; it stops by [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    desk: Desk,
    errands: UnboundedSender<Errand>,
    announcements: Arc<Announcements>,
    failures: Failures,
    clock: Clock,
    counters: Arc<Counters>,
    failed: Failed,
    store: Store<FileSystem>,
    runners: BTreeMap<ShardId, mpsc::Sender<Event>>,
    stopping: Arc<AtomicBool>,
    threads: Mutex<Option<Threads>>,
}

/// In the order in which they are stopped.
struct Threads {
    stop_courier: tokio::sync::oneshot::Sender<()>,
    courier: JoinHandle<()>,
    stop_maintenance: mpsc::Sender<()>,
    maintenance: JoinHandle<()>,
    runners: Vec<(mpsc::Sender<Event>, JoinHandle<()>)>,
    /// Ends when the runners have: they hold its jobs' senders.
    writer: JoinHandle<()>,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the data folder, or makes it, and serves when this returns.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let Opening {
            log,
            replicas,
            last,
        } = startup::open(config)?;
        let Opened {
            appender,
            reader,
            store,
            ..
        } = log;
        let parts = Parts {
            routes: Arc::default(),
            announcements: Arc::default(),
            counters: Arc::default(),
            failed: Failed::new(),
            time: ShardTime::continue_from(last, clock.clone()),
            clock,
            stopping: Arc::default(),
        };
        let to_do = errands_at_start(&replicas, &parts);
        let (errands, errand_list) = unbounded_channel();
        let body_readers = start_body_readers(&reader, config, &parts.counters)?;
        let (jobs, writer) = start_writer(appender, &parts)?;
        let started = start_runners(config, &parts, replicas, &jobs, &body_readers, &errands)?;
        drop(jobs);
        let runners = started.by_shard;
        let desk = Desk::new(parts.routes.clone(), &runners, body_readers, bounds(config));
        let (stop_maintenance, stop) = mpsc::channel();
        let maintenance = Maintenance {
            store: store.clone(),
            reader,
            runners: runners.clone(),
            counters: parts.counters.clone(),
            failed: parts.failed.clone(),
            reserve_bytes: config.reserve_bytes,
            stop,
            alive: BTreeMap::new(),
            sweeps: 0,
            scrub: Scrub::default(),
        };
        let maintenance = spawn("maintenance", move || maintenance.run())?;
        let counters = parts.counters.clone();
        let (stop_courier, courier) = start_courier(desk.clone(), counters, errand_list)?;
        let threads = Threads {
            stop_courier,
            courier,
            stop_maintenance,
            maintenance,
            runners: started.threads,
            writer,
        };
        let node = Self(Arc::new(Inner {
            desk,
            errands,
            announcements: parts.announcements,
            failures: Failures::default(),
            clock: parts.clock,
            counters: parts.counters,
            failed: parts.failed,
            store,
            runners,
            stopping: parts.stopping,
            threads: Mutex::new(Some(threads)),
        }));
        node.wait_until_ready();
        for errand in to_do {
            node.run_errand(errand);
        }
        Ok(node)
    }

    /// Waits for a fatal error and gives its reason: the process must end, for nothing is
    /// acknowledged any more.
    pub async fn failed(&self) -> String {
        self.0.failed.wait().await
    }

    /// Why the node is about to stop, if it is.
    pub fn failure(&self) -> Option<String> {
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
        threads.stop_maintenance.send(()).ok();
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
        let failure = self.0.failed.get();
        Status {
            ready: failure.is_none()
                && shards.len() == self.0.runners.len()
                && shards.iter().all(|shard| shard.serves),
            failure,
            shards,
            wal_bytes: self.0.store.wal_bytes_in_use(),
            segment_bytes: self.0.store.segment_bytes(),
            free_bytes: self.0.store.free_bytes().unwrap_or(0),
            storage_full: counters.storage_full.load(Ordering::Relaxed),
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
            maintenance_errors: read(&counters.maintenance_errors),
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

    pub(crate) fn run_errand(&self, errand: Errand) {
        // Without a courier the node is stopping; the next start does what is left.
        drop(self.0.errands.send(errand));
    }

    fn shards(&self) -> Vec<ShardStatus> {
        let (sender, receiver) = mpsc::channel();
        for (&shard, runner) in &self.0.runners {
            // A runner that is gone leaves its shards out of the answer.
            drop(runner.send(Event::Look {
                shard,
                look: Look::Status(sender.clone()),
            }));
        }
        drop(sender);
        let until = Instant::now() + STATUS_PATIENCE;
        let next = || {
            receiver
                .recv_timeout(until.saturating_duration_since(Instant::now()))
                .ok()
        };
        let mut shards: Vec<ShardStatus> = std::iter::from_fn(next).collect();
        shards.sort_by_key(|shard| shard.shard);
        shards
    }

    /// A sole voter leads as soon as its first entry is durable.
    fn wait_until_ready(&self) {
        while self.0.failed.get().is_none() && !self.shards().iter().all(|shard| shard.serves) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What every runner shares.
struct Parts {
    routes: Arc<Routes>,
    announcements: Arc<Announcements>,
    counters: Arc<Counters>,
    failed: Failed,
    time: ShardTime,
    clock: Clock,
    stopping: Arc<AtomicBool>,
}

struct Runners {
    by_shard: BTreeMap<ShardId, mpsc::Sender<Event>>,
    threads: Vec<(mpsc::Sender<Event>, JoinHandle<()>)>,
}

/// A command must fit into one log file beside what else a file begins with.
fn bounds(config: &Config) -> Bounds {
    Bounds {
        in_flight_bytes: config.in_flight_bytes,
        command_bytes: config.wal_file_bytes * 3 / 4,
    }
}

fn start_writer(
    appender: Appender<FileSystem>,
    parts: &Parts,
) -> Result<(mpsc::Sender<writer::Job>, JoinHandle<()>), StartError> {
    let (sender, jobs) = mpsc::channel();
    let (counters, failed) = (parts.counters.clone(), parts.failed.clone());
    let stopping = parts.stopping.clone();
    let writer = Writer {
        appender,
        jobs,
        counters,
        failed,
        stopping,
    };
    Ok((sender, spawn("writer", move || writer.run())?))
}

fn start_runners(
    config: &Config,
    parts: &Parts,
    replicas: Vec<(ShardId, Replica)>,
    writer: &mpsc::Sender<writer::Job>,
    body_readers: &[mpsc::Sender<bodies::Job>],
    errands: &UnboundedSender<Errand>,
) -> Result<Runners, StartError> {
    let count = config.runners.clamp(1, replicas.len());
    let mut shares: Vec<BTreeMap<ShardId, Replica>> = (0..count).map(|_| BTreeMap::new()).collect();
    for (shard, replica) in replicas {
        shares[usize::from(shard.0) % count].insert(shard, replica);
    }
    let mut started = Runners {
        by_shard: BTreeMap::new(),
        threads: Vec::new(),
    };
    for (number, replicas) in shares.into_iter().enumerate() {
        let (itself, inbox) = mpsc::channel();
        for &shard in replicas.keys() {
            started.by_shard.insert(shard, itself.clone());
        }
        let runner = Runner {
            replicas,
            inbox,
            itself: itself.clone(),
            writer: writer.clone(),
            body_readers: body_readers.to_vec(),
            errands: errands.clone(),
            cache: EntryCache::new(config.cache_bytes / 2 / count),
            routes: parts.routes.clone(),
            announcements: parts.announcements.clone(),
            counters: parts.counters.clone(),
            failed: parts.failed.clone(),
            time: parts.time.clone(),
            clock: parts.clock.clone(),
            pending: HashMap::new(),
        };
        let thread = spawn(&format!("runner-{number}"), move || runner.run())?;
        started.threads.push((itself, thread));
    }
    Ok(started)
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
            let body_reader = BodyReader::new(reader.clone(), cache_bytes, counters.clone());
            spawn(&format!("bodies-{number}"), move || body_reader.run(&jobs))?;
            Ok(sender)
        })
        .collect()
}

type CourierThread = (tokio::sync::oneshot::Sender<()>, JoinHandle<()>);

fn start_courier(
    desk: Desk,
    counters: Arc<Counters>,
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
                () = courier::run(desk, counters, errands) => {}
                _ = stopped => {}
            }
        });
    })?;
    Ok((stop, thread))
}

/// What earlier runs of the node left undone; also fills the routes and announces what is to be pushed.
fn errands_at_start(replicas: &[(ShardId, Replica)], parts: &Parts) -> Vec<Errand> {
    let mut errands = Vec::new();
    for (shard, replica) in replicas {
        let state = replica.shard();
        let queues = state.queues_with_moves().into_iter();
        errands.extend(queues.map(|queue| Errand::Moves {
            shard: *shard,
            queue,
        }));
        for subscription in state.outboxes_ready() {
            parts.announcements.announce(subscription);
        }
        if *shard == ShardId::CATALOG {
            for placed in state.routes() {
                parts.routes.change(&placed);
            }
            errands.extend(state.unsettled().into_iter().map(Errand::Place));
        }
    }
    errands
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(StartError::Thread)
}
