//! The one writer of the write-ahead log: one write and one sync for all shards together.
//!
//! A batch counts as a whole or not at all. A file ends when the next batch does not fit; the next
//! file begins, in the same write, with the hard states of all shards, so that forgetting old files
//! never forgets a vote. A file is synced before the next one is touched.

use std::sync::Arc;

use crate::{
    batch::{self, Begin, Encoder, FRAME_BYTES, HARD_STATE_BYTES},
    disk::{Disk, DiskFile},
    entry::{Entry, HardState, Position, Write},
    error::Error,
    index::WalFile,
    layout::{narrow, wide},
    marks::Marks,
    names,
    options::RECORD_BYTES_MAX,
    record::record_bytes,
    shared::Shared,
};

/// Appends to the write-ahead log; owned by one thread.
#[derive(Debug)]
pub struct Appender<D: Disk> {
    shared: Arc<Shared<D>>,
    marks: Marks<D>,
    /// The file being written; none before the first batch of a new disk.
    current: Option<Current<D>>,
    buffer: Vec<u8>,
    /// Places of the entries in `buffer`, until they are durable.
    places: Vec<Place>,
}

#[derive(Debug)]
pub(crate) struct Current<D: Disk> {
    pub(crate) file: WalFile<D>,
    /// Where the next batch goes.
    pub(crate) end: Position,
    /// Checksum of the record before `end`.
    pub(crate) chain: u32,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    shard: u16,
    index: u64,
    term: u64,
    position: Position,
}

#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Entry(u16, &'a Entry),
    HardState(u16, &'a HardState),
}

impl Item<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Entry(_, entry) => record_bytes(entry.data.len()),
            Self::HardState(..) => HARD_STATE_BYTES,
        }
    }
}

/// Entries first: if a batch has to be cut, no hard state speaks of entries that are not there.
fn items(writes: &[Write]) -> impl Iterator<Item = Item<'_>> + Clone {
    writes.iter().flat_map(|write| {
        let entries = write
            .entries
            .iter()
            .map(|entry| Item::Entry(write.shard, entry));
        let state = write
            .hard_state
            .iter()
            .map(|state| Item::HardState(write.shard, state));
        entries.chain(state)
    })
}

impl<D: Disk> Appender<D> {
    pub(crate) fn new(
        shared: Arc<Shared<D>>,
        marks: Marks<D>,
        current: Option<Current<D>>,
    ) -> Self {
        Self {
            shared,
            marks,
            current,
            buffer: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Makes everything in `writes` durable, with one write and one sync.
    ///
    /// If a term or a vote changes, a mark is written and synced as well: nothing else tells of a
    /// vote, so its loss must never pass for a torn write (`docs/formats/wal.md`).
    ///
    /// A batch too large for one file is cut at records and is then not atomic: after a crash a
    /// first part of it may be there. After a failed write or sync this and every later call gives
    /// [`Error::Failed`]; after any other error nothing was written.
    pub fn append(&mut self, writes: &[Write]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let _appending = shared.appending();
        shared.check_usable()?;
        let bytes: usize = items(writes).map(|item| item.bytes()).sum();
        if bytes == 0 {
            return Ok(());
        }
        let shards = self.check(writes)?;
        let promises = self.any_promise(writes);
        match &self.current {
            Some(current)
                if FRAME_BYTES + bytes
                    <= wide(current.file.bytes) - current.end.offset as usize =>
            {
                self.append_here(items(writes), bytes)?;
            }
            _ => self.append_to_new_files(writes, shards)?,
        }
        if promises {
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
        self.mark_durable()?;
        self.sync_marks()
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

    fn append_here<'a>(
        &mut self,
        items: impl Iterator<Item = Item<'a>> + Clone,
        bytes: usize,
    ) -> Result<(), Error> {
        let current = self.current.as_ref().expect("a file with room was found");
        let begin = Begin {
            durable: current.end,
            bytes: narrow(FRAME_BYTES + bytes),
            generation: self.shared.generation(),
            previous_end: None,
        };
        let mut encoder = Encoder::new(&mut self.buffer, current.end, current.chain);
        encode(&mut encoder, &begin, items.clone(), &mut self.places);
        let chain = encoder.chain();
        self.write_and_publish(chain, items)
    }

    /// Gives each file as many of the items as fit. All files are at hand before the first is
    /// written, so that a full disk leaves no half of a batch.
    fn append_to_new_files(&mut self, writes: &[Write], shards: usize) -> Result<(), Error> {
        let file_bytes = wide(self.shared.options.wal_file_bytes);
        let room = file_bytes - batch::checkpoint_bytes(shards) - FRAME_BYTES;
        let mut parts: Vec<(usize, usize)> = vec![(0, 0)];
        for item in items(writes) {
            let last = parts.last_mut().expect("begun with one part");
            if last.1 + item.bytes() <= room {
                *last = (last.0 + 1, last.1 + item.bytes());
            } else {
                parts.push((1, item.bytes()));
            }
        }
        self.shared.prepare(parts.len())?;
        let mut skipped = 0;
        for (count, bytes) in parts {
            self.begin_file(items(writes).skip(skipped).take(count), bytes)?;
            skipped += count;
        }
        Ok(())
    }

    fn begin_file<'a>(
        &mut self,
        items: impl Iterator<Item = Item<'a>> + Clone,
        bytes: usize,
    ) -> Result<(), Error> {
        let prepared = self.shared.prepared().pop_front().expect("prepared before");
        let start = Position {
            sequence: prepared.sequence,
            offset: 0,
        };
        let (previous, chain) = match &self.current {
            Some(current) => (current.end, current.chain),
            None => (start, 0),
        };
        assert!(previous.sequence + 1 == start.sequence || previous == start);
        let states = self.hard_states();
        let begin = Begin {
            durable: previous,
            bytes: narrow(batch::checkpoint_bytes(states.len())),
            generation: self.shared.generation(),
            previous_end: Some(previous.offset),
        };
        let mut encoder = Encoder::new(&mut self.buffer, start, chain);
        let checkpoint = states
            .iter()
            .map(|(shard, state)| Item::HardState(*shard, state));
        encode(&mut encoder, &begin, checkpoint, &mut self.places);
        let begin = Begin {
            bytes: narrow(FRAME_BYTES + bytes),
            previous_end: None,
            ..begin
        };
        encode(&mut encoder, &begin, items.clone(), &mut self.places);
        let chain = encoder.chain();
        let file = WalFile {
            file: prepared.file,
            bytes: prepared.bytes,
        };
        self.current = Some(Current {
            file,
            end: start,
            chain,
        });
        self.write_and_publish(chain, items)
    }

    fn hard_states(&self) -> Vec<(u16, HardState)> {
        let index = self.shared.index();
        let states = index.shards.iter();
        states
            .filter_map(|(&number, shard)| Some((number, shard.hard_state?)))
            .collect()
    }

    /// Writes the buffer at the end of the current file and syncs it; only then others may see it.
    fn write_and_publish<'a>(
        &mut self,
        chain: u32,
        items: impl Iterator<Item = Item<'a>>,
    ) -> Result<(), Error> {
        let current = self.current.as_mut().expect("a file was chosen");
        let end = current.end.offset + narrow(self.buffer.len());
        assert!(
            u64::from(end) <= current.file.bytes,
            "a batch outgrew its file"
        );
        let file = &current.file.file;
        let written = file.write_at(&self.buffer, current.end.offset.into());
        #[cfg(feature = "sabotage")]
        let written = crate::sabotage::end_write(written, &**file);
        #[cfg(not(feature = "sabotage"))]
        let written = written.and_then(|()| file.sync());
        written.map_err(|error| {
            self.shared
                .fail(&names::wal_file(current.end.sequence), &error)
        })?;
        current.end.offset = end;
        current.chain = chain;

        let mut index = self.shared.index_mut();
        index
            .files
            .entry(current.end.sequence)
            .or_insert_with(|| current.file.clone());
        index.durable = current.end;
        for place in self.places.drain(..) {
            index
                .shard(place.shard)
                .runs
                .insert(place.index, place.term, place.position);
        }
        for item in items {
            if let Item::HardState(shard, state) = item {
                index.shard(shard).hard_state = Some(*state);
            }
        }
        Ok(())
    }
}

fn encode<'a>(
    encoder: &mut Encoder<'_>,
    begin: &Begin,
    items: impl Iterator<Item = Item<'a>>,
    places: &mut Vec<Place>,
) {
    encoder.begin(begin);
    for item in items {
        match item {
            Item::Entry(shard, entry) => {
                let position = encoder.entry(shard, entry);
                places.push(Place {
                    shard,
                    index: entry.index,
                    term: entry.term,
                    position,
                });
            }
            Item::HardState(shard, state) => encoder.hard_state(shard, state),
        }
    }
    encoder.end();
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
