//! Segments: what was kept of one shard's old entries, sealed and never changed again.
//!
//! Records are in the order of their indexes. In memory stands one index per 64 KiB of file; a read
//! finds its block by that, reads the block and walks it. Every header and payload is verified when
//! it is read.

pub(crate) mod files;
mod format;
pub(crate) mod incoming;
pub(crate) mod writer;

use bytes::Bytes;

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    entry::{Kept, SegmentInfo},
    error::Error,
    layout::{padded, wide},
    names,
};
use format::{
    HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, SPARSE_BYTES, SparseEntry, TRAILER_BYTES,
    Trailer,
};

/// The open file of a [`files::Segment`].
#[derive(Debug)]
pub(crate) struct SegmentFile<D: Disk> {
    info: SegmentInfo,
    name: String,
    file: D::File,
    sparse: Vec<SparseEntry>,
    records_end: u64,
}

/// A stretch of records that is read as one.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) segment: u64,
    pub(crate) start: u64,
    bytes: Bytes,
}

impl<D: Disk> SegmentFile<D> {
    /// Opens a sealed segment and verifies everything but its records.
    pub(crate) fn open(disk: &D, shard: u16, info: SegmentInfo) -> Result<Self, Error> {
        let name = names::segment(shard, info.id);
        let io = |error| Error::io("read", &name, error);
        let file = disk.open(&name, OpenMode::Existing).map_err(io)?;
        if file.len().map_err(io)? != info.bytes {
            return Err(Error::corrupt(&name, 0, "length"));
        }
        let trailer_at = info.bytes.saturating_sub(TRAILER_BYTES as u64);
        let mut trailer = [0; TRAILER_BYTES];
        read_exactly(&file, &name, &mut trailer, trailer_at)?;
        let trailer = Trailer::decode(&trailer, &name, trailer_at)?;
        if trailer.info(info.bytes) != info {
            return Err(Error::corrupt(&name, trailer_at, "not the listed segment"));
        }
        format::check_header(&file, &name, shard, info.id)?;
        let sparse_at = u64::from(trailer.sparse_offset);
        let mut sparse = vec![0; wide(trailer_at.saturating_sub(sparse_at))];
        read_exactly(&file, &name, &mut sparse, sparse_at)?;
        let sparse = format::decode_sparse(&sparse, &trailer)
            .ok_or_else(|| Error::corrupt(&name, sparse_at, "index"))?;
        Ok(Self {
            info,
            name,
            file,
            sparse,
            records_end: sparse_at,
        })
    }

    /// As [`SegmentFile::open`], with what the disk has and not what the cache remembers.
    pub(crate) fn open_past_cache(disk: &D, shard: u16, info: SegmentInfo) -> Result<Self, Error> {
        let name = names::segment(shard, info.id);
        let file = disk.open(&name, OpenMode::Existing);
        file.and_then(|file| file.forget_cache())
            .map_err(|error| Error::io("read", &name, error))?;
        Self::open(disk, shard, info)
    }

    pub(crate) fn id(&self) -> u64 {
        self.info.id
    }

    pub(crate) fn file(&self) -> &D::File {
        &self.file
    }

    /// Reads every record, only to see that they are intact and those that were listed.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        let mut kept: Vec<Kept> = Vec::new();
        let (mut next, mut records, mut last) = (self.info.first_index, 0, 0);
        while next <= self.info.last_index {
            let block = self.block(next)?;
            kept.clear();
            self.collect(&block, 0, u64::MAX, &mut kept)?;
            let ascends = kept.is_sorted_by(|a, b| a.index < b.index);
            if !ascends || kept.first().is_none_or(|first| first.index <= last) {
                return Err(Error::corrupt(&self.name, block.start, "index of a record"));
            }
            records += kept.len() as u64;
            last = kept.last().map_or(last, |kept| kept.index);
            next = self.after_block(&block);
        }
        if records != self.info.records || last != self.info.last_index {
            return Err(Error::corrupt(
                &self.name,
                self.records_end,
                "number of records",
            ));
        }
        Ok(())
    }

    /// An index behind the block, or behind the segment if it is the last.
    pub(crate) fn after_block(&self, block: &Block) -> u64 {
        let next = self
            .sparse
            .partition_point(|entry| u64::from(entry.offset) <= block.start);
        self.sparse
            .get(next)
            .map_or(self.info.last_index + 1, |entry| entry.index)
    }

    /// Where the block begins that holds `index` if anything does.
    pub(crate) fn block_start(&self, index: u64) -> u64 {
        u64::from(self.sparse[self.block_number(index)].offset)
    }

    fn block_number(&self, index: u64) -> usize {
        self.sparse
            .partition_point(|entry| entry.index <= index)
            .saturating_sub(1)
    }

    /// Reads the block around `index`.
    pub(crate) fn block(&self, index: u64) -> Result<Block, Error> {
        let number = self.block_number(index);
        let start = u64::from(self.sparse[number].offset);
        let end = self
            .sparse
            .get(number + 1)
            .map_or(self.records_end, |next| next.offset.into());
        let mut bytes = vec![0; wide(end - start)];
        read_exactly(&self.file, &self.name, &mut bytes, start)?;
        Ok(Block {
            segment: self.info.id,
            start,
            bytes: bytes.into(),
        })
    }

    /// The record of exactly this index in its block.
    pub(crate) fn find(&self, block: &Block, index: u64) -> Result<Option<Kept>, Error> {
        let mut at = 0;
        while at < block.bytes.len() {
            let header = self.header(block, at)?;
            if header.index >= index {
                let found = header.index == index;
                return if found {
                    self.payload(block, at, &header).map(Some)
                } else {
                    Ok(None)
                };
            }
            at += RECORD_HEADER_BYTES + padded(header.length as usize);
        }
        Ok(None)
    }

    /// Adds the block's records from index `from` on to `kept`, until it holds `budget` bytes; gives
    /// the bytes added.
    pub(crate) fn collect(
        &self,
        block: &Block,
        from: u64,
        budget: u64,
        kept: &mut Vec<Kept>,
    ) -> Result<u64, Error> {
        let (mut at, mut added) = (0, 0);
        while at < block.bytes.len() && (added < budget || kept.is_empty()) {
            let header = self.header(block, at)?;
            if header.index >= from {
                kept.push(self.payload(block, at, &header)?);
                added += u64::from(header.length);
            }
            at += RECORD_HEADER_BYTES + padded(header.length as usize);
        }
        Ok(added)
    }

    fn header(&self, block: &Block, at: usize) -> Result<RecordHeader, Error> {
        let offset = block.start + at as u64;
        let bytes = block.bytes.get(at..at + RECORD_HEADER_BYTES);
        bytes
            .and_then(|bytes| RecordHeader::decode(bytes, self.info.id, offset))
            .ok_or_else(|| Error::corrupt(&self.name, offset, "record header"))
    }

    fn payload(&self, block: &Block, at: usize, header: &RecordHeader) -> Result<Kept, Error> {
        let start = at + RECORD_HEADER_BYTES;
        let payload = block.bytes.get(start..start + header.length as usize);
        let is_intact = |payload: &&[u8]| crc32c::crc32c(payload) == header.payload_checksum;
        #[cfg(feature = "sabotage")]
        let is_intact = |payload: &&[u8]| {
            crate::sabotage::is_planted("segments not verified") || is_intact(payload)
        };
        let intact = payload.filter(is_intact);
        let payload = intact
            .ok_or_else(|| Error::corrupt(&self.name, block.start + at as u64, "record payload"))?;
        // Copied, so that a small record held for long does not hold its whole block.
        let payload = Bytes::copy_from_slice(payload);
        Ok(Kept {
            index: header.index,
            term: header.term,
            payload,
        })
    }
}

/// Whether a segment can be what its description says; how long its records are shows only itself.
pub(crate) fn is_possible(info: &SegmentInfo) -> bool {
    let indexes = info.first_index > 0 && info.first_index <= info.last_index;
    let least = HEADER_BYTES + RECORD_HEADER_BYTES + SPARSE_BYTES + TRAILER_BYTES;
    indexes
        && info.records > 0
        && info.records - 1 <= info.last_index - info.first_index
        && (least as u64..=u64::from(u32::MAX)).contains(&info.bytes)
}

pub(crate) fn read_exactly(
    file: &impl DiskFile,
    name: &str,
    buffer: &mut [u8],
    offset: u64,
) -> Result<(), Error> {
    let read = file
        .read_at(buffer, offset)
        .map_err(|error| Error::io("read", name, error))?;
    if read < buffer.len() {
        return Err(Error::corrupt(name, offset + read as u64, "ends too early"));
    }
    Ok(())
}
