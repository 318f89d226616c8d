//! The bytes of a segment file (`docs/formats/segment.md`).

use super::read_exactly;
use crate::{
    disk::DiskFile,
    entry::SegmentInfo,
    error::Error,
    layout::{get_u16, get_u32, get_u64, put_u16, put_u32, put_u64},
};

pub(super) const HEADER_BYTES: usize = 32;
pub(super) const RECORD_HEADER_BYTES: usize = 32;
pub(super) const TRAILER_BYTES: usize = 64;
/// One entry of the index.
pub(super) const SPARSE_BYTES: usize = 16;
/// File bytes for one entry of the index.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;

const MAGIC: u32 = u32::from_le_bytes(*b"ASEG");
const TRAILER_MAGIC: u32 = u32::from_le_bytes(*b"AEND");
const VERSION: u32 = 1;

pub(super) fn header(shard: u16, id: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    put_u32(&mut bytes, 0, MAGIC);
    put_u32(&mut bytes, 4, VERSION);
    put_u64(&mut bytes, 8, id);
    put_u16(&mut bytes, 16, shard);
    let checksum = crc32c::crc32c(&bytes[..28]);
    put_u32(&mut bytes, 28, checksum);
    bytes
}

pub(super) fn check_header(
    file: &impl DiskFile,
    name: &str,
    shard: u16,
    id: u64,
) -> Result<(), Error> {
    let mut bytes = [0; HEADER_BYTES];
    read_exactly(file, name, &mut bytes, 0)?;
    check_header_bytes(&bytes, name, shard, id)
}

/// `bytes` has a header's length.
pub(super) fn check_header_bytes(
    bytes: &[u8],
    name: &str,
    shard: u16,
    id: u64,
) -> Result<(), Error> {
    let intact = get_u32(bytes, 28) == crc32c::crc32c(&bytes[..28]);
    if get_u32(bytes, 0) != MAGIC || !intact {
        return Err(Error::corrupt(name, 0, "header"));
    }
    check_version(get_u32(bytes, 4), name)?;
    if get_u64(bytes, 8) != id || get_u16(bytes, 16) != shard {
        return Err(Error::corrupt(name, 0, "belongs elsewhere"));
    }
    Ok(())
}

fn check_version(version: u32, name: &str) -> Result<(), Error> {
    if version == VERSION {
        return Ok(());
    }
    Err(Error::UnknownVersion {
        file: name.to_owned(),
        version,
        known: VERSION,
    })
}

#[derive(Debug)]
pub(super) struct RecordHeader {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) length: u32,
    pub(super) payload_checksum: u32,
}

impl RecordHeader {
    /// `offset` is where the header stands in the segment `id`; both go into the checksum.
    pub(super) fn encode(&self, id: u64, offset: u64) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        put_u64(&mut bytes, 0, self.index);
        put_u64(&mut bytes, 8, self.term);
        put_u32(&mut bytes, 16, self.length);
        put_u32(&mut bytes, 20, self.payload_checksum);
        let checksum = record_checksum(&bytes, id, offset);
        put_u32(&mut bytes, 24, checksum);
        bytes
    }

    pub(super) fn decode(bytes: &[u8], id: u64, offset: u64) -> Option<Self> {
        let intact = get_u32(bytes, 24) == record_checksum(bytes, id, offset);
        #[cfg(feature = "sabotage")]
        let intact = intact || crate::sabotage::is_planted("segments not verified");
        intact.then(|| Self {
            index: get_u64(bytes, 0),
            term: get_u64(bytes, 8),
            length: get_u32(bytes, 16),
            payload_checksum: get_u32(bytes, 20),
        })
    }
}

fn record_checksum(header: &[u8], id: u64, offset: u64) -> u32 {
    let fields = crc32c::crc32c(&header[..24]);
    let place = crc32c::crc32c_append(fields, &id.to_le_bytes());
    crc32c::crc32c_append(place, &offset.to_le_bytes())
}

/// The first record of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct SparseEntry {
    pub(super) index: u64,
    pub(super) offset: u32,
}

pub(super) fn encode_sparse(entries: &[SparseEntry]) -> Vec<u8> {
    let mut bytes = vec![0; entries.len() * SPARSE_BYTES];
    for (entry, field) in entries.iter().zip(bytes.chunks_exact_mut(SPARSE_BYTES)) {
        put_u64(field, 0, entry.index);
        put_u32(field, 8, entry.offset);
    }
    bytes
}

/// `None` unless the entries are the trailer's, ascend and cover the records.
pub(super) fn decode_sparse(bytes: &[u8], trailer: &Trailer) -> Option<Vec<SparseEntry>> {
    let counted = trailer.sparse_count as usize * SPARSE_BYTES == bytes.len();
    if !counted || crc32c::crc32c(bytes) != trailer.sparse_checksum {
        return None;
    }
    let entries: Vec<SparseEntry> = bytes
        .chunks_exact(SPARSE_BYTES)
        .map(|field| SparseEntry {
            index: get_u64(field, 0),
            offset: get_u32(field, 8),
        })
        .collect();
    let starts = entries
        .first()
        .is_some_and(|first| first.offset as usize == HEADER_BYTES);
    let ascends = entries.is_sorted_by(|a, b| a.index < b.index && a.offset < b.offset);
    let ends = entries
        .last()
        .is_some_and(|last| last.offset < trailer.sparse_offset);
    (starts && ascends && ends).then_some(entries)
}

#[derive(Debug)]
pub(super) struct Trailer {
    pub(super) id: u64,
    pub(super) first_index: u64,
    pub(super) last_index: u64,
    pub(super) records: u64,
    pub(super) sparse_offset: u32,
    pub(super) sparse_count: u32,
    pub(super) sparse_checksum: u32,
}

impl Trailer {
    pub(super) fn info(&self, bytes: u64) -> SegmentInfo {
        SegmentInfo {
            id: self.id,
            first_index: self.first_index,
            last_index: self.last_index,
            bytes,
            records: self.records,
        }
    }

    pub(super) fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        put_u32(&mut bytes, 0, TRAILER_MAGIC);
        put_u32(&mut bytes, 4, VERSION);
        put_u64(&mut bytes, 8, self.id);
        put_u64(&mut bytes, 16, self.first_index);
        put_u64(&mut bytes, 24, self.last_index);
        put_u64(&mut bytes, 32, self.records);
        put_u32(&mut bytes, 40, self.sparse_offset);
        put_u32(&mut bytes, 44, self.sparse_count);
        put_u32(&mut bytes, 48, self.sparse_checksum);
        let checksum = crc32c::crc32c(&bytes[..60]);
        put_u32(&mut bytes, 60, checksum);
        bytes
    }

    pub(super) fn decode(bytes: &[u8], name: &str, offset: u64) -> Result<Self, Error> {
        let intact = get_u32(bytes, 60) == crc32c::crc32c(&bytes[..60]);
        if get_u32(bytes, 0) != TRAILER_MAGIC || !intact {
            return Err(Error::corrupt(name, offset, "trailer"));
        }
        check_version(get_u32(bytes, 4), name)?;
        Ok(Self {
            id: get_u64(bytes, 8),
            first_index: get_u64(bytes, 16),
            last_index: get_u64(bytes, 24),
            records: get_u64(bytes, 32),
            sparse_offset: get_u32(bytes, 40),
            sparse_count: get_u32(bytes, 44),
            sparse_checksum: get_u32(bytes, 48),
        })
    }
}
