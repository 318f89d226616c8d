//! One life of a node's process: the parts of `anser-node` that its threads run, one event at a time.

mod copies;
mod cutting;
mod maintenance;
mod open;
mod requests;
mod runner;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use anser_host::{BodyReader, EntryCache, ShardTime};
use anser_log::{Appender, Reader, Store, disk::simulated::SimulatedDisk};
use anser_replica::{Output, Replica};
use bytes::Bytes;

use crate::{checks::LogView, clock::Clock, event::Micros};

use copies::Copies;
use maintenance::Maintenance;
use requests::Pending;
use writer::Writer;

pub(crate) use cutting::{Moment, Remains, Stop};
pub(crate) use open::Opening;

/// A process that runs.
pub(crate) struct Process {
    pub(crate) node: u64,
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) disk: SimulatedDisk,
    appender: Appender<SimulatedDisk>,
    reader: Reader<SimulatedDisk>,
    store: Store<SimulatedDisk>,
    pub(crate) hosted: BTreeMap<u16, Hosted>,
    /// How many times slower than usual the disk is.
    pub(crate) slowness: u64,
    /// What rests on the disk may be damaged.
    pub(crate) damaged: bool,
    writer: Writer,
    bodies: BodyReader<SimulatedDisk>,
    cache: EntryCache<Bytes>,
    pending: BTreeMap<u64, Pending>,
    maintenance: Maintenance,
    copies: Copies,
    /// Shards whose replicas may have lost something.
    suspects: BTreeSet<u16>,
    /// When the thread that takes in copies is free.
    incoming_at: Micros,
    forgotten: BTreeSet<u16>,
    /// How many replicas were made from nothing in this life.
    made_empty: u64,
    touched: BTreeSet<u16>,
    outputs: Vec<(u16, Output)>,
    turn_comes: bool,
    wakes_at: Option<Micros>,
    said_unreachable: BTreeMap<u64, Micros>,
    /// Why the process ends.
    pub(crate) failed: Option<Failed>,
}

/// A process that ends by itself says why.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) reason: String,
    /// The disk must not be used again (a failed write or sync).
    pub(crate) disk_is_dead: bool,
}

/// A replica, its time, and its log as it wants it.
pub(crate) struct Hosted {
    pub(crate) replica: Replica,
    time: ShardTime,
    pub(crate) view: LogView,
    /// The term in which it was last seen to lead.
    led: u64,
    membership: anser_replica::Membership,
    /// The last entry that it said it applied.
    applied: u64,
    hashed: u64,
}

impl Hosted {
    /// Whether a change of several steps is under way, as far as it knows.
    pub(crate) fn is_joint(&self) -> bool {
        self.membership.is_joint()
    }
}

impl Process {
    /// The times of a shard, for whoever reads the trace.
    pub(crate) fn times(&self, shard: u16, now: Micros) -> String {
        let hosted = &self.hosted[&shard];
        format!(
            "time {:?}, stamp {:?}, due {:?}, wakes at {:?}",
            hosted.time.now(&self.clock.now(now)),
            hosted.replica.shard().now().now,
            hosted.replica.next_deadline(),
            self.wakes_at
        )
    }

    /// A node of this process's shards that is suspect.
    pub(crate) fn is_suspect(&self) -> bool {
        !self.suspects.is_empty()
    }

    fn fail(&mut self, reason: String, disk_is_dead: bool) {
        if self.failed.is_none() {
            self.failed = Some(Failed {
                reason,
                disk_is_dead,
            });
        }
    }
}
