//! One life of a node's process: the parts of `anser-node` that its threads run, one event at a time.

mod bounds;
mod calls;
mod cluster;
mod copies;
mod cutting;
mod maintenance;
mod mending;
mod open;
mod peers;
mod port;
mod requests;
mod runner;
mod tasks;
mod versions;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anser_broker::id::ShardId;
use anser_host::{BodyReader, Reconciler, Runner, Transfers};
use anser_log::{Appender, Error, Reader, Store, disk::simulated::SimulatedDisk};
use anser_replica::{Membership, Replica};

use crate::{checks::LogView, clock::Clock, event::Micros, plan::Fault, world::Common};

use cluster::Cluster;
use copies::Copies;
use maintenance::Maintenance;
use mending::Asked;
use peers::Peers;
use port::Port;
use requests::Pending;
use tasks::Tasks;
use writer::Writer;

pub(crate) use cluster::{Identity, address_of};
pub(crate) use cutting::{Moment, Remains, Stop};
pub(crate) use open::Opening;

/// A process that runs.
pub(crate) struct Process {
    pub(crate) node: u64,
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) disk: SimulatedDisk,
    appender: Appender<SimulatedDisk>,
    bodies: BodyReader<SimulatedDisk>,
    reader: Reader<SimulatedDisk>,
    store: Store<SimulatedDisk>,
    /// Who asks is known by the number of its ticket.
    host: Runner<u64>,
    watched: BTreeMap<u16, Watched>,
    /// How many times slower than usual the disk is.
    pub(crate) slowness: u64,
    /// The files in which something is damaged.
    pub(crate) damaged: BTreeSet<String>,
    /// What the disk fails, or may have failed.
    pub(crate) struck: Option<Fault>,
    writer: Writer,
    pending: BTreeMap<u64, Pending>,
    port: Port,
    tasks: Tasks,
    transfers: Transfers<Port>,
    reconciler: Reconciler<Port>,
    peers: Peers,
    /// The tasks that serve clients, by request.
    serving: BTreeMap<u64, u64>,
    /// Requests whose clients had gone before they came.
    abandoned: BTreeSet<u64>,
    /// The last entry of the catalog that was applied in this turn.
    catalog_applied: Option<u64>,
    maintenance: Maintenance,
    asked: Asked,
    copies: Copies,
    /// Of one log file.
    file_bytes: u64,
    /// How many messages were alive in each shard at the last few inspections.
    live: BTreeMap<ShardId, VecDeque<u64>>,
    cluster: Cluster,
    /// It ends soon.
    leaves: bool,
    /// Shards whose replicas may have lost something.
    suspects: BTreeSet<u16>,
    /// Places where its log was damaged at the start, or could not be read.
    pub(crate) holes: usize,
    /// They have not any more, but the full disk may not say so yet.
    is_noted_suspect: bool,
    /// When the thread that takes in copies is free.
    incoming_at: Micros,
    forgotten: BTreeSet<u16>,
    turn_comes: bool,
    wakes_at: Option<Micros>,
    /// Nodes that messages could not be sent to in this turn.
    unsent: BTreeSet<u64>,
    /// Why the process ends.
    pub(crate) failed: Option<Failed>,
}

/// A process that ends by itself says why.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) reason: String,
    /// A read, a write or a sync failed.
    pub(crate) of_disk: bool,
}

/// What the judges know of a replica: its log as it wants it, and what it has said.
#[derive(Default)]
struct Watched {
    view: LogView,
    /// The term in which it was last seen to lead.
    led: u64,
    membership: Membership,
    /// The last entry that it said it applied.
    applied: u64,
    hashed: u64,
    /// The first entry that this program cannot read.
    unreadable: Option<u64>,
}

impl Process {
    /// The times of a shard, for whoever reads the trace.
    pub(crate) fn times(&self, shard: u16, now: Micros) -> String {
        let time = self.host.time_of(ShardId(shard), &self.clock.now(now));
        let replica = self
            .replica(shard)
            .expect("it is asked of those that are here");
        format!(
            "time {time:?}, stamp {:?}, due {:?}, wakes at {:?}",
            replica.shard().now().now,
            replica.next_deadline(),
            self.wakes_at
        )
    }

    pub(crate) fn replica(&self, shard: u16) -> Option<&Replica> {
        self.host.replica(ShardId(shard))
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = (u16, &Replica)> {
        let replicas = self.host.replicas();
        replicas.map(|(shard, replica)| (shard.0, replica))
    }

    /// Whether a change of several steps is under way, as far as its replicas have said.
    pub(crate) fn is_joint(&self) -> bool {
        let mut watched = self.watched.values();
        watched.any(|watched| watched.membership.is_joint())
    }

    fn serves(&self, shard: u16) -> bool {
        self.replica(shard).is_some_and(Replica::serves)
    }

    /// Whether it has been told to give its leaderships away, for it ends soon.
    pub(crate) fn leaves(&self) -> bool {
        self.leaves
    }

    /// Whether any of its replicas may lack what it acknowledged.
    pub(crate) fn is_suspect(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether it knows of something damaged that no copy has replaced yet.
    pub(crate) fn lacks_anything(&self) -> bool {
        self.host.damaged().next().is_some()
    }

    /// The shards of those that may.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = u16> {
        self.suspects.iter().copied()
    }

    fn fail(&mut self, reason: String) {
        let of_disk = false;
        self.failed.get_or_insert(Failed { reason, of_disk });
    }

    /// The process ends for an error of the log, which must have a cause.
    fn fail_for(&mut self, what: &str, error: &Error, common: &mut Common) {
        let reason = format!("{what}: {error}");
        if !self.is_excused(error) {
            let text = format!("node {}: {reason}", self.node);
            common.checks.fail(text);
        }
        let of_disk = matches!(error, Error::Failed { .. } | Error::Io { .. });
        self.failed.get_or_insert(Failed { reason, of_disk });
    }

    /// The shards that could not be opened.
    pub(crate) fn closed(&self) -> BTreeSet<u16> {
        self.host.closed().map(|shard| shard.0).collect()
    }

    /// Whether nothing is left that the node knows to be damaged.
    pub(crate) fn has_healed(&self) -> bool {
        self.host.damaged().next().is_none()
    }

    /// Whether the node knows that something of a shard is damaged: then what could not be read may be left out.
    pub(crate) fn is_known_damaged(&self, shard: u16) -> bool {
        let mut damaged = self.host.damaged();
        damaged.any(|(known, _)| known.0 == shard)
    }

    /// Whether the disk gave cause for an error: the file that it names is damaged, or an operation failed.
    fn is_excused(&self, error: &Error) -> bool {
        match error {
            Error::Corrupt { file, .. } => self.damaged.contains(file),
            Error::Io { file, .. } => {
                // Its file may have another name by now.
                self.struck.is_some() || self.disk.cannot_read(file) || self.damaged.contains(file)
            }
            // A page of which a part cannot be read cannot be written in part.
            Error::Failed { file, .. } => self.struck.is_some() || self.disk.cannot_read(file),
            _ => false,
        }
    }
}
