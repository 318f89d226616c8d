//! Segments and snapshots at start: what the manifest lists must be there, what it does not list
//! goes.

use std::{
    io::ErrorKind::{IsADirectory, NotFound},
    sync::Arc,
};

use crate::{
    disk::{Disk, OpenMode, read_patiently},
    entry::Position,
    error::Error,
    index::Index,
    manifest::Manifest,
    names,
    record::{HEADER_BYTES, Header, NoHeader},
    segment::files::{Segment, SegmentFiles},
    snapshot::SnapshotReader,
};

/// Verifies everything listed, one after the other; what is damaged. It stays listed, and is told to whoever reads it.
pub(super) fn open_sealed<D: Disk>(
    disk: &D,
    files: &Arc<SegmentFiles<D>>,
    manifest: &Manifest,
    index: &mut Index<D>,
) -> Result<Vec<Error>, Error> {
    let mut damage = Vec::new();
    for (&number, listed) in &manifest.shards {
        if let Some(info) = listed.snapshot {
            // Its content is verified by whoever reads it, which is the next thing to happen.
            damage.extend(damage_of(SnapshotReader::open(disk, number, info))?);
        }
        let shard = index.shard(number);
        shard.snapshot = listed.snapshot;
        for &info in &listed.segments {
            damage.extend(damage_of(Segment::verified(files, number, info))?);
            let segment = Segment::listed(files, number, info);
            shard.segments.push(Arc::new(segment));
        }
    }
    Ok(damage)
}

/// What is damaged of one shard's, if anything: no reason to leave the others closed. A read that fails may pass; if not,
/// whoever needs it is told.
fn damage_of<T>(verified: Result<T, Error>) -> Result<Option<Error>, Error> {
    match verified {
        Ok(_) => Ok(None),
        Err(error) if error.may_pass() => Ok(None),
        Err(error) if error.is_damage() => Ok(Some(error)),
        Err(other) => Err(other),
    }
}

/// A file behind the listed ones that was begun proves that the manifest is an old one.
pub(super) fn check_unlisted<D: Disk>(disk: &D, manifest: &Manifest) -> Result<(), Error> {
    let error = |error| Error::io("list", names::WAL, error);
    for name in disk.list(names::WAL).map_err(error)? {
        let Some(sequence) = names::wal_sequence(&name).filter(|&it| it >= manifest.wal_end())
        else {
            continue;
        };
        let path = names::wal_file(sequence);
        let error = |error| Error::io("open", &path, error);
        let file = disk.open(&path, OpenMode::Existing).map_err(error)?;
        let mut header = [0; HEADER_BYTES];
        let read = read_patiently(&file, &mut header, 0);
        // One whose beginning cannot be read proves nothing, and goes.
        if read.map_or(true, |read| read < HEADER_BYTES) {
            continue;
        }
        let place = Position {
            sequence,
            offset: 0,
        };
        if Header::decode(&header, place) != Err(NoHeader::Damaged) {
            let what = "does not list a file of the write-ahead log";
            return Err(Error::corrupt(names::MANIFEST, 0, what));
        }
    }
    Ok(())
}

/// Removes what a crash left behind: unfinished files and those a newer manifest replaced. Of what a manifest replaced
/// that was written by mending, any may be damaged: it is set aside, as whoever mended may have had no time to do.
pub(super) fn remove_unlisted<D: Disk>(disk: &D, manifest: &Manifest) -> Result<(), Error> {
    remove_unlisted_in(disk, names::WAL, |name| {
        let sequence = names::wal_sequence(name);
        let listed = manifest.wal_first..manifest.wal_end();
        let is_old = sequence.is_some_and(|sequence| sequence < manifest.wal_first);
        if sequence.is_some_and(|sequence| listed.contains(&sequence))
            || names::MARKS == format!("{}/{name}", names::WAL)
            || name.ends_with(names::SET_ASIDE)
        {
            Lot::Stays
        } else if manifest.mended && is_old {
            Lot::SetAside
        } else {
            Lot::Removed
        }
    })?;
    let error = |error| Error::io("list", names::SHARDS, error);
    for directory in disk.list(names::SHARDS).map_err(error)? {
        let Ok(number) = directory.parse() else {
            continue;
        };
        let mut listed = Vec::new();
        if let Some(shard) = manifest.shards.get(&number) {
            let segments = shard
                .segments
                .iter()
                .map(|info| names::segment(number, info.id));
            let snapshot = shard.snapshot.map(|info| names::snapshot(number, info.id));
            listed.extend(segments.chain(snapshot));
        }
        let folder = names::shard_directory(number);
        remove_unlisted_in(disk, &folder, |name| {
            let mut listed = listed.iter();
            if name.ends_with(names::SET_ASIDE)
                || listed.any(|path| path.ends_with(&format!("/{name}")))
            {
                Lot::Stays
            } else if manifest.mended && names::is_sealed(name) {
                Lot::SetAside
            } else {
                Lot::Removed
            }
        })?;
    }
    Ok(())
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lot {
    Stays,
    SetAside,
    Removed,
}

fn remove_unlisted_in<D: Disk>(
    disk: &D,
    folder: &str,
    lot_of: impl Fn(&str) -> Lot,
) -> Result<(), Error> {
    let error = |error| Error::io("clean", folder, error);
    let mut is_synced = true;
    for name in disk.list(folder).map_err(error)? {
        let path = format!("{folder}/{name}");
        let done = match lot_of(&name) {
            Lot::Stays => continue,
            Lot::SetAside => {
                is_synced = false;
                disk.rename(&path, &format!("{path}{}", names::SET_ASIDE))
            }
            Lot::Removed => disk.remove(&path),
        };
        match done {
            // A folder, such as one of a file system that is mounted here, is nobody's of ours.
            Err(failed) if !matches!(failed.kind(), NotFound | IsADirectory) => {
                return Err(error(failed));
            }
            _ => {}
        }
    }
    if is_synced {
        return Ok(());
    }
    // Once the shards agree again, what has its old name is removed.
    disk.sync_directory(folder).map_err(error)
}
