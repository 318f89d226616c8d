//! From a disk to a process. What becomes of what is on the disk, `anser-host` says.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{id::ShardId, shard::Shard};
use anser_host::{BodyReader, EntryCache, OpenError, Opener, ShardTime};
use anser_log::{
    Certainty, Log, Opened, Options, Reader, RecoveredShard, disk::simulated::SimulatedDisk,
};
use anser_replica::{Membership, Place, Replica, Start};

use super::{Copies, Hosted, Maintenance, Process, Writer};
use crate::{
    checks::{DurableShard, LogView},
    clock::Clock,
    coverage::sometimes,
    event::Micros,
    plan::Plan,
    random,
};

/// Of what receivers need, in memory: little, so that much is read from the disk.
const CACHE_BYTES: usize = 8 << 10;

/// What a node is started with.
pub(crate) struct Opening<'a> {
    pub(crate) node: u64,
    pub(crate) life: u64,
    pub(crate) plan: &'a Plan,
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Clock,
    pub(crate) now: Micros,
    /// The members of all shards, if the node is one of the first.
    pub(crate) founders: Option<Vec<u64>>,
    /// Whether a node may stay suspect; otherwise the operator says that nothing was lost.
    pub(crate) may_be_suspect: bool,
    /// Whether it distrusts its log, whatever is in it.
    pub(crate) is_wary: bool,
}

impl Opening<'_> {
    /// Opens the disk; also what each shard has on it.
    pub(crate) fn open(self) -> Result<(Process, BTreeMap<u16, DurableShard>), OpenError> {
        let mut log = self.open_log()?;
        let shards = self.plan.shards;
        if let Some(founders) = &self.founders
            && anser_host::is_untouched(&log)
            && log.shards.len() < usize::from(shards)
        {
            anser_host::begin(&log.store, shards, founders)?;
            drop(log);
            log = self.open_log()?;
        }
        if let Some(torn) = &log.report.torn_tail {
            sometimes("a torn tail was repaired");
            if torn.certainty == Certainty::Ambiguous {
                sometimes("an ambiguous tail made a node suspect");
            }
        }
        let opener = Opener {
            node: self.node,
            is_member: true,
            shards,
            suspect: (log.report.suspect || self.is_wary) && self.may_be_suspect,
            run: run(self.plan, self.node, self.life, 0),
            reader: &log.reader,
        };
        let mut durable = BTreeMap::new();
        let mut hosted = BTreeMap::new();
        let mut suspects = BTreeSet::new();
        for recovered in &log.shards {
            let replica = opener.restore(recovered)?;
            let status = replica.status();
            if status.membership.is_joint() {
                sometimes("a node restarted into the middle of a membership change");
            }
            if status.suspect {
                suspects.insert(recovered.shard);
            }
            let known = on_disk(&log.reader, recovered)?;
            hosted.insert(recovered.shard, (replica, known.log.clone()));
            durable.insert(recovered.shard, known);
        }
        if suspects.is_empty() {
            log.store.clear_suspicion()?;
        }
        let process = self.process(log, hosted, suspects);
        Ok((process, durable))
    }

    fn open_log(&self) -> Result<Opened<SimulatedDisk>, anser_log::Error> {
        let options = Options {
            wal_file_bytes: self.plan.wal_file_bytes,
            wal_budget_bytes: self.plan.wal_file_bytes * self.plan.wal_files,
            wal_held_bytes: self.plan.wal_file_bytes * self.plan.wal_files * 4,
            segment_bytes: 16 << 10,
            spare_files: 1,
        };
        Log::open(self.disk.clone(), options)
    }

    fn process(
        self,
        log: Opened<SimulatedDisk>,
        replicas: BTreeMap<u16, (Replica, LogView)>,
        suspects: BTreeSet<u16>,
    ) -> Process {
        let hosted = replicas.into_iter().map(|(shard, (mut replica, view))| {
            replica.set_memory_bytes(self.plan.memory_bytes);
            let time = ShardTime::of(&replica, &self.clock.now(self.now));
            (shard, Hosted::new(replica, view, time))
        });
        Process {
            node: self.node,
            life: self.life,
            clock: self.clock,
            disk: self.disk,
            appender: log.appender,
            bodies: BodyReader::new(log.reader.clone(), CACHE_BYTES),
            reader: log.reader,
            store: log.store,
            hosted: hosted.collect(),
            slowness: 1,
            damaged: false,
            writer: Writer::default(),
            cache: EntryCache::new(CACHE_BYTES),
            pending: BTreeMap::new(),
            maintenance: Maintenance::default(),
            copies: Copies::default(),
            suspects,
            incoming_at: 0,
            forgotten: BTreeSet::new(),
            made_empty: 0,
            touched: BTreeSet::new(),
            outputs: Vec::new(),
            turn_comes: false,
            wakes_at: None,
            said_unreachable: BTreeMap::new(),
            failed: None,
        }
    }
}

impl Hosted {
    pub(super) fn new(replica: Replica, view: LogView, time: ShardTime) -> Self {
        let membership = replica.status().membership;
        let applied = replica.applied().index;
        Self {
            replica,
            applied,
            time,
            view,
            led: 0,
            membership,
            hashed: 0,
        }
    }
}

/// Names one start of a node, or of a replica that was made later: no other has the same.
pub(super) fn run(plan: &Plan, node: u64, life: u64, made: u64) -> u64 {
    let numbers = [node, life, made];
    numbers
        .into_iter()
        .fold(plan.seed, |mixed, number| random::mix(mixed ^ number))
}

/// What the disk has of a shard.
fn on_disk(
    reader: &Reader<SimulatedDisk>,
    recovered: &RecoveredShard,
) -> Result<DurableShard, anser_log::Error> {
    let base = reader.snapshot(recovered.shard)?;
    let mut log = base.map_or_else(LogView::default, |(info, _)| {
        LogView::new(info.index, info.term)
    });
    let mut terms = reader.terms(recovered.shard).into_iter().peekable();
    while let Some((first, term)) = terms.next() {
        let end = terms.peek().map_or(recovered.last_index + 1, |next| next.0);
        for index in first..end {
            log.append(index, term);
        }
    }
    Ok(DurableShard {
        log,
        term: recovered.hard_state.term,
        vote: recovered.hard_state.vote,
    })
}

/// A replica that knows nothing, for a shard that the node does not have.
pub(super) fn empty_replica(node: u64, plan: &Plan, shard: u16, run: u64) -> Replica {
    let mut replica = Replica::new(Start {
        node,
        term: 0,
        vote: 0,
        applied: Place { index: 0, term: 0 },
        membership: Membership::default(),
        shard: Shard::new(ShardId(shard), plan.shards),
        entries: Vec::new(),
        jitter: run,
        log_first: 1,
        terms: Vec::new(),
        suspect: false,
    });
    replica.set_memory_bytes(plan.memory_bytes);
    replica
}
