//! From a disk to a process. What becomes of what is on the disk, `anser-host` says.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{id::ShardId, version::ClusterVersion};
use anser_host::{
    Beginning, BodyReader, OpenError, Opener, Policy, Port as _, Reconciler, Restored, Runner,
    Transfers, Versions,
};
use anser_log::{
    Certainty, Log, Opened, Options, Reader, RecoveredShard, disk::simulated::SimulatedDisk,
};
use anser_replica::Replica;

use super::{
    Cluster, Copies, Identity, Maintenance, Peers, Port, Process, Tasks, Watched, Writer,
    mending::Asked,
};
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
pub(super) const OPEN_SEGMENTS: usize = 2;

/// What a node is started with.
pub(crate) struct Opening<'a> {
    pub(crate) node: u64,
    pub(crate) life: u64,
    pub(crate) plan: &'a Plan,
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: Clock,
    pub(crate) now: Micros,
    /// The first node of the cluster makes all shards.
    pub(crate) is_founder: bool,
    pub(crate) identity: Identity,
    pub(crate) policy: Policy,
    /// Whether a node may stay suspect; otherwise the operator says that nothing was lost.
    pub(crate) may_be_suspect: bool,
    /// The highest version that its program can read.
    pub(crate) knows: ClusterVersion,
    /// Whether it distrusts its log, whatever is in it.
    pub(crate) is_wary: bool,
    /// Counts how often the machine was switched on.
    pub(crate) boot: u64,
}

impl Opening<'_> {
    /// Opens the disk; also what each shard has on it.
    pub(crate) fn open(self) -> Result<(Process, BTreeMap<u16, DurableShard>), OpenError> {
        let mut log = self.open_log()?;
        let shards = self.plan.shards;
        if self.is_founder
            && anser_host::is_untouched(&log)
            && log.shards.len() < usize::from(shards)
        {
            anser_host::begin(&log.store, shards, &[self.node])?;
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
            run: self.run(),
            given_up: BTreeMap::new(),
            reader: &log.reader,
        };
        if !log.report.holes.is_empty() {
            sometimes("a log with a hole was opened");
        }
        let restored = opener.restore_all(&log.shards, &log.report)?;
        log.store.note_lost(&restored.unknown)?;
        let closed: Vec<u16> = restored.closed.iter().map(|it| it.shard.0).collect();
        log.store.leave_closed(&closed, opener.suspect)?;
        let mut durable = BTreeMap::new();
        let mut watched = BTreeMap::new();
        let mut suspects = BTreeSet::new();
        for recovered in &log.shards {
            let shard = ShardId(recovered.shard);
            let replica = restored.replicas.iter().find(|(other, _)| *other == shard);
            let Some((_, replica)) = replica else {
                sometimes("a shard whose data is damaged stayed closed");
                durable.insert(recovered.shard, promised(recovered));
                continue;
            };
            let status = replica.status();
            if status.membership.is_joint() {
                sometimes("a node restarted into the middle of a membership change");
            }
            if status.suspect {
                suspects.insert(recovered.shard);
            }
            let known = DurableShard {
                // A sole voter needs nobody to know what is committed.
                commit: replica.applied().index,
                ..on_disk(&log.reader, recovered)?
            };
            watched.insert(recovered.shard, Watched::new(replica, known.log.clone()));
            durable.insert(recovered.shard, known);
        }
        if suspects.is_empty() {
            log.store.clear_suspicion()?;
        }
        let process = self.process(log, restored, watched, suspects);
        Ok((process, durable))
    }

    /// Names this start of the node: no other has the same.
    fn run(&self) -> u64 {
        let numbers = [self.node, self.life];
        numbers
            .into_iter()
            .fold(self.plan.seed, |mixed, number| random::mix(mixed ^ number))
    }

    fn open_log(&self) -> Result<Opened<SimulatedDisk>, anser_log::Error> {
        let options = Options {
            wal_file_bytes: self.plan.wal_file_bytes,
            wal_budget_bytes: self.plan.wal_file_bytes * self.plan.wal_files,
            wal_held_bytes: self.plan.wal_file_bytes * self.plan.wal_files * 4,
            segment_bytes: 16 << 10,
            open_segments: OPEN_SEGMENTS,
            spare_files: 1,
            boot: Some(self.boot),
            has_peers: true,
        };
        Log::open(self.disk.clone(), options)
    }

    /// What the tasks see, with what this node's copy of the catalog knows.
    fn port(&self, replicas: &[(ShardId, Replica)]) -> Port {
        let command_bytes_max = usize::try_from(self.plan.wal_file_bytes * 3 / 4);
        let command_bytes_max = command_bytes_max.expect("a small file");
        let mut replicas = replicas.iter();
        let catalog = replicas.find(|(shard, _)| *shard == ShardId::CATALOG);
        let by_catalog = catalog.map(|(_, catalog)| catalog.shard().version());
        let by_identity = Some(self.identity.cluster_version);
        let active = by_catalog.max(by_identity).unwrap_or_default();
        let versions = Versions::new(active, self.knows);
        let port = Port::new(self.node, self.plan.shards, command_bytes_max, versions);
        if let Some((_, catalog)) = catalog {
            port.routes().replace(&catalog.shard().routes());
            port.catalog().set(catalog.applied().index);
        }
        port
    }

    fn process(
        self,
        log: Opened<SimulatedDisk>,
        restored: Restored,
        watched: BTreeMap<u16, Watched>,
        suspects: BTreeSet<u16>,
    ) -> Process {
        let beginning = Beginning {
            node: self.node,
            shards: self.plan.shards,
            run: self.run(),
            cache_bytes: CACHE_BYTES,
            time_off_max: self.plan.time_off_max,
            replicas: restored.replicas,
            damaged: restored.damaged,
            closed: restored.closed,
        };
        let port = self.port(&beginning.replicas);
        let now = self.clock.now(self.now);
        let mut host = Runner::new(beginning, &now);
        host.set_memory_bytes(self.plan.memory_bytes);
        let reserve_bytes = self.policy.reserve_bytes;
        let (store, reader) = (log.store.clone(), log.reader.clone());
        let maintenance = Maintenance::new(store, reader, reserve_bytes);
        let copies = Copies::new(log.store.clone(), log.reader.clone(), reserve_bytes);
        Process {
            node: self.node,
            life: self.life,
            clock: self.clock,
            disk: self.disk,
            appender: log.appender,
            bodies: BodyReader::new(log.reader.clone(), CACHE_BYTES),
            reader: log.reader,
            store: log.store,
            host,
            watched,
            slowness: 1,
            damaged: BTreeSet::new(),
            struck: None,
            writer: Writer::default(),
            pending: BTreeMap::new(),
            transfers: Transfers::new(port.clone()),
            reconciler: Reconciler::new(port.clone()),
            port,
            tasks: Tasks::default(),
            peers: Peers::default(),
            serving: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            catalog_applied: None,
            maintenance,
            asked: Asked::default(),
            copies,
            file_bytes: self.plan.wal_file_bytes,
            live: BTreeMap::new(),
            cluster: Cluster::new(self.identity, self.policy, &now),
            leaves: false,
            holes: log.report.holes.len(),
            suspects,
            is_noted_suspect: false,
            incoming_at: 0,
            forgotten: BTreeSet::new(),
            turn_comes: false,
            wakes_at: None,
            unsent: BTreeSet::new(),
            failed: None,
        }
    }
}

impl Watched {
    fn new(replica: &Replica, view: LogView) -> Self {
        Self {
            view,
            membership: replica.status().membership,
            applied: replica.applied().index,
            ..Self::default()
        }
    }
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
        ..promised(recovered)
    })
}

fn promised(recovered: &RecoveredShard) -> DurableShard {
    DurableShard {
        log: LogView::default(),
        term: recovered.hard_state.term,
        vote: recovered.hard_state.vote,
        commit: recovered.hard_state.commit,
    }
}
