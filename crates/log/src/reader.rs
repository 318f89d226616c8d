//! Reading entries and what was kept of them, from any thread.
//!
//! A reader takes a place from the index and reads without a lock. The file may be recycled
//! meanwhile; the record's header, which names shard, index and file, tells, and the reader looks
//! again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::{
    disk::{Disk, DiskFile},
    entry::{Entry, EntryKind, Kept, Position, SnapshotInfo, Stored},
    error::Error,
    layout::wide,
    names,
    options::RECORD_BYTES_MAX,
    record::{HEADER_BYTES, Header, Kind},
    segment::{Block, SegmentFile, files::Segment},
    shared::Shared,
    snapshot::SnapshotReader,
};

/// How often a reader looks for a snapshot that is replaced again and again.
const ATTEMPTS: usize = 4;
/// Bounds how long the index is locked by one read.
const ENTRIES_AT_ONCE: usize = 1024;
const CACHED_BLOCKS: usize = 4;
/// The first read of an entry; more only if the body is longer.
const FIRST_READ_BYTES: usize = 4096;

/// Reads a log. Each clone has a small cache of its own.
#[derive(Debug)]
pub struct Reader<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    blocks: Mutex<VecDeque<Block>>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        Self {
            shared,
            blocks: Mutex::new(VecDeque::new()),
        }
    }

    /// Entries of the write-ahead log from `from` on, as they stood at one moment: at least one, else as
    /// many as are there before `to_exclusive` and fit into `max_bytes` of bodies, at most 1,024.
    ///
    /// Those whose log file was recycled give [`Error::Compacted`], those that are not there yet
    /// [`Error::Missing`].
    pub fn entries(
        &self,
        shard: u16,
        from: u64,
        to_exclusive: u64,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, Error> {
        let entries = self.collect(shard, from, to_exclusive, max_bytes)?;
        if entries.is_empty() && from < to_exclusive {
            return Err(self.absent(shard, from));
        }
        Ok(entries)
    }

    /// The first entry, index and term, of each stretch of entries of one term that the write-ahead
    /// log holds, ascending. Entries of a term follow each other, so this tells the term of every entry
    /// from [`Reader::first_index`] to the last.
    pub fn terms(&self, shard: u16) -> Vec<(u64, u64)> {
        let log = self.shared.index();
        let Some(shard) = log.shards.get(&shard) else {
            return Vec::new();
        };
        let last = shard.runs.last();
        if last.is_some_and(|last| last >= shard.snapshot_index()) {
            shard.runs.terms()
        } else {
            Vec::new()
        }
    }

    /// The first index from which on the write-ahead log holds every entry to the last; the next to
    /// come if it holds none. At most the snapshot's index and one.
    pub fn first_index(&self, shard: u16) -> u64 {
        let log = self.shared.index();
        log.shards
            .get(&shard)
            .map_or(1, crate::index::ShardIndex::log_first)
    }

    /// The term of an entry in the write-ahead log or of the snapshot's last.
    pub fn term(&self, shard: u16, index: u64) -> Result<Option<u64>, Error> {
        let shards = self.shared.index();
        Ok(shards
            .shards
            .get(&shard)
            .and_then(|shard| shard.term(index)))
    }

    /// The entry, or what was kept of it once its log file was recycled.
    pub fn read(&self, shard: u16, index: u64) -> Result<Stored, Error> {
        let entry = self.entry(shard, index)?;
        // One that does nothing may stand where an entry was lost, of which a segment has what was alive.
        if let Some(entry) = entry.as_ref().filter(|entry| !entry.data.is_empty()) {
            return Ok(Stored::Entry(entry.clone()));
        }
        let segment = self.segment(shard, index);
        let kept = match segment {
            Some(segment) => {
                let file = segment.open()?;
                file.find(&self.block(&file, index)?, index)?
            }
            None => None,
        };
        let stored = kept.map(Stored::Kept).or(entry.map(Stored::Entry));
        stored.ok_or(Error::Missing { shard, index })
    }

    /// What segments keep of the entries from `from` to `to`, both included: about `max_bytes`, and
    /// nothing only if there is nothing. To go on, ask from behind the last.
    pub fn kept(&self, shard: u16, from: u64, to: u64, max_bytes: u64) -> Result<Vec<Kept>, Error> {
        let mut kept = Vec::new();
        let mut left = max_bytes;
        let mut next = from;
        while let Some(segment) = self.segment_from(shard, next)
            && next <= to
            && (left > 0 || kept.is_empty())
        {
            let file = segment.open()?;
            let block = self.block(&file, next)?;
            let count = kept.len();
            let added = file.collect(&block, next, left, &mut kept)?;
            left = left.saturating_sub(added);
            next = match kept.last() {
                Some(last) if kept.len() > count => last.index + 1,
                _ => file.after_block(&block),
            };
        }
        kept.retain(|kept| kept.index <= to);
        Ok(kept)
    }

    /// The shard's snapshot; its content is verified while it is read.
    pub fn snapshot(&self, shard: u16) -> Result<Option<(SnapshotInfo, SnapshotReader<D>)>, Error> {
        let mut attempt = 0;
        loop {
            let Some(info) = self
                .shared
                .index()
                .shards
                .get(&shard)
                .and_then(|it| it.snapshot)
            else {
                return Ok(None);
            };
            attempt += 1;
            match SnapshotReader::open(&self.shared.disk, shard, info) {
                // Replaced and removed between the two lines above.
                Err(Error::MissingFile { .. }) if attempt < ATTEMPTS => {}
                opened => return opened.map(|reader| Some((info, reader))),
            }
        }
    }

    /// A snapshot that was written and is not the shard's, or not yet; its content is verified while it is read.
    pub fn staged_snapshot(
        &self,
        shard: u16,
        info: &SnapshotInfo,
    ) -> Result<SnapshotReader<D>, Error> {
        SnapshotReader::open(&self.shared.disk, shard, *info)
    }

    /// Whose the bytes are that an error names; `None` if they are nobody's, or everybody's.
    pub fn shard_of(&self, error: &Error) -> Option<u16> {
        let (file, offset) = match error {
            Error::Corrupt { file, offset, .. } => (file, Some(*offset)),
            Error::Io { file, .. } | Error::MissingFile { file } => (file, None),
            _ => return None,
        };
        if let Some(shard) = names::shard_of(file) {
            return Some(shard);
        }
        let place = Position {
            sequence: names::wal_sequence(file.strip_prefix("wal/")?)?,
            offset: u32::try_from(offset?).ok()?,
        };
        let index = self.shared.index();
        let mut shards = index.shards.iter();
        let found = shards.find(|(_, shard)| shard.runs.index_at(place).is_some());
        found.map(|(&shard, _)| shard)
    }

    /// An entry of the write-ahead log; `None` if it is not there.
    fn entry(&self, shard: u16, index: u64) -> Result<Option<Entry>, Error> {
        Ok(self
            .collect(shard, index, index.saturating_add(1), u64::MAX)?
            .pop())
    }

    /// Entries from `from` on as they stood at one moment; none if the first is not there.
    ///
    /// All places are taken at once: what is written over one of them meanwhile stands elsewhere, so
    /// old and new entries are never mixed.
    fn collect(
        &self,
        shard: u16,
        from: u64,
        to_exclusive: u64,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, Error> {
        loop {
            let located = self.locate(shard, from, to_exclusive);
            let mut entries = Vec::new();
            let mut bytes = 0;
            for (index, (position, file)) in (from..).zip(&located) {
                match read_entry::<D>(file, *position, shard, index)? {
                    Ok(entry) => {
                        bytes += entry.data.len() as u64;
                        if bytes > max_bytes && !entries.is_empty() {
                            return Ok(entries);
                        }
                        entries.push(entry);
                    }
                    Err(what) if self.stands_at(shard, index, *position) => {
                        let name = names::wal_file(position.sequence);
                        return Err(Error::corrupt(&name, position.offset.into(), what));
                    }
                    Err(_) => break,
                }
            }
            // Otherwise the first one's file was recycled under the reader: it is elsewhere by now.
            if !entries.is_empty() || located.is_empty() {
                return Ok(entries);
            }
        }
    }

    fn locate(&self, shard: u16, from: u64, to_exclusive: u64) -> Vec<(Position, Arc<D::File>)> {
        let log = self.shared.index();
        let Some(shard) = log.shards.get(&shard) else {
            return Vec::new();
        };
        let places = (from..to_exclusive)
            .take(ENTRIES_AT_ONCE)
            .map_while(|index| shard.runs.find(index));
        let located = places.map(|position| {
            let file = log
                .files
                .get(&position.sequence)
                .expect("an indexed file is in use");
            (position, Arc::clone(&file.file))
        });
        located.collect()
    }

    /// Whether the entry is still where it was found; then what was read there is not it but damage.
    fn stands_at(&self, shard: u16, index: u64, position: Position) -> bool {
        let log = self.shared.index();
        let shard = log.shards.get(&shard);
        shard.and_then(|shard| shard.runs.find(index)) == Some(position)
    }

    fn absent(&self, shard: u16, index: u64) -> Error {
        let log = self.shared.index();
        let Some(shard_index) = log.shards.get(&shard) else {
            return Error::Missing { shard, index };
        };
        let first = shard_index.log_first();
        if index < first {
            Error::Compacted { shard, first }
        } else {
            Error::Missing { shard, index }
        }
    }

    fn segment(&self, shard: u16, index: u64) -> Option<Arc<Segment<D>>> {
        self.shared
            .index()
            .shards
            .get(&shard)?
            .segment_of(index)
            .cloned()
    }

    fn segment_from(&self, shard: u16, index: u64) -> Option<Arc<Segment<D>>> {
        let log = self.shared.index();
        let segments = &log.shards.get(&shard)?.segments;
        let after = segments.partition_point(|segment| segment.info().last_index < index);
        segments.get(after).cloned()
    }

    /// The block around an index, from the cache if it was read lately.
    fn block(&self, file: &SegmentFile<D>, index: u64) -> Result<Block, Error> {
        let (id, start) = (file.id(), file.block_start(index));
        let cached = {
            let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            blocks
                .iter()
                .find(|block| block.segment == id && block.start == start)
                .cloned()
        };
        if let Some(block) = cached {
            return Ok(block);
        }
        let block = file.block(index)?;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() == CACHED_BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back(block.clone());
        Ok(block)
    }
}

/// The inner error says what was wrong with the record, which may be that it moved.
pub(crate) fn read_entry<D: Disk>(
    file: &D::File,
    position: Position,
    shard: u16,
    index: u64,
) -> Result<Result<Entry, &'static str>, Error> {
    let io = |error| Error::io("read", &names::wal_file(position.sequence), error);
    let mut buffer = [0; FIRST_READ_BYTES];
    let place = position.offset.into();
    let read = file.read_at(&mut buffer, place);
    // What stands behind the entry is no concern of whoever reads it.
    let read = read.or_else(|_| file.read_at(&mut buffer[..HEADER_BYTES], place));
    let read = read.map_err(io)?;
    if read < HEADER_BYTES {
        return Ok(Err("ends too early"));
    }
    let Ok(header) = Header::decode(&buffer[..HEADER_BYTES], position) else {
        return Ok(Err("record header"));
    };
    let length = u64::from(header.length);
    if header.kind != Kind::Entry
        || header.shard != shard
        || header.index != index
        || length > RECORD_BYTES_MAX
    {
        return Ok(Err("another record"));
    }
    let at_hand = &buffer[HEADER_BYTES..read];
    let at_hand = &at_hand[..at_hand.len().min(wide(length))];
    let mut data = Vec::with_capacity(wide(length));
    data.extend_from_slice(at_hand);
    data.resize(wide(length), 0);
    if let rest @ [_, ..] = &mut data[at_hand.len()..] {
        let place = u64::from(position.offset) + read as u64;
        if file.read_at(rest, place).map_err(io)? < rest.len() {
            return Ok(Err("ends too early"));
        }
    }
    let data = Bytes::from(data);
    #[cfg(feature = "sabotage")]
    let verifies = !crate::sabotage::is_planted("log bodies not verified");
    #[cfg(not(feature = "sabotage"))]
    let verifies = true;
    if verifies && crc32c::crc32c(&data) != header.payload_checksum {
        return Ok(Err("record payload"));
    }
    let Some(kind) = EntryKind::from_number(header.detail) else {
        return Ok(Err("entry kind"));
    };
    Ok(Ok(Entry {
        index,
        term: header.term,
        kind,
        data,
    }))
}
