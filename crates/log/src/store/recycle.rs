//! Which log files are due, and using them again.
//!
//! The oldest files leave the manifest first, then get new sequence numbers as prepared files. What
//! they hold stays until it is overwritten, but belongs to a sequence that no longer exists.

use std::{collections::BTreeMap, io, sync::Arc};

use super::Store;
use crate::{
    disk::Disk,
    entry::Position,
    error::Error,
    index::{Index, WalFile},
    manifest::Manifest,
    names,
    wal_files::PreparedFile,
};

/// Old log files that are to be recycled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// This file and all before it.
    pub through_file: u64,
    /// The shards that have entries there.
    pub shards: Vec<DueShard>,
}

/// The entries a shard has in due files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueShard {
    pub shard: u16,
    pub first_index: u64,
    pub last_index: u64,
}

impl<D: Disk> Store<D> {
    /// The oldest quarter of the files in use, once they exceed the budget.
    ///
    /// `held`: for some shards, the index behind which their entries stay, as [`crate::Holds`] knows. A file
    /// with such an entry is not due, nor is any after it, whatever else it holds: all shards share the
    /// files. Once the files exceed [`crate::Options::wal_held_bytes`], nothing is held back.
    pub fn due(&self, held: &BTreeMap<u16, u64>) -> Option<Due> {
        let index = self.shared.index();
        let options = &self.shared.options;
        let bytes: u64 = index.files.values().map(|file| file.bytes).sum();
        if bytes <= options.wal_budget_bytes {
            return None;
        }
        let count = (index.files.len() / 4).max(1);
        if bytes > options.wal_held_bytes {
            return due_files(&index, count);
        }
        let first_held = held.iter().filter_map(|(shard, &after)| {
            let runs = &index.shards.get(shard)?.runs;
            Some(runs.find(after + 1)?.sequence)
        });
        let end = first_held.min().unwrap_or(u64::MAX);
        let free = index.files.range(..end).count();
        due_files(&index, count.min(free))
    }

    /// All files but the one being written.
    pub fn due_all(&self) -> Option<Due> {
        let index = self.shared.index();
        due_files(&index, usize::MAX)
    }

    /// Gives due files back to the appender.
    ///
    /// Refused with [`Error::NotCovered`] while a shard's snapshot does not cover its entries there.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what was recycled is due no more"
    )]
    pub fn recycle(&self, due: Due) -> Result<(), Error> {
        let mut manifest = self.shared.manifest();
        let Due { through_file, .. } = due;
        self.check_covered(through_file)?;
        if through_file < manifest.wal_first {
            return Ok(());
        }
        let mut next = manifest.clone();
        let count = usize::try_from(through_file + 1 - manifest.wal_first).expect("listed files");
        next.wal_bytes.drain(..count);
        next.wal_first = through_file + 1;
        self.note_recycled(through_file, &mut next);
        self.shared.commit_manifest(&mut manifest, next)?;
        let files = self.forget_files(through_file);
        self.reuse(&mut manifest, files)
    }

    fn check_covered(&self, through_file: u64) -> Result<(), Error> {
        let index = self.shared.index();
        if index
            .current()
            .is_none_or(|current| through_file >= current)
        {
            return Err(Error::Refused {
                shard: 0,
                what: "the file being written is not due",
            });
        }
        for (&number, shard) in &index.shards {
            let covered = shard.snapshot_index();
            if let Some((_, needed)) = shard.runs.range_through(through_file)
                && needed > covered
            {
                return Err(Error::NotCovered {
                    shard: number,
                    needed,
                    covered,
                });
            }
        }
        Ok(())
    }

    /// What the log has no more, and the holes that it still has.
    fn note_recycled(&self, through_file: u64, next: &mut Manifest) {
        let index = self.shared.index();
        for (number, shard) in &index.shards {
            if let Some((_, last)) = shard.runs.range_through(through_file)
                && let Some(listed) = next.shards.get_mut(number)
            {
                listed.recycled = listed.recycled.max(last);
            }
        }
        let first = Position {
            sequence: next.wal_first,
            offset: 0,
        };
        next.holes.retain(|hole| hole.to > first.sequence);
        for hole in &mut next.holes {
            hole.from = hole.from.max(first);
        }
        for listed in next.shards.values_mut() {
            listed.void.retain(|void| void.end > first);
        }
    }

    /// From here on readers look elsewhere.
    fn forget_files(&self, through_file: u64) -> Vec<(u64, WalFile<D>)> {
        let mut index = self.shared.index_mut();
        let kept = index.files.split_off(&(through_file + 1));
        let forgotten = std::mem::replace(&mut index.files, kept);
        for shard in index.shards.values_mut() {
            shard.runs.drop_through(through_file);
        }
        forgotten.into_iter().collect()
    }

    fn reuse(&self, manifest: &mut Manifest, files: Vec<(u64, WalFile<D>)>) -> Result<(), Error> {
        let shared = &self.shared;
        let mut next = manifest.clone();
        let mut prepared = Vec::new();
        // Files of another size and more than the log needs at its budget are given up.
        let budget = shared.options.wal_budget_bytes / shared.options.wal_file_bytes / 4;
        let wanted = usize::try_from(budget)
            .unwrap_or(usize::MAX)
            .max(shared.options.spare_files);
        let mut room = wanted.saturating_sub(shared.prepared().len());
        let moved = files
            .into_iter()
            .try_for_each(|(sequence, file)| -> io::Result<()> {
                let old = names::wal_file(sequence);
                if room == 0 || file.bytes != shared.options.wal_file_bytes {
                    return shared.disk.remove(&old);
                }
                room -= 1;
                let sequence = next.wal_end();
                shared.disk.rename(&old, &names::wal_file(sequence))?;
                next.wal_bytes.push(file.bytes);
                let WalFile { file, bytes } = file;
                prepared.push(PreparedFile {
                    sequence,
                    file: Arc::clone(&file),
                    bytes,
                });
                Ok(())
            });
        let synced = moved.and_then(|()| shared.disk.sync_directory(names::WAL));
        #[cfg(feature = "sabotage")]
        let synced = crate::sabotage::unless_ignored(synced, "failed sync of a folder ignored");
        synced.map_err(|error| shared.write_error(names::WAL, error))?;
        shared.commit_manifest(manifest, next)?;
        shared.prepared().extend(prepared);
        Ok(())
    }
}

fn due_files<D: Disk>(index: &Index<D>, count: usize) -> Option<Due> {
    let current = index.current()?;
    let old = index
        .files
        .keys()
        .copied()
        .filter(|&sequence| sequence < current);
    let through_file = old.take(count).last()?;
    let shards = index.shards.iter().filter_map(|(&shard, entries)| {
        let (first_index, last_index) = entries.runs.range_through(through_file)?;
        Some(DueShard {
            shard,
            first_index,
            last_index,
        })
    });
    Some(Due {
        through_file,
        shards: shards.collect(),
    })
}
