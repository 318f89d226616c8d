//! From a data folder to replicas: opens the log, restores snapshots and replays what came after.
//!
//! A fresh folder is given a first snapshot for every shard, so that from then on a shard whose
//! manifest is missing is damage and never an empty shard.

use std::{io::Read, sync::Arc};

use anser_broker::{codec, id::ShardId, shard::Shard, version::ClusterVersion};
use anser_log::{
    Change, Disk, Entry, EntryKind, FileSystem, Log, Opened, Options, Reader, RecoveredShard, Store,
};
use anser_replica::{
    Image, Membership, MembershipChange, Place, Replica, SnapshotImage, Start, StoredEntry,
    StoredKind, read_snapshot,
};
use tracing::{info, warn};

use crate::{
    cluster::{
        ClusterConfig,
        identity::{self, Identity},
        join,
    },
    config::Config,
    failure::Failure,
    snapshots,
    version::{self, TooOld, Versions},
};

/// The log may take this many times its budget while followers need what is in it.
const HELD_BUDGETS: u64 = 4;

/// A node for itself is number one, and so is the first of a cluster.
const FIRST_NODE: u64 = 1;
/// Where a fresh shard begins: raft-rs wants a place before its first entry.
const BEGINNING: Place = Place { index: 1, term: 1 };
/// Bytes of entries read at once while replaying.
const REPLAY_BYTES: u64 = 8 << 20;
const SHARDS_MAX: u16 = ShardId::LAST.0 + 1;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {path} cannot be made: {reason}")]
    Folder {
        path: String,
        reason: std::io::Error,
    },
    #[error("{0} shards were asked for, at least 1 and at most {SHARDS_MAX}")]
    Shards(u16),
    #[error("the log cannot be opened")]
    Log(#[from] anser_log::Error),
    #[error("the data folder holds {found} shards numbered up to {last}; some are missing")]
    ShardsMissing { found: usize, last: u16 },
    #[error("shard {shard} cannot be restored: {reason}")]
    Snapshot { shard: u16, reason: String },
    #[error("entry {index} of shard {shard} cannot be replayed: {reason}")]
    Replay {
        shard: u16,
        index: u64,
        reason: String,
    },
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the file that says which node this is cannot be used: {reason}")]
    Identity { reason: std::io::Error },
    #[error("shard {shard} holds what only a newer program can read: {reason}")]
    Newer { shard: u16, reason: String },
    #[error(transparent)]
    Version(#[from] TooOld),
    #[error("the data folder is that of a node already")]
    Formed,
    #[error(transparent)]
    LetGo(#[from] Failure),
    #[error(
        "the log is gone, with everything that was in it, while {file} says that this is node {node} of a \
         cluster: look whether another disk belongs here. If the data is lost, the machine joins as a new node \
         with an empty data folder, and node {node} is to be removed with `anser cluster remove {node}`"
    )]
    LogMissing { file: &'static str, node: u64 },
    #[error("no place in the cluster: {reason}")]
    Join { reason: String },
    #[error("{listen} cannot be listened on for other nodes: {reason}")]
    Listen {
        listen: std::net::SocketAddr,
        reason: std::io::Error,
    },
}

impl StartError {
    /// Whether stored data is damaged or missing, so that trying again will not help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::ShardsMissing { .. }
            | Self::Snapshot { .. }
            | Self::Replay { .. }
            | Self::LogMissing { .. } => true,
            Self::Log(error) => matches!(
                error,
                anser_log::Error::Corrupt { .. }
                    | anser_log::Error::MissingFile { .. }
                    | anser_log::Error::UnknownVersion { .. }
            ),
            Self::Identity { reason } => reason.kind() == std::io::ErrorKind::InvalidData,
            Self::Folder { .. }
            | Self::Shards(_)
            | Self::Thread(_)
            | Self::Newer { .. }
            | Self::Version(_)
            | Self::Formed
            | Self::LetGo(_)
            | Self::Join { .. }
            | Self::Listen { .. } => false,
        }
    }
}

impl StartError {
    /// Whether the node was told something impossible, or its data is for a newer program.
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Identity { reason } => reason.kind() == std::io::ErrorKind::Unsupported,
            other => matches!(
                other,
                Self::Shards(_)
                    | Self::Log(anser_log::Error::Option { .. })
                    | Self::Newer { .. }
                    | Self::Version(_)
                    | Self::Formed
                    | Self::Join { .. }
                    | Self::Listen { .. }
            ),
        }
    }
}

pub(crate) struct Opening {
    pub(crate) log: Opened<FileSystem>,
    pub(crate) replicas: Vec<(ShardId, Replica)>,
    /// `None`: a node for itself.
    pub(crate) identity: Option<Identity>,
    /// Shards of the whole cluster.
    pub(crate) shards: u16,
    pub(crate) versions: Arc<Versions>,
}

/// Opens the data folder; `address` is how other nodes of a cluster reach this one.
pub(crate) fn open(config: &Config, address: Option<&str>) -> Result<Opening, StartError> {
    if !(1..=SHARDS_MAX).contains(&config.shards) {
        return Err(StartError::Shards(config.shards));
    }
    std::fs::create_dir_all(&config.data).map_err(|reason| StartError::Folder {
        path: config.data.display().to_string(),
        reason,
    })?;
    let knows = knows(config);
    check_known(config, knows)?;
    let mut log = open_log(config)?;
    report(&log);
    let is_empty = log.shards.is_empty();
    let mut identity = match (&config.cluster, address) {
        (Some(cluster), Some(address)) => {
            Some(join::identify(&config.data, cluster, address, is_empty)?)
        }
        _ => refuse_member_alone(config)?,
    };
    let node = identity
        .as_ref()
        .map_or(FIRST_NODE, |identity| identity.node);
    // A member that has begun once may have given all its shards to others since.
    if identity.as_ref().is_none_or(|identity| !identity.has_begun) {
        log = begin(config, log, identity.as_mut())?;
    }
    let shards = if let Some(identity) = &identity {
        identity.shards
    } else {
        check_shards(&log.shards)?;
        u16::try_from(log.shards.len()).unwrap_or(u16::MAX)
    };
    let trusted = config
        .cluster
        .as_ref()
        .is_none_or(|cluster| cluster.trust_log);
    let suspect = log.report.suspect && !trusted;
    let run = identity::draw_run().map_err(|reason| StartError::Identity { reason })?;
    let opener = Opener {
        node,
        is_member: identity.is_some(),
        shards,
        suspect,
        run,
        reader: &log.reader,
    };
    let replicas = log.shards.iter().map(|recovered| {
        let replica = opener.restore(recovered)?;
        Ok((ShardId(recovered.shard), replica))
    });
    let replicas = replicas.collect::<Result<Vec<_>, StartError>>()?;
    let versions = versions(&replicas, identity.as_ref(), knows)?;
    if !replicas.iter().any(|(_, replica)| replica.status().suspect) {
        // A sole voter has nobody to ask for what it may have lost; the log says so above.
        log.store.clear_suspicion()?;
    }
    Ok(Opening {
        log,
        replicas,
        identity,
        shards,
        versions,
    })
}

/// The highest version of a cluster that this node can read, or may.
fn knows(config: &Config) -> ClusterVersion {
    let cluster = config.cluster.as_ref();
    cluster.map_or(ClusterVersion::LATEST, ClusterConfig::knows)
}

/// Before anything is read that may be newer than this program.
fn check_known(config: &Config, knows: ClusterVersion) -> Result<(), StartError> {
    let known = Identity::read(&config.data).map_err(|reason| StartError::Identity { reason })?;
    let Some(identity) = known else { return Ok(()) };
    version::check(identity.cluster_version(), knows)?;
    // The log was there before the file said so: without it, an empty log would pass for all that there was.
    if identity.has_begun && !config.data.join(anser_log::MANIFEST).exists() {
        let (file, node) = (identity::FILE, identity.node);
        return Err(StartError::LogMissing { file, node });
    }
    Ok(())
}

fn versions(
    replicas: &[(ShardId, Replica)],
    identity: Option<&Identity>,
    knows: ClusterVersion,
) -> Result<Arc<Versions>, StartError> {
    let mut replicas = replicas.iter();
    let catalog = replicas.find(|(shard, _)| *shard == ShardId::CATALOG);
    let by_catalog = catalog.map(|(_, replica)| replica.shard().version());
    let by_identity = identity.map(Identity::cluster_version);
    let active = by_catalog.max(by_identity).unwrap_or_default();
    version::check(active, knows)?;
    Ok(Arc::new(Versions::new(active, knows)))
}

/// Makes the shards of a fresh folder.
fn begin(
    config: &Config,
    mut log: Opened<FileSystem>,
    identity: Option<&mut Identity>,
) -> Result<Opened<FileSystem>, StartError> {
    let unused = |shard: &RecoveredShard| shard.last_index <= BEGINNING.index;
    if log.shards.iter().all(unused) && log.shards.len() < usize::from(config.shards) {
        bootstrap(&log.store, config.shards)?;
        drop(log);
        log = open_log(config)?;
    }
    if let Some(identity) = identity {
        identity.has_begun = true;
        identity.shards = u16::try_from(log.shards.len()).unwrap_or(u16::MAX);
        identity
            .write(&config.data)
            .map_err(|reason| StartError::Identity { reason })?;
    }
    Ok(log)
}

/// A folder that belongs to a node of a cluster would answer alone for what others decide too.
fn refuse_member_alone(config: &Config) -> Result<Option<Identity>, StartError> {
    let known = Identity::read(&config.data).map_err(|reason| StartError::Identity { reason })?;
    if known.is_some() {
        let reason = "the data folder is that of a node of a cluster: start it with the cluster's \
                      settings";
        return Err(StartError::Join {
            reason: reason.into(),
        });
    }
    Ok(None)
}

fn open_log(config: &Config) -> Result<Opened<FileSystem>, anser_log::Error> {
    let options = Options {
        wal_file_bytes: config.wal_file_bytes,
        wal_budget_bytes: config.wal_budget_bytes,
        wal_held_bytes: config.wal_budget_bytes.saturating_mul(HELD_BUDGETS),
        segment_bytes: config.segment_bytes,
        ..Options::default()
    };
    Log::open(FileSystem::new(&config.data), options)
}

fn report(log: &Opened<FileSystem>) {
    if let Some(torn) = &log.report.torn_tail {
        warn!(
            ?torn,
            "the last write before the stop was incomplete and was removed"
        );
    }
    if log.report.suspect {
        warn!("that write cannot be told from one that was acknowledged and then damaged");
    }
    info!(shards = log.shards.len(), "log opened");
}

/// Gives every shard its first snapshot. Repeating it after a crash in the middle changes nothing.
fn bootstrap<D: Disk>(store: &Store<D>, shards: u16) -> Result<(), StartError> {
    let membership = Membership {
        voters: vec![FIRST_NODE],
        ..Membership::default()
    };
    // The catalog's shard comes last: with it, all are there.
    for number in (0..shards).rev() {
        let shard = Shard::new(ShardId(number), shards);
        let image = Image::initial(BEGINNING, membership.clone(), shard);
        let snapshot = Some(snapshots::save(store, number, &image)?);
        store.commit(
            number,
            Change {
                snapshot,
                ..Change::default()
            },
        )?;
    }
    Ok(())
}

fn check_shards(shards: &[RecoveredShard]) -> Result<(), StartError> {
    let last = shards.iter().map(|shard| shard.shard).max().unwrap_or(0);
    if shards.len() == usize::from(last) + 1 {
        Ok(())
    } else {
        Err(StartError::ShardsMissing {
            found: shards.len(),
            last,
        })
    }
}

/// Makes replicas of what the log holds.
struct Opener<'a, D: Disk> {
    node: u64,
    is_member: bool,
    shards: u16,
    suspect: bool,
    run: u64,
    reader: &'a Reader<D>,
}

impl<D: Disk> Opener<'_, D> {
    fn restore(&self, recovered: &RecoveredShard) -> Result<Replica, StartError> {
        let number = recovered.shard;
        let Some((mut state, mut applied)) = self.snapshot(recovered)? else {
            return self.unfinished(recovered);
        };
        let replay = Replay {
            number,
            reader: self.reader,
            node: self.node,
            committed: recovered.hard_state.commit,
        };
        replay.run(&mut state, &mut applied, recovered.last_index)?;
        let mut entries = Vec::new();
        each_entry(
            number,
            self.reader,
            applied.index + 1,
            recovered.last_index,
            |entry| {
                entries.push(entry);
                Ok(true)
            },
        )?;
        let terms = self.reader.terms(number).into_iter();
        Ok(Replica::new(Start {
            node: self.node,
            term: recovered.hard_state.term.max(applied.term),
            vote: recovered.hard_state.vote,
            applied,
            suspect: self.suspect && state.membership.voters != [self.node],
            membership: state.membership,
            shard: state.shard,
            entries,
            jitter: self.run ^ (u64::from(number) << 32),
            log_first: self.reader.first_index(number).max(1),
            terms: terms.map(|(index, term)| Place { index, term }).collect(),
        }))
    }

    fn snapshot(
        &self,
        recovered: &RecoveredShard,
    ) -> Result<Option<(SnapshotImage, Place)>, StartError> {
        let damaged = |reason: String| StartError::Snapshot {
            shard: recovered.shard,
            reason,
        };
        let Some((info, mut snapshot)) = self.reader.snapshot(recovered.shard)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        snapshot
            .read_to_end(&mut bytes)
            .map_err(|reason| damaged(reason.to_string()))?;
        let image = read_snapshot(&bytes).map_err(|reason| damaged(reason.to_string()))?;
        let place = Place {
            index: info.index,
            term: info.term,
        };
        Ok(Some((image, place)))
    }

    /// A replica whose first copy had not arrived when the node stopped.
    fn unfinished(&self, recovered: &RecoveredShard) -> Result<Replica, StartError> {
        if recovered.last_index > 0 || !self.is_member {
            return Err(StartError::Snapshot {
                shard: recovered.shard,
                reason: "it has no snapshot".into(),
            });
        }
        Ok(Replica::new(Start {
            node: self.node,
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            applied: Place { index: 0, term: 0 },
            membership: Membership::default(),
            shard: Shard::new(ShardId(recovered.shard), self.shards),
            entries: Vec::new(),
            jitter: self.run ^ (u64::from(recovered.shard) << 32),
            log_first: 1,
            terms: Vec::new(),
            suspect: false,
        }))
    }
}

/// Applies what is certainly committed to the state of a snapshot.
struct Replay<'a, D: Disk> {
    number: u16,
    reader: &'a Reader<D>,
    node: u64,
    committed: u64,
}

impl<D: Disk> Replay<'_, D> {
    fn run(
        &self,
        state: &mut SnapshotImage,
        applied: &mut Place,
        last: u64,
    ) -> Result<(), StartError> {
        let first = applied.index + 1;
        each_entry(self.number, self.reader, first, last, |entry| {
            // What a sole voter has on its disk is what a majority has.
            let alone = state.membership.voters == [self.node] && !state.membership.is_joint();
            if entry.index > self.committed && !alone {
                return Ok(false);
            }
            self.apply(state, &entry)?;
            *applied = Place {
                index: entry.index,
                term: entry.term,
            };
            Ok(true)
        })
    }

    fn apply(&self, state: &mut SnapshotImage, entry: &StoredEntry) -> Result<(), StartError> {
        let damaged = |reason: String| StartError::Replay {
            shard: self.number,
            index: entry.index,
            reason,
        };
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
                // Whoever waited for these is long gone.
                let (mut replies, mut effects) = (Vec::new(), Vec::new());
                state
                    .shard
                    .apply(entry.index, &entry.data, &mut replies, &mut effects)
                    .map_err(|reason| match reason {
                        codec::Error::UnknownKind(_) | codec::Error::UnknownFormat(_) => {
                            StartError::Newer {
                                shard: self.number,
                                reason: reason.to_string(),
                            }
                        }
                        damage => damaged(damage.to_string()),
                    })?;
            }
        }
        Ok(())
    }
}

/// An entry as consensus knows it.
pub(crate) fn stored(entry: Entry) -> StoredEntry {
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

/// Visits entries in order until `visit` says that it has enough.
fn each_entry<D: Disk>(
    shard: u16,
    reader: &Reader<D>,
    first: u64,
    last: u64,
    mut visit: impl FnMut(StoredEntry) -> Result<bool, StartError>,
) -> Result<(), StartError> {
    let mut next = first;
    while next <= last {
        for entry in reader.entries(shard, next, last + 1, REPLAY_BYTES)? {
            next = entry.index + 1;
            if !visit(stored(entry))? {
                return Ok(());
            }
        }
    }
    Ok(())
}
