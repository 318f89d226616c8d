//! The header before every record of the write-ahead log (`docs/formats/wal.md`).
//!
//! A header says where it stands: file sequence and offset. So what a recycled file held before, a
//! page that went to the wrong place and a stale page are never taken for a record. `chain` is the
//! header checksum of the record before, which covers that record's payload too.

use crate::{
    entry::Position,
    layout::{get_u16, get_u32, get_u64, padded, put_u16, put_u32, put_u64},
};

pub(crate) const HEADER_BYTES: usize = 56;
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"AWAL");
pub(crate) const VERSION: u8 = 1;

/// Bytes of the header that its checksum covers.
const CHECKED_BYTES: usize = 52;

/// What a record is; the numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    FileBegin = 1,
    BatchBegin = 2,
    Entry = 3,
    HardState = 4,
    BatchEnd = 5,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::FileBegin),
            2 => Some(Self::BatchBegin),
            3 => Some(Self::Entry),
            4 => Some(Self::HardState),
            5 => Some(Self::BatchEnd),
            _ => None,
        }
    }

    pub(crate) fn begins_batch(self) -> bool {
        matches!(self, Self::FileBegin | Self::BatchBegin)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) shard: u16,
    /// Payload bytes, without the padding behind them.
    pub(crate) length: u32,
    pub(crate) position: Position,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) payload_checksum: u32,
    pub(crate) chain: u32,
    /// The entry's kind, or the number of records in a batch at its end.
    pub(crate) detail: u32,
}

/// Why bytes are not the header that should stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Damaged,
    /// Intact, but written by a program with another format.
    Version(u8),
}

impl Header {
    /// Bytes from this header to the next.
    pub(crate) fn record_bytes(&self) -> usize {
        record_bytes(self.length as usize)
    }

    pub(crate) fn checksum(&self) -> u32 {
        get_u32(&self.encode(), CHECKED_BYTES)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put_u32(&mut bytes, 0, MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        put_u16(&mut bytes, 6, self.shard);
        put_u32(&mut bytes, 8, self.length);
        put_u32(&mut bytes, 12, self.position.offset);
        put_u64(&mut bytes, 16, self.position.sequence);
        put_u64(&mut bytes, 24, self.term);
        put_u64(&mut bytes, 32, self.index);
        put_u32(&mut bytes, 40, self.payload_checksum);
        put_u32(&mut bytes, 44, self.chain);
        put_u32(&mut bytes, 48, self.detail);
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        put_u32(&mut bytes, CHECKED_BYTES, checksum);
        bytes
    }

    /// Reads the header that should stand at `position`; `bytes` has at least a header's length.
    pub(crate) fn decode(bytes: &[u8], position: Position) -> Result<Self, NoHeader> {
        let intact = get_u32(bytes, 0) == MAGIC
            && get_u32(bytes, 12) == position.offset
            && get_u64(bytes, 16) == position.sequence
            && get_u32(bytes, CHECKED_BYTES) == crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        if !intact {
            return Err(NoHeader::Damaged);
        }
        if bytes[4] != VERSION {
            return Err(NoHeader::Version(bytes[4]));
        }
        Ok(Self {
            kind: Kind::from_number(bytes[5]).ok_or(NoHeader::Damaged)?,
            shard: get_u16(bytes, 6),
            length: get_u32(bytes, 8),
            position,
            term: get_u64(bytes, 24),
            index: get_u64(bytes, 32),
            payload_checksum: get_u32(bytes, 40),
            chain: get_u32(bytes, 44),
            detail: get_u32(bytes, 48),
        })
    }

    /// Whether damaged bytes were most likely this place's header once: nothing but a write of ours
    /// puts two of the three marks here.
    pub(crate) fn resembles(bytes: &[u8], position: Position) -> bool {
        let magic = get_u32(bytes, 0) == MAGIC;
        let offset = get_u32(bytes, 12) == position.offset && position.offset != 0;
        let sequence = get_u64(bytes, 16) == position.sequence;
        sequence && (magic || offset)
    }
}

pub(crate) const fn record_bytes(payload: usize) -> usize {
    HEADER_BYTES + padded(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Entry,
            shard: 7,
            length: 100,
            position: Position {
                sequence: 41,
                offset: 512,
            },
            term: 3,
            index: 99,
            payload_checksum: 5,
            chain: 6,
            detail: 1,
        }
    }

    #[test]
    fn a_header_is_read_back_where_it_was_written_and_nowhere_else() {
        let bytes = header().encode();
        let here = header().position;
        assert_eq!(Header::decode(&bytes, here), Ok(header()));
        let elsewhere = Position {
            offset: 520,
            ..here
        };
        assert_eq!(Header::decode(&bytes, elsewhere), Err(NoHeader::Damaged));
        let later = Position {
            sequence: 42,
            ..here
        };
        assert_eq!(Header::decode(&bytes, later), Err(NoHeader::Damaged));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let here = header().position;
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Header::decode(&bytes, here),
                Err(NoHeader::Damaged),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let mut bytes = header().encode();
        bytes[4] = 2;
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        put_u32(&mut bytes, CHECKED_BYTES, checksum);
        assert_eq!(
            Header::decode(&bytes, header().position),
            Err(NoHeader::Version(2))
        );
    }
}
