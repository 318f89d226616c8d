//! The writer of the write-ahead log: one write and one sync for all shards together, and the marks
//! that say how far it is durable.
//!
//! A batch counts as a whole or not at all, unless it is larger than a file.

use std::sync::Arc;

use crate::{
    batch::{self, FRAME_BYTES, HARD_STATE_BYTES},
    disk::Disk,
    entry::{EntryKind, Write},
    error::Error,
    log_end::bytes_of,
    marks::Marks,
    names,
    options::RECORD_BYTES_MAX,
    shared::Shared,
};

/// Appends to the write-ahead log; owned by one thread.
#[derive(Debug)]
pub struct Appender<D: Disk> {
    shared: Arc<Shared<D>>,
    marks: Marks<D>,
}

impl<D: Disk> Appender<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, marks: Marks<D>) -> Self {
        Self { shared, marks }
    }

    /// Makes everything in `writes` durable, with one write and one sync.
    ///
    /// If a term, a vote or a membership changes, a mark is written and synced as well: nothing else tells of a
    /// vote, nor a voter that was alone that it is so no more, so its loss must never pass for a torn write
    /// (`docs/formats/wal.md`).
    ///
    /// A batch too large for one file is cut at records and is then not atomic: after a crash a
    /// first part of it may be there. After a failed write or sync this and every later call gives
    /// [`Error::Failed`]; after any other error nothing was written.
    pub fn append(&mut self, writes: &[Write]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let mut end = shared.appending();
        shared.check_usable()?;
        if bytes_of(writes) == 0 {
            return Ok(());
        }
        let shards = self.check(writes)?;
        let promises = self.any_promise(writes);
        end.append(&shared, writes, shards)?;
        if promises {
            self.marks.promise(shared.index().durable);
        }
        if promises || any_change_of_members(writes) {
            self.mark_durable()?;
            self.sync_marks()?;
        }
        Ok(())
    }

    /// Whether any shard's term or vote is another one than before.
    fn any_promise(&self, writes: &[Write]) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("promises without a mark") {
            return false;
        }
        let index = self.shared.index();
        writes.iter().any(|write| {
            let known = index.shards.get(&write.shard);
            let known = known.and_then(|shard| shard.hard_state).unwrap_or_default();
            let state = write.hard_state.unwrap_or(known);
            (state.term, state.vote) != (known.term, known.vote)
        })
    }

    /// Notes, without a sync, how far the log is durable, so that damage before that place is never
    /// mistaken for a torn write. For moments when nothing else is to be done.
    pub fn mark_durable(&mut self) -> Result<(), Error> {
        self.shared.check_usable()?;
        let durable = self.shared.index().durable;
        let written = self.marks.write(durable, self.shared.generation());
        written.map_err(|error| self.shared.fail(names::MARKS, &error))
    }

    /// Ends writing; the mark is synced, so that the next start need not suspect anything.
    pub fn close(mut self) -> Result<(), Error> {
        self.shared.check_usable()?;
        let durable = self.shared.index().durable;
        let closed = self.marks.close(durable, self.shared.generation());
        closed.map_err(|error| self.shared.fail(names::MARKS, &error))
    }

    fn sync_marks(&self) -> Result<(), Error> {
        self.marks
            .sync()
            .map_err(|error| self.shared.fail(names::MARKS, &error))
    }

    /// Refuses what does not follow the shards' entries or fits into no file; gives the number of
    /// shards once this batch is written.
    fn check(&self, writes: &[Write]) -> Result<usize, Error> {
        let index = self.shared.index();
        let mut shards = index.shards.len();
        let mut largest = 0;
        let mut highest_shard = None;
        for (number, write) in writes.iter().enumerate() {
            // Only shards out of order can have come before in the same batch.
            let may_repeat = highest_shard >= Some(write.shard);
            highest_shard = highest_shard.max(Some(write.shard));
            let earlier = writes[..if may_repeat { number } else { 0 }].iter().rev();
            let mut last = earlier
                .filter(|earlier| earlier.shard == write.shard)
                .find_map(|earlier| earlier.entries.last())
                .map(|entry| entry.index);
            let known = index.shards.get(&write.shard);
            shards += usize::from(known.is_none());
            for entry in &write.entries {
                match (last, known) {
                    (None, Some(shard)) => shard.check_follows(write.shard, entry.index)?,
                    _ => check_next(write.shard, last.unwrap_or(0), entry.index)?,
                }
                last = Some(entry.index);
                largest = largest.max(entry.data.len());
            }
        }
        self.check_size(largest, shards)?;
        Ok(shards)
    }

    fn check_size(&self, body: usize, shards: usize) -> Result<(), Error> {
        let overhead = (batch::checkpoint_bytes(shards) + FRAME_BYTES + HARD_STATE_BYTES) as u64;
        let file = self.shared.options.wal_file_bytes;
        let limit = file.saturating_sub(overhead).min(RECORD_BYTES_MAX);
        if body as u64 > limit || file < overhead {
            return Err(Error::TooLarge {
                bytes: body as u64,
                limit,
            });
        }
        Ok(())
    }
}

fn any_change_of_members(writes: &[Write]) -> bool {
    let mut entries = writes.iter().flat_map(|write| &write.entries);
    entries.any(|entry| entry.kind != EntryKind::Normal)
}

fn check_next(shard: u16, last: u64, index: u64) -> Result<(), Error> {
    if index == 0 || index > last + 1 {
        return Err(Error::Gap {
            shard,
            expected: last + 1,
            found: index,
        });
    }
    Ok(())
}
