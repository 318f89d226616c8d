//! Writing a damaged write-ahead log anew, with what can still be read of it: for a log whose shards nobody else has.
//!
//! Every record proves itself: its header names its place, and both parts have a checksum. So what stands behind
//! damage is found again, and where it ends is known from elsewhere (`walk.rs`). Of each shard all entries count up to the first one that is missing. What is behind
//! that one would be applied to another state than it was made for, and could delete what nobody has received: it is
//! counted and left out. No index is given out twice: the place of what is lost is filled with entries that do nothing.
//!
//! The new files are the log from one moment on, that of a new manifest; until then nothing of the old log is changed.
//! Old files in which something is damaged or left out are set aside.

mod found;
mod rewrite;
mod walk;

use std::{collections::BTreeMap, io, ops::Range};

use super::{replay, tail};
use crate::{
    disk::{Disk, OpenMode},
    entry::Entry,
    error::Error,
    index::Index,
    manifest::{Manifest, ShardManifest},
    marks::Marks,
    names,
    options::Options,
    record::record_bytes,
    snapshot::SnapshotReader,
};
use rewrite::Rewrite;
use walk::{NewLog, Walk};

/// What was damaged of the log and of snapshots, and what was made of it; nothing if all is whole.
#[derive(Debug, Default)]
pub struct Mended {
    pub damage: Vec<Error>,
    /// Bytes in which nothing can be read: entries that left no trace may be among them, of any shard.
    pub unreadable_bytes: u64,
    pub shards: BTreeMap<u16, MendedShard>,
}

/// What is left of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MendedShard {
    pub state: MendedState,
    /// The last entry that counts; 0 if none does.
    pub kept: u64,
    /// Entries that can be read, but not those before them.
    pub left_out: u64,
    /// Entries that cannot be read, as far as they are known by those around them.
    pub missing: u64,
    /// No entry up to this one is written again.
    pub passed: u64,
    pub term: u64,
}

/// Where a shard's state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MendedState {
    /// Its snapshot, and the entries behind it.
    Snapshot,
    /// Its entries, which are all there are; the snapshot is damaged.
    Entries,
    /// Nowhere: its snapshot is damaged, and the entries do not reach back to the beginning.
    Lost,
}

impl MendedShard {
    /// Whether anything is lost for certain.
    pub fn loses(&self) -> bool {
        self.state == MendedState::Lost || self.left_out + self.missing > 0
    }
}

/// Writes the log anew if something in it, or a snapshot, is damaged. `beginning`: the entry behind which a shard's
/// first entries stand. `left_out` hears of each entry that can be read and does not count.
pub(super) fn mend<D: Disk>(
    disk: &D,
    options: &Options,
    beginning: u64,
    left_out: &mut dyn FnMut(u16, &Entry),
) -> Result<Mended, Error> {
    options.check()?;
    let Some(manifest) = Manifest::read(disk)? else {
        return Err(Error::MissingFile {
            file: names::MANIFEST.to_owned(),
        });
    };
    remove_half_written(disk, &manifest)?;
    let marks = Marks::open(disk, options.boot)?;
    let mark = marks.last();
    // As a node opens it that nobody can give anything to.
    let alone = Options {
        has_peers: false,
        ..options.clone()
    };
    let index = &mut Index::new(manifest.wal_first);
    let replayed = replay::replay(disk, &alone, &manifest, &marks, index);
    let snapshots = damaged_snapshots(disk, &manifest)?;
    match replayed {
        Ok(_) if snapshots.is_empty() => return Ok(Mended::default()),
        Ok(_) => {}
        Err(error) if is_of_log(&error) => {}
        Err(other) => return Err(other),
    }
    let covered = manifest.shards.iter().map(|(&shard, listed)| {
        let snapshot = listed.snapshot.filter(|_| !snapshots.contains_key(&shard));
        (
            shard,
            snapshot.map(|snapshot| (snapshot.index, snapshot.term)),
        )
    });
    let rewrite = Rewrite::new(disk, options, &manifest);
    let durable = mark.durable.max(manifest.durable);
    let mut walk = Walk::new(&manifest, covered.collect(), beginning, rewrite, left_out);
    walk.files(disk, durable)?;
    let (mut mended, log, damaged_files) = walk.end()?;
    mended.damage.extend(snapshots.into_values());
    let old_files = manifest.wal_first..manifest.wal_end();
    commit(disk, manifest, &mended, log)?;
    set_aside(disk, old_files, &damaged_files)?;
    Ok(mended)
}

/// A log that cannot be read from its first file to its end.
fn is_of_log(error: &Error) -> bool {
    match error {
        Error::Corrupt { file, .. } | Error::MissingFile { file } | Error::Io { file, .. } => {
            error.is_damage() && file.starts_with("wal/")
        }
        _ => false,
    }
}

fn damaged_snapshots<D: Disk>(
    disk: &D,
    manifest: &Manifest,
) -> Result<BTreeMap<u16, Error>, Error> {
    let mut damaged = BTreeMap::new();
    for (&shard, listed) in &manifest.shards {
        let Some(info) = listed.snapshot else {
            continue;
        };
        let verified = SnapshotReader::open(disk, shard, info).and_then(SnapshotReader::verify);
        match verified {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                damaged.insert(shard, error);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(damaged)
}

/// Makes the new files the log. A damaged snapshot is not listed any more, and a shard whose state is lost has a floor,
/// behind which it begins anew.
fn commit<D: Disk>(
    disk: &D,
    manifest: Manifest,
    mended: &Mended,
    (wal_first, wal_bytes, durable): NewLog,
) -> Result<(), Error> {
    let mut next = Manifest {
        wal_first,
        wal_bytes,
        durable,
        holes: Vec::new(),
        mended: true,
        ..manifest
    };
    let mut aside = BTreeMap::<u16, Vec<String>>::new();
    for (&shard, of) in &mended.shards {
        let Some(listed) = next.shards.get_mut(&shard) else {
            continue;
        };
        // What others have is not damaged here, so that whoever mends hears of them.
        if listed.is_forgotten() {
            continue;
        }
        // Until whoever mends has seen to the rest, which may be at another time.
        listed.damaged |=
            of.loses() || of.state != MendedState::Snapshot || mended.unreadable_bytes > 0;
        if of.state == MendedState::Snapshot {
            continue;
        }
        let aside = aside.entry(shard).or_default();
        let snapshot = listed.snapshot.take();
        aside.extend(snapshot.map(|info| names::snapshot(shard, info.id)));
        if of.state == MendedState::Lost {
            let anew = ShardManifest {
                floor: of.passed + 1,
                damaged: true,
                ..ShardManifest::default()
            };
            let segments = std::mem::replace(listed, anew).segments;
            aside.extend(segments.iter().map(|info| names::segment(shard, info.id)));
        }
    }
    tail::write_next(disk, next)?;
    for (shard, files) in aside {
        for file in files {
            // One that is gone cannot be set aside.
            drop(disk.rename(&file, &format!("{file}{}", names::SET_ASIDE)));
        }
        let folder = names::shard_directory(shard);
        let synced = disk.sync_directory(&folder);
        synced.map_err(|error| Error::io("sync", &folder, error))?;
    }
    Ok(())
}

/// Sets the files of the old log aside from the first to the last in which something is damaged or left out, and removes
/// the others, which are in the new log as a whole. What stays under its name until the log is opened is set aside then.
fn set_aside<D: Disk>(disk: &D, old: Range<u64>, damaged: &Range<u64>) -> Result<(), Error> {
    let error = |error| Error::io("sync", names::WAL, error);
    for sequence in damaged.clone() {
        let file = names::wal_file(sequence);
        drop(disk.rename(&file, &format!("{file}{}", names::SET_ASIDE)));
    }
    disk.sync_directory(names::WAL).map_err(error)?;
    for sequence in old.filter(|sequence| !damaged.contains(sequence)) {
        drop(disk.remove(&names::wal_file(sequence)));
    }
    Ok(())
}

/// Removes what a former attempt left that ended before its manifest.
fn remove_half_written<D: Disk>(disk: &D, manifest: &Manifest) -> Result<(), Error> {
    let end = manifest.wal_end();
    let first = names::wal_file(end);
    let file = match disk.open(&first, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", &first, error)),
    };
    if !rewrite::is_rewritten(&file, &first, end)? {
        return Ok(());
    }
    drop(file);
    let error = |error| Error::io("clean", names::WAL, error);
    // The first one goes last: it tells what the others are.
    let mut names = disk.list(names::WAL).map_err(error)?;
    names.reverse();
    for name in names {
        if names::wal_sequence(&name).is_some_and(|sequence| sequence >= end) {
            disk.remove(&format!("{}/{name}", names::WAL))
                .map_err(error)?;
        }
    }
    disk.sync_directory(names::WAL).map_err(error)
}

/// How many entries of one shard so many bytes can have held: each of its entries was a record, in a batch of its own
/// or with those of other shards.
fn entries_within(bytes: u64) -> u64 {
    bytes.div_ceil(record_bytes(0) as u64)
}
