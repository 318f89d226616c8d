//! From a disk to replicas, as `anser-node`'s `startup.rs` does it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use anser_broker::{id::ShardId, shard::Shard};
use anser_log::{
    Certainty, Change, Entry, EntryKind, Log, Opened, Options, Reader, RecoveredShard, Store,
    disk::simulated::SimulatedDisk,
};
use anser_replica::{
    Image, Membership, MembershipChange, Place, Replica, SnapshotImage, Start, StoredEntry,
    StoredKind, read_snapshot,
};

use super::{Copies, Hosted, Maintenance, Process, Writer};
use crate::{
    checks::{DurableShard, LogView},
    clock::{Clock, ShardTime},
    coverage::sometimes,
    event::Micros,
    plan::Plan,
    random,
};

/// Where a fresh shard begins.
const BEGINNING: Place = Place { index: 1, term: 1 };
const REPLAY_BYTES: u64 = 64 << 10;

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

/// Why a process does not start.
#[derive(Debug)]
pub(crate) enum OpeningError {
    Log(anser_log::Error),
    Damaged(String),
}

impl std::fmt::Display for OpeningError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(formatter),
            Self::Damaged(text) => formatter.write_str(text),
        }
    }
}

impl From<anser_log::Error> for OpeningError {
    fn from(error: anser_log::Error) -> Self {
        Self::Log(error)
    }
}

impl OpeningError {
    pub(crate) fn is_full_disk(&self) -> bool {
        matches!(self, Self::Log(anser_log::Error::NoSpace { .. }))
    }
}

impl Opening<'_> {
    /// Opens the disk; also what each shard has on it.
    pub(crate) fn open(self) -> Result<(Process, BTreeMap<u16, DurableShard>), OpeningError> {
        let mut log = self.open_log()?;
        let unused = |shard: &RecoveredShard| shard.last_index <= BEGINNING.index;
        if let Some(founders) = &self.founders
            && log.shards.iter().all(unused)
            && log.shards.len() < usize::from(self.plan.shards)
        {
            bootstrap(&log.store, self.plan.shards, founders)?;
            drop(log);
            log = self.open_log()?;
        }
        if let Some(torn) = &log.report.torn_tail {
            sometimes("a torn tail was repaired");
            if torn.certainty == Certainty::Ambiguous {
                sometimes("an ambiguous tail made a node suspect");
            }
        }
        let suspect = (log.report.suspect || self.is_wary) && self.may_be_suspect;
        let mut durable = BTreeMap::new();
        let mut hosted = BTreeMap::new();
        let mut suspects = BTreeSet::new();
        for recovered in &log.shards {
            let (replica, view) = self.restore(&log.reader, recovered, suspect)?;
            let known = DurableShard {
                log: view.clone(),
                term: recovered.hard_state.term,
                vote: recovered.hard_state.vote,
            };
            durable.insert(recovered.shard, known);
            if replica.status().suspect {
                suspects.insert(recovered.shard);
            }
            hosted.insert(recovered.shard, (replica, view));
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
            open_segments: 2,
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
            let last = replica.shard().now();
            let time = ShardTime::continue_from(last, &self.clock, self.now);
            (shard, Hosted::new(replica, view, time))
        });
        Process {
            node: self.node,
            life: self.life,
            clock: self.clock,
            disk: self.disk,
            appender: log.appender,
            reader: log.reader,
            store: log.store,
            hosted: hosted.collect(),
            slowness: 1,
            damaged: false,
            writer: Writer::default(),
            cache: BTreeMap::new(),
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

    fn run(&self, shard: u16) -> u64 {
        run(self.plan, self.node, shard, self.life, 0)
    }

    fn restore(
        &self,
        reader: &Reader<SimulatedDisk>,
        recovered: &RecoveredShard,
        suspect: bool,
    ) -> Result<(Replica, LogView), OpeningError> {
        let shard = recovered.shard;
        let Some((mut state, mut applied)) = snapshot(reader, shard)? else {
            if recovered.last_index > 0 {
                let text = format!("shard {shard} has no snapshot");
                return Err(OpeningError::Damaged(text));
            }
            let hard = recovered.hard_state;
            let promised = (hard.term, hard.vote);
            let run = self.run(shard);
            let replica = empty_replica(self.node, self.plan, shard, promised, run);
            return Ok((replica, LogView::default()));
        };
        let mut view = LogView::new(applied.index, applied.term);
        let mut entries = Vec::new();
        each_entry(
            reader,
            shard,
            applied.index + 1,
            recovered.last_index,
            |entry| {
                view.append(entry.index, entry.term);
                let alone = state.membership.voters == [self.node] && !state.membership.is_joint();
                let committed = entry.index <= recovered.hard_state.commit || alone;
                if committed && entries.is_empty() {
                    replay(&mut state, &entry)?;
                    applied = Place {
                        index: entry.index,
                        term: entry.term,
                    };
                } else {
                    entries.push(entry);
                }
                Ok(())
            },
        )?;
        if state.membership.is_joint() {
            sometimes("a node restarted into the middle of a membership change");
        }
        let terms = reader.terms(shard).into_iter();
        let replica = Replica::new(Start {
            node: self.node,
            term: recovered.hard_state.term.max(applied.term),
            vote: recovered.hard_state.vote,
            applied,
            suspect: suspect && state.membership.voters != [self.node],
            membership: state.membership,
            shard: state.shard,
            entries,
            jitter: self.run(shard),
            log_first: reader.first_index(shard).max(1),
            terms: terms.map(|(index, term)| Place { index, term }).collect(),
        });
        Ok((replica, view))
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

/// Names one run of a replica: no other has the same.
pub(super) fn run(plan: &Plan, node: u64, shard: u16, life: u64, made: u64) -> u64 {
    let numbers = [node, shard.into(), life, made];
    numbers
        .into_iter()
        .fold(plan.seed, |mixed, number| random::mix(mixed ^ number))
}

/// A replica that knows nothing, for a shard that the node does not have.
pub(super) fn empty_replica(
    node: u64,
    plan: &Plan,
    shard: u16,
    hard: (u64, u64),
    run: u64,
) -> Replica {
    let mut replica = Replica::new(Start {
        node,
        term: hard.0,
        vote: hard.1,
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

fn bootstrap(
    store: &Store<SimulatedDisk>,
    shards: u16,
    founders: &[u64],
) -> Result<(), anser_log::Error> {
    let membership = Membership {
        voters: founders.to_vec(),
        ..Membership::default()
    };
    for number in (0..shards).rev() {
        let shard = Shard::new(ShardId(number), shards);
        let image = Image::initial(BEGINNING, membership.clone(), shard);
        let snapshot = Some(super::maintenance::save(store, number, &image)?);
        let change = Change {
            snapshot,
            ..Change::default()
        };
        store.commit(number, change)?;
    }
    Ok(())
}

/// A shard's snapshot, read and decoded.
pub(super) fn snapshot(
    reader: &Reader<SimulatedDisk>,
    shard: u16,
) -> Result<Option<(SnapshotImage, Place)>, OpeningError> {
    let Some((info, mut snapshot)) = reader.snapshot(shard)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = snapshot.read_to_end(&mut bytes);
    read.map_err(|error| OpeningError::Damaged(error.to_string()))?;
    let image = read_snapshot(&bytes).map_err(|error| OpeningError::Damaged(error.to_string()))?;
    let place = Place {
        index: info.index,
        term: info.term,
    };
    Ok(Some((image, place)))
}

fn replay(state: &mut SnapshotImage, entry: &StoredEntry) -> Result<(), OpeningError> {
    let damaged = |text: String| OpeningError::Damaged(format!("entry {}: {text}", entry.index));
    match entry.kind {
        StoredKind::Membership => {
            let change = MembershipChange::decode(&entry.data)
                .map_err(|error| damaged(error.to_string()))?;
            if let Some(after) = state.membership.after(&change) {
                state.membership = after;
            }
        }
        StoredKind::Normal if entry.data.is_empty() => {}
        StoredKind::Normal => {
            let (mut replies, mut effects) = (Vec::new(), Vec::new());
            state
                .shard
                .apply(entry.index, &entry.data, &mut replies, &mut effects)
                .map_err(|error| damaged(error.to_string()))?;
        }
    }
    Ok(())
}

/// An entry as consensus knows it.
pub(super) fn stored(entry: Entry) -> StoredEntry {
    StoredEntry {
        index: entry.index,
        term: entry.term,
        kind: match entry.kind {
            EntryKind::Normal => StoredKind::Normal,
            EntryKind::Change | EntryKind::ChangeV2 => StoredKind::Membership,
        },
        data: entry.data,
    }
}

fn each_entry(
    reader: &Reader<SimulatedDisk>,
    shard: u16,
    first: u64,
    last: u64,
    mut visit: impl FnMut(StoredEntry) -> Result<(), OpeningError>,
) -> Result<(), OpeningError> {
    let mut next = first;
    while next <= last {
        for entry in reader.entries(shard, next, last + 1, REPLAY_BYTES)? {
            next = entry.index + 1;
            visit(stored(entry))?;
        }
    }
    Ok(())
}
