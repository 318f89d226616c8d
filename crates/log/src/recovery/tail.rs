//! Settling the end of the log, so that the next batch may stand there.
//!
//! Remains of batches that do not count are wiped: otherwise an equal batch written in front of them
//! could bring them back. What does count may so far be only in the cache, after a crash of the process alone,
//! and is made durable before anybody builds on it: what nothing calls durable is written again, as it was read.
//! A sync alone would not do, for what a failed sync left in the cache passes for written.

use std::{io, ops::Range};

use super::{
    holes, open_wal_file,
    replay::{Replayed, Unproven},
};
use crate::{
    batch::{BEGIN_PAYLOAD, FILE_PAYLOAD},
    disk::{Disk, DiskFile},
    error::Error,
    layout::PAGE_BYTES,
    manifest::Manifest,
    names,
    options::Options,
    record::record_bytes,
    scan::RemainsKind,
    wal_files::write_zeros,
};

/// Where a header has the sequence of its file, without which it is none and resembles none.
const SEQUENCE_BYTES: Range<u64> = 16..24;
/// The record that begins a file is the longest that begins a batch.
pub(super) const BEGIN_BYTES: usize = record_bytes(BEGIN_PAYLOAD + FILE_PAYLOAD);

/// Gives the manifest that is now the disk's.
pub(super) fn settle<D: Disk>(
    disk: &D,
    options: &Options,
    manifest: Manifest,
    replayed: &Replayed,
    is_doubtful: bool,
) -> Result<Manifest, Error> {
    // Suspicion first: once the remains are wiped, or the mark is of this start, nothing else tells of it.
    let manifest = remember_suspicion(disk, manifest, replayed, is_doubtful)?;
    lengthen(disk, &manifest, replayed)?;
    for (from, remains) in &replayed.remains {
        let listed = manifest
            .wal_files()
            .find(|&(sequence, _)| sequence == from.sequence);
        let (_, bytes) = listed.expect("remains are of listed files");
        // What cannot be read now may come back.
        let is_known = !replayed.incomplete.contains_key(&from.sequence);
        let dirty = !is_known || remains.any_record || remains.kind != RemainsKind::Nothing;
        let is_last = from.sequence == replayed.end.sequence && replayed.files > 0;
        if dirty || is_last {
            let file = open_wal_file(disk, from.sequence)?;
            let settle = || {
                if !is_known {
                    write_over_bad_pages(&file, from.offset.into(), bytes)?;
                }
                if dirty {
                    wipe(&file, from.offset.into(), bytes)?;
                }
                if is_last {
                    write_again(&file, &replayed.unproven)?;
                }
                file.sync()
            };
            settle()
                .map_err(|error| Error::io("settle", &names::wal_file(from.sequence), error))?;
        }
    }
    give_up_files_of_another_size(disk, options, manifest, replayed)
}

/// Overwrites remains with zeros; the caller syncs. Their beginning goes last: as long as it stands there, a
/// recovery that is cut short leaves what the next one judges as this one did.
fn wipe(file: &impl DiskFile, from: u64, to: u64) -> io::Result<()> {
    let begin_end = (from + BEGIN_BYTES as u64).min(to);
    write_zeros(file, begin_end, to)?;
    file.sync()?;
    // Eight bytes at a multiple of eight are in one sector, so they go as a whole, and a header with them.
    let sequence_end = (from + SEQUENCE_BYTES.end).min(begin_end);
    write_zeros(
        file,
        (from + SEQUENCE_BYTES.start).min(sequence_end),
        sequence_end,
    )?;
    file.sync()?;
    write_zeros(file, from, begin_end)
}

/// Gives every page that cannot be read other bytes, as wholes.
fn write_over_bad_pages(file: &impl DiskFile, from: u64, to: u64) -> io::Result<()> {
    let first = from.next_multiple_of(PAGE_BYTES);
    write_zeros(file, first.min(to), to)?;
    file.sync()
}

/// The caller syncs.
fn write_again(file: &impl DiskFile, unproven: &Unproven) -> io::Result<()> {
    #[cfg(feature = "sabotage")]
    if crate::sabotage::is_planted("cache trusted") {
        return Ok(());
    }
    file.write_at(&unproven.bytes, unproven.offset.into())
}

fn remember_suspicion<D: Disk>(
    disk: &D,
    manifest: Manifest,
    replayed: &Replayed,
    is_doubtful: bool,
) -> Result<Manifest, Error> {
    #[cfg(feature = "sabotage")]
    if crate::sabotage::is_planted("tail cut at damage") {
        return Ok(manifest);
    }
    let judged = holes::judged(&manifest, replayed)?;
    let mut kinds = replayed.remains.iter().map(|(_, remains)| remains.kind);
    let is_suspect = is_doubtful || kinds.any(|kind| kind == RemainsKind::Ambiguous);
    if judged.is_none() && (manifest.suspect || !is_suspect) {
        return Ok(manifest);
    }
    let mut next = judged.unwrap_or(manifest);
    next.suspect |= is_suspect;
    write_next(disk, next)
}

/// Files that were cut short have their length again, with zeros where nobody knows what stood there.
fn lengthen<D: Disk>(disk: &D, manifest: &Manifest, replayed: &Replayed) -> Result<(), Error> {
    let listed = manifest.wal_files();
    for (sequence, bytes) in
        listed.filter(|(sequence, _)| replayed.incomplete.contains_key(sequence))
    {
        let file = open_wal_file(disk, sequence)?;
        let error = |error| Error::io("lengthen", &names::wal_file(sequence), error);
        let length = file.len().map_err(error)?.min(bytes);
        write_zeros(&file, length, bytes).map_err(error)?;
        file.sync().map_err(error)?;
    }
    Ok(())
}

/// Files that were never begun all have the size that is asked for now.
fn give_up_files_of_another_size<D: Disk>(
    disk: &D,
    options: &Options,
    manifest: Manifest,
    replayed: &Replayed,
) -> Result<Manifest, Error> {
    let through = replayed.end.sequence + u64::from(replayed.files > 0);
    let begun = usize::try_from(through - manifest.wal_first).expect("listed files");
    if manifest.wal_bytes[begun..]
        .iter()
        .all(|&bytes| bytes == options.wal_file_bytes)
    {
        return Ok(manifest);
    }
    let mut next = manifest;
    next.wal_bytes.truncate(begun);
    write_next(disk, next)
}

pub(super) fn write_next<D: Disk>(disk: &D, mut next: Manifest) -> Result<Manifest, Error> {
    next.generation += 1;
    let error = |error: io::Error| Error::io("write", names::MANIFEST, error);
    next.write(disk).map_err(|failure| error(failure.source))?;
    Ok(next)
}

#[cfg(test)]
mod tests;
