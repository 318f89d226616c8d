//! Writing back one entry whose record in the write-ahead log is damaged, with what another node has of it.
//!
//! A record follows from its place, its entry and the record before it, so the bytes are those that were written once or
//! none are written. The place stays the entry's all the while: who recycles files needs the manifest, which is held.

use std::sync::Arc;

use super::Store;
use crate::{
    batch::Encoder,
    disk::{Disk, DiskFile},
    entry::{Entry, Position, SegmentInfo},
    error::Error,
    index::WalFile,
    layout::PAGE_BYTES,
    names,
    reader::read_entry,
    record::{HEADER_BYTES, Header},
};

/// What stands at a place of which somebody said that it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of the shard that counts, any more.
    Nothing,
    /// The record of an entry in the write-ahead log.
    Entry { index: u64, term: u64 },
    /// A segment of the shard.
    Segment(SegmentInfo),
    /// Something that is this node's alone.
    Other,
}

impl<D: Disk> Store<D> {
    /// What of a shard stands at a place that an error names.
    pub fn standing(&self, shard: u16, file: &str, offset: u64) -> Standing {
        let index = self.shared.index();
        let known = index.shards.get(&shard);
        let sequence = file.strip_prefix("wal/").and_then(names::wal_sequence);
        if let (Some(sequence), Ok(offset)) = (sequence, u32::try_from(offset)) {
            let place = Position { sequence, offset };
            let found = known.and_then(|known| {
                let index = known.runs.index_at(place)?;
                let term = known.runs.term(index)?;
                Some(Standing::Entry { index, term })
            });
            return found.unwrap_or(Standing::Nothing);
        }
        if names::shard_of(file) != Some(shard) || !names::is_segment(file) {
            return Standing::Other;
        }
        let mut segments = known.into_iter().flat_map(|known| &known.segments);
        let found = segments.find(|segment| names::segment(shard, segment.info().id) == file);
        found.map_or(Standing::Nothing, |found| Standing::Segment(*found.info()))
    }

    /// Writes an entry over its damaged record in the write-ahead log, and reads it again as the device has it.
    ///
    /// The caller knows that it is the shard's: that it was committed, where it comes from. Here it must be of the term that
    /// the log knows, and fit to what can be read around it, or [`Error::Refused`] says why not; [`Error::Overtaken`]: it
    /// stands elsewhere by now, or nowhere. Neither changes anything. [`Error::Corrupt`]: it is as damaged as before.
    pub fn write_back(&self, shard: u16, entry: &Entry) -> Result<(), Error> {
        let (place, file) = self.place_of(shard, entry)?;
        // What stands in a file of this number never changes, so it can be read before anything is held.
        let record = original(place, &file, shard, entry)?;
        let name = names::wal_file(place.sequence);
        let read = |error| Error::io("read", &name, error);
        let (from, length) = (u64::from(place.offset), record.len() as u64);
        // A device that takes long holds up nobody here.
        read_pages(&*file.file, from, length).map_err(read)?;
        self.write_over(shard, entry, place, &file, &record)?;
        file.file.forget_cache().map_err(read)?;
        let found = read_entry::<D>(&file.file, place, shard, entry.index)?;
        if found.as_ref() == Ok(entry) {
            return Ok(());
        }
        self.check_place(shard, entry, place)?;
        let what = found.err().unwrap_or("another record");
        Err(Error::corrupt(&name, from, what))
    }

    fn write_over(
        &self,
        shard: u16,
        entry: &Entry,
        place: Position,
        file: &WalFile<D>,
        record: &[u8],
    ) -> Result<(), Error> {
        let shared = &self.shared;
        // A sync takes the failure of any write before it to whoever asked for it: an append must not miss its own.
        let _appending = shared.appending();
        let _manifest = shared.manifest();
        shared.check_usable()?;
        self.check_place(shard, entry, place)?;
        let written = file.file.write_at(record, place.offset.into());
        let written = written.and_then(|()| file.file.sync());
        written.map_err(|error| shared.fail(&names::wal_file(place.sequence), &error))
    }

    /// Whether the record of an entry that can be read follows the one before it, and the next one follows it.
    pub fn is_in_chain(&self, shard: u16, entry: &Entry) -> Result<bool, Error> {
        let (place, file) = self.place_of(shard, entry)?;
        let Some(own) = header_at(&file, place)? else {
            return Ok(false);
        };
        let before = chain_before(&file, place)?;
        let next = following(place, own.record_bytes(), &file)?;
        let follows = before.is_none_or(|chain| chain == own.chain);
        Ok(follows && next.is_none_or(|next| next.chain == own.checksum()))
    }

    fn check_place(&self, shard: u16, entry: &Entry, place: Position) -> Result<(), Error> {
        match self.place_of(shard, entry) {
            Ok((found, _)) if found == place => Ok(()),
            _ => Err(Error::Overtaken { shard }),
        }
    }

    /// Where the log has exactly this entry.
    fn place_of(&self, shard: u16, entry: &Entry) -> Result<(Position, WalFile<D>), Error> {
        let index = self.shared.index();
        let found = index.shards.get(&shard).and_then(|known| {
            let place = known.runs.find(entry.index)?;
            (known.runs.term(entry.index) == Some(entry.term)).then_some(place)
        });
        let place = found.ok_or(Error::Overtaken { shard })?;
        let file = index.files.get(&place.sequence);
        let file = file.expect("an indexed file is in use").clone();
        Ok((place, file))
    }
}

/// Reads all that the system may have to read to write a part of it, as the device has it.
fn read_pages(file: &impl DiskFile, from: u64, length: u64) -> std::io::Result<()> {
    file.forget_cache()?;
    let start = from / PAGE_BYTES * PAGE_BYTES;
    let end = (from + length).next_multiple_of(PAGE_BYTES);
    let bytes = usize::try_from(end - start).expect("a record is in memory");
    file.read_at(&mut vec![0; bytes], start).map(drop)
}

/// The bytes of the record that was written at a place, if what stands there and behind it allows no other.
fn original<D: Disk>(
    place: Position,
    file: &WalFile<D>,
    shard: u16,
    entry: &Entry,
) -> Result<Vec<u8>, Error> {
    let refused = |what| Err(Error::Refused { shard, what });
    let own = header_at(file, place)?;
    let chain = match own {
        Some(header) => Some(header.chain),
        None => chain_before(file, place)?,
    };
    let Some(chain) = chain else {
        return refused("nothing tells what stood before a damaged record");
    };
    let mut record = Vec::new();
    let mut encoder = Encoder::new(&mut record, place, chain);
    encoder.entry(shard, entry);
    // It covers the entry, the place and what stands before it.
    let checksum = encoder.chain();
    let vouched = match own {
        Some(header) => Some(header.checksum()),
        None => following(place, record.len(), file)?.map(|next| next.chain),
    };
    if vouched != Some(checksum) {
        return refused("an entry is not certainly the one whose record is damaged");
    }
    Ok(record)
}

/// The checksum of the record before a place, by the headers from the beginning of the file on.
fn chain_before<D: Disk>(file: &WalFile<D>, place: Position) -> Result<Option<u32>, Error> {
    let mut at = Position { offset: 0, ..place };
    while let Some(header) = header_at(file, at)? {
        let end = u64::from(at.offset) + header.record_bytes() as u64;
        match u32::try_from(end) {
            Ok(offset) if offset == place.offset => return Ok(Some(header.checksum())),
            Ok(offset) if offset < place.offset => at.offset = offset,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The header of the record behind one of so many bytes, if it is intact.
fn following<D: Disk>(
    place: Position,
    bytes: usize,
    file: &WalFile<D>,
) -> Result<Option<Header>, Error> {
    let end = u64::from(place.offset) + bytes as u64;
    match u32::try_from(end) {
        Ok(offset) => header_at(file, Position { offset, ..place }),
        Err(_) => Ok(None),
    }
}

/// The header at a place, if it is intact.
fn header_at<D: Disk>(file: &WalFile<D>, place: Position) -> Result<Option<Header>, Error> {
    let file: &Arc<D::File> = &file.file;
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, place.offset.into());
    let read = read.map_err(|error| Error::io("read", &names::wal_file(place.sequence), error))?;
    let is_whole = read == HEADER_BYTES;
    Ok(is_whole
        .then(|| Header::decode(&bytes, place).ok())
        .flatten())
}
