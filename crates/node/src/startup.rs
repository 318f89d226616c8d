//! From a data folder to replicas: opens the log, restores snapshots and replays what came after.
//!
//! A fresh folder is given a first snapshot for every shard, so that from then on a shard whose
//! manifest is missing is damage and never an empty shard.

use std::io::Read;

use anser_broker::{id::ShardId, shard::Shard, time::Stamp};
use anser_log::{Change, Disk, FileSystem, Log, Opened, Options, Reader, RecoveredShard, Store};
use anser_replica::{Image, Membership, Place, Replica, Start, StoredEntry, read_snapshot};
use tracing::{info, warn};

use crate::{config::Config, snapshots};

/// A single node is number one.
const NODE: u64 = 1;
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
}

impl StartError {
    /// Whether stored data is damaged or missing, so that trying again will not help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::ShardsMissing { .. } | Self::Snapshot { .. } | Self::Replay { .. } => true,
            Self::Log(error) => matches!(
                error,
                anser_log::Error::Corrupt { .. }
                    | anser_log::Error::MissingFile { .. }
                    | anser_log::Error::UnknownVersion { .. }
            ),
            Self::Folder { .. } | Self::Shards(_) | Self::Thread(_) => false,
        }
    }
}

impl StartError {
    /// Whether the node was told something impossible.
    pub fn is_misconfiguration(&self) -> bool {
        matches!(
            self,
            Self::Shards(_) | Self::Log(anser_log::Error::Option { .. })
        )
    }
}

pub(crate) struct Opening {
    pub(crate) log: Opened<FileSystem>,
    pub(crate) replicas: Vec<(ShardId, Replica)>,
    /// The latest moment that any shard has seen.
    pub(crate) last: Stamp,
}

pub(crate) fn open(config: &Config) -> Result<Opening, StartError> {
    if !(1..=SHARDS_MAX).contains(&config.shards) {
        return Err(StartError::Shards(config.shards));
    }
    std::fs::create_dir_all(&config.data).map_err(|reason| StartError::Folder {
        path: config.data.display().to_string(),
        reason,
    })?;
    let mut log = open_log(config)?;
    report(&log);
    if log
        .shards
        .iter()
        .all(|shard| shard.last_index <= BEGINNING.index)
        && log.shards.len() < usize::from(config.shards)
    {
        bootstrap(&log.store, config.shards)?;
        drop(log);
        log = open_log(config)?;
    }
    check_shards(&log.shards)?;
    let (replicas, last) = restore_all(&log)?;
    // A sole voter has nobody to ask for what it may have lost; the log says so above.
    log.store.clear_suspicion()?;
    Ok(Opening {
        log,
        replicas,
        last,
    })
}

fn open_log(config: &Config) -> Result<Opened<FileSystem>, anser_log::Error> {
    let options = Options {
        wal_file_bytes: config.wal_file_bytes,
        wal_budget_bytes: config.wal_budget_bytes,
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
        voters: vec![NODE],
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

fn restore_all(log: &Opened<FileSystem>) -> Result<(Vec<(ShardId, Replica)>, Stamp), StartError> {
    let mut replicas = Vec::new();
    let mut last = Stamp::default();
    for recovered in &log.shards {
        let replica = restore(recovered, &log.reader)?;
        let stamp = replica.shard().now();
        if stamp.now > last.now {
            last = stamp;
        }
        replicas.push((ShardId(recovered.shard), replica));
    }
    Ok((replicas, last))
}

fn restore<D: Disk>(recovered: &RecoveredShard, reader: &Reader<D>) -> Result<Replica, StartError> {
    let number = recovered.shard;
    let damaged = |reason: String| StartError::Snapshot {
        shard: number,
        reason,
    };
    let (info, mut snapshot) = reader
        .snapshot(number)?
        .ok_or_else(|| damaged("it has no snapshot".into()))?;
    let mut bytes = Vec::new();
    snapshot
        .read_to_end(&mut bytes)
        .map_err(|reason| damaged(reason.to_string()))?;
    let mut image = read_snapshot(&bytes).map_err(|reason| damaged(reason.to_string()))?;
    drop(bytes);
    let sole_voter = image.membership.voters == [NODE];
    // What a sole voter has on its disk is what a majority has.
    let committed = if sole_voter {
        recovered.last_index
    } else {
        recovered.hard_state.commit
    };
    let mut applied = Place {
        index: info.index,
        term: info.term,
    };
    replay(number, reader, &mut image.shard, &mut applied, committed)?;
    let mut entries = Vec::new();
    each_entry(
        number,
        reader,
        applied.index + 1,
        recovered.last_index,
        |entry| {
            entries.push(entry);
            Ok(())
        },
    )?;
    Ok(Replica::new(Start {
        node: NODE,
        term: recovered.hard_state.term.max(applied.term),
        vote: recovered.hard_state.vote,
        applied,
        membership: image.membership,
        shard: image.shard,
        entries,
    }))
}

fn replay<D: Disk>(
    number: u16,
    reader: &Reader<D>,
    shard: &mut Shard,
    applied: &mut Place,
    committed: u64,
) -> Result<(), StartError> {
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    each_entry(number, reader, applied.index + 1, committed, |entry| {
        if !entry.data.is_empty() {
            shard
                .apply(entry.index, &entry.data, &mut replies, &mut effects)
                .map_err(|reason| StartError::Replay {
                    shard: number,
                    index: entry.index,
                    reason: reason.to_string(),
                })?;
            // Whoever waited for these is long gone.
            replies.clear();
            effects.clear();
        }
        *applied = Place {
            index: entry.index,
            term: entry.term,
        };
        Ok(())
    })
}

fn each_entry<D: Disk>(
    shard: u16,
    reader: &Reader<D>,
    first: u64,
    last: u64,
    mut visit: impl FnMut(StoredEntry) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let mut next = first;
    while next <= last {
        for entry in reader.entries(shard, next, last + 1, REPLAY_BYTES)? {
            next = entry.index + 1;
            visit(StoredEntry {
                index: entry.index,
                term: entry.term,
                data: entry.data,
            })?;
        }
    }
    Ok(())
}
