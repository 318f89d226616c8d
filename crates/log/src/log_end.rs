//! The end of the write-ahead log: the file being written, and how a batch gets there.
//!
//! A batch that does not fit into the file begins the next one, in the same write, with the hard states
//! of all shards. A file is synced before the next one is touched. Others see a batch once it is synced.

use crate::{
    batch::{self, Begin, Encoder, FRAME_BYTES, HARD_STATE_BYTES},
    disk::{Disk, DiskFile},
    entry::{Entry, HardState, Position, Write},
    error::Error,
    index::WalFile,
    layout::{PAGE_BYTES, narrow, wide},
    names,
    record::record_bytes,
    shared::Shared,
};

/// Where the next batch goes. Whoever holds it may write one.
#[derive(Debug)]
pub(crate) struct LogEnd<D: Disk> {
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

impl<D: Disk> LogEnd<D> {
    pub(crate) fn new(current: Option<Current<D>>) -> Self {
        Self {
            current,
            buffer: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Makes `writes`, which must follow what the shards have, durable: with one write and one sync
    /// unless they fit into no file. `shards`: how many there are then.
    pub(crate) fn append(
        &mut self,
        shared: &Shared<D>,
        writes: &[Write],
        shards: usize,
    ) -> Result<(), Error> {
        let bytes = bytes_of(writes);
        match &self.current {
            Some(current)
                if FRAME_BYTES + bytes
                    <= wide(current.file.bytes) - current.end.offset as usize =>
            {
                self.append_here(shared, items(writes), bytes)
            }
            _ => self.append_to_new_files(shared, writes, shards),
        }
    }

    fn append_here<'a>(
        &mut self,
        shared: &Shared<D>,
        items: impl Iterator<Item = Item<'a>> + Clone,
        bytes: usize,
    ) -> Result<(), Error> {
        let current = self.current.as_ref().expect("a file with room was found");
        let begin = Begin {
            durable: current.end,
            bytes: narrow(FRAME_BYTES + bytes),
            generation: shared.generation(),
            previous_end: None,
        };
        let mut encoder = Encoder::new(&mut self.buffer, current.end, current.chain);
        encode(&mut encoder, &begin, items.clone(), &mut self.places);
        let chain = encoder.chain();
        self.write_and_publish(shared, chain, items)
    }

    /// Gives each file as many of the items as fit. All files are at hand before the first is
    /// written, so that a full disk leaves no half of a batch.
    fn append_to_new_files(
        &mut self,
        shared: &Shared<D>,
        writes: &[Write],
        shards: usize,
    ) -> Result<(), Error> {
        let room = room(shared.options.wal_file_bytes, shards);
        let mut parts: Vec<(usize, usize)> = vec![(0, 0)];
        for item in items(writes) {
            let last = parts.last_mut().expect("begun with one part");
            if last.1 + item.bytes() <= room {
                *last = (last.0 + 1, last.1 + item.bytes());
            } else {
                parts.push((1, item.bytes()));
            }
        }
        shared.prepare(parts.len())?;
        let mut skipped = 0;
        for (count, bytes) in parts {
            self.begin_file(shared, items(writes).skip(skipped).take(count), bytes)?;
            skipped += count;
        }
        Ok(())
    }

    fn begin_file<'a>(
        &mut self,
        shared: &Shared<D>,
        items: impl Iterator<Item = Item<'a>> + Clone,
        bytes: usize,
    ) -> Result<(), Error> {
        let prepared = shared.prepared().pop_front().expect("prepared before");
        let start = Position {
            sequence: prepared.sequence,
            offset: 0,
        };
        let (previous, chain) = match &self.current {
            Some(current) => (current.end, current.chain),
            None => (start, 0),
        };
        assert!(previous.sequence + 1 == start.sequence || previous == start);
        let states = Self::hard_states(shared);
        let begin = Begin {
            durable: previous,
            bytes: narrow(batch::checkpoint_bytes(states.len())),
            generation: shared.generation(),
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
        self.write_and_publish(shared, chain, items)
    }

    fn hard_states(shared: &Shared<D>) -> Vec<(u16, HardState)> {
        let index = shared.index();
        let states = index.shards.iter();
        states
            .filter_map(|(&number, shard)| Some((number, shard.hard_state?)))
            .collect()
    }

    /// Writes the buffer at the end of the current file and syncs it; only then others may see it.
    fn write_and_publish<'a>(
        &mut self,
        shared: &Shared<D>,
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
        // What a recycled file held before in the rest of the page counts no more. With less than a page the system would
        // read it first, which takes time and may fail.
        let filled = u64::from(end)
            .next_multiple_of(PAGE_BYTES)
            .min(current.file.bytes);
        self.buffer
            .resize(self.buffer.len() + wide(filled - u64::from(end)), 0);
        let written = file.write_at(&self.buffer, current.end.offset.into());
        #[cfg(feature = "sabotage")]
        let written = crate::sabotage::end_write(written, &**file);
        #[cfg(not(feature = "sabotage"))]
        let written = written.and_then(|()| file.sync());
        written.map_err(|error| shared.fail(&names::wal_file(current.end.sequence), &error))?;
        current.end.offset = end;
        current.chain = chain;

        let mut index = shared.index_mut();
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

/// How many bytes of records [`LogEnd::append`] surely makes one batch of.
pub(crate) fn room(file_bytes: u64, shards: usize) -> usize {
    wide(file_bytes).saturating_sub(batch::checkpoint_bytes(shards) + FRAME_BYTES)
}

/// Bytes of the records of these writes.
pub(crate) fn bytes_of(writes: &[Write]) -> usize {
    items(writes).map(|item| item.bytes()).sum()
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
