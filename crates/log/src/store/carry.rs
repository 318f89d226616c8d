//! The entries that no snapshot can cover yet move to the end of the log, so that old files can go.
//!
//! A shard without a quorum applies nothing, perhaps for days, while its last entries stand in a file that
//! all shards share. They are written again, as one batch of the ordinary kind: for recovery they
//! replace themselves, so a crash leaves the old ones or the new ones, and both are the same.

use std::{collections::BTreeMap, sync::Arc};

use super::Store;
use crate::{
    disk::Disk,
    entry::Write,
    error::Error,
    index::ShardIndex,
    log_end::{bytes_of, room},
    reader::Reader,
    runs::Runs,
};

impl<D: Disk> Store<D> {
    /// Writes entries again at the end of the log: for each of the shards, all behind the given index and
    /// its snapshot's, so that none of them stands in an older file any more. They are durable when this returns.
    ///
    /// It takes one new log file at most for each that it fills. What one shard has behind its index must
    /// fit into a file, or it is refused with [`Error::NotCovered`]: an entry removes those after it, so only
    /// as a whole can they replace themselves.
    pub fn carry_over(&self, behind: &BTreeMap<u16, u64>) -> Result<(), Error> {
        let shared = &self.shared;
        // From here on nobody else changes what the shards have.
        let mut end = shared.appending();
        shared.check_usable()?;
        let shards = shared.index().shards.len();
        let room = room(shared.options.wal_file_bytes, shards);
        let reader = Reader::new(Arc::clone(shared));
        let mut batch: Vec<Write> = Vec::new();
        let mut batch_bytes = 0;
        for (&shard, &after) in behind {
            let (write, is_cut) = self.entries_behind(&reader, shard, after, room)?;
            if is_cut {
                // From now on it lacks what it may have acknowledged, so it must not open again.
                self.note_lost(&[shard])?;
                if write.entries.is_empty() {
                    shared.index_mut().shard(shard).runs = Runs::default();
                    continue;
                }
            }
            let bytes = bytes_of(std::slice::from_ref(&write));
            if batch_bytes + bytes > room {
                end.append(shared, &batch, shards)?;
                batch.clear();
                batch_bytes = 0;
            }
            batch_bytes += bytes;
            batch.push(write);
        }
        if batch_bytes > 0 {
            end.append(shared, &batch, shards)?;
        }
        Ok(())
    }

    /// Everything that the shard has behind an index, if it is not more than `bytes_max`; of a closed one up to what is damaged,
    /// and whether that is not all.
    fn entries_behind(
        &self,
        reader: &Reader<D>,
        shard: u16,
        after: u64,
        bytes_max: usize,
    ) -> Result<(Write, bool), Error> {
        let index = self.shared.index();
        let known = index.shards.get(&shard);
        let last = known.and_then(|known| known.runs.last()).unwrap_or(0);
        // A copy may have come since the caller looked.
        let after = after.max(known.map_or(0, ShardIndex::snapshot_index));
        // Of a shard that cannot be opened something may be missing before its first entry.
        let first = known.and_then(|known| known.runs.first()).unwrap_or(0);
        let first = first.max(after + 1);
        drop(index);
        let is_closed = self.is_closed(shard);
        let mut write = Write {
            shard,
            hard_state: None,
            entries: Vec::new(),
        };
        let mut next = first;
        while next <= last {
            let entries = match reader.entries(shard, next, last + 1, bytes_max as u64) {
                // One that is damaged spoils the read of those before it.
                Err(error) if is_closed && is_rotten(&error) => {
                    match reader.entries(shard, next, next + 1, bytes_max as u64) {
                        Err(error) if is_rotten(&error) => return Ok((write, true)),
                        one => one?,
                    }
                }
                entries => entries?,
            };
            next += entries.len() as u64;
            write.entries.extend(entries);
            if bytes_of(std::slice::from_ref(&write)) > bytes_max {
                return Err(Error::NotCovered {
                    shard,
                    needed: last,
                    covered: after,
                });
            }
        }
        Ok((write, false))
    }
}

fn is_rotten(error: &Error) -> bool {
    error.is_damage() && !error.may_pass()
}
