//! The words of the log: entries, hard states, places and what is kept of old entries.

use bytes::Bytes;

/// One entry of a shard's Raft log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub kind: EntryKind,
    pub data: Bytes,
}

/// Raft's entry types with Raft's numbers, which are also the numbers on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Normal = 0,
    Change = 1,
    ChangeV2 = 2,
}

impl EntryKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Normal),
            1 => Some(Self::Change),
            2 => Some(Self::ChangeV2),
            _ => None,
        }
    }

    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

/// What a Raft replica must remember besides its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
}

/// What one shard wants made durable.
///
/// Entries are consecutive. An entry at an index that is already present removes that one and all
/// after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub shard: u16,
    pub hard_state: Option<HardState>,
    pub entries: Vec<Entry>,
}

/// What the compactor kept of an entry; the payload is its own affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub index: u64,
    pub term: u64,
    pub payload: Bytes,
}

/// What is known of an old or new index: the entry while the write-ahead log has it, later what was
/// kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Entry(Entry),
    Kept(Kept),
}

impl Stored {
    pub fn index(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.index,
            Self::Kept(kept) => kept.index,
        }
    }

    pub fn payload(&self) -> &Bytes {
        match self {
            Self::Entry(entry) => &entry.data,
            Self::Kept(kept) => &kept.payload,
        }
    }
}

/// A place in the write-ahead log: a file's sequence number and a byte in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub sequence: u64,
    pub offset: u32,
}

/// A sealed snapshot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub index: u64,
    pub term: u64,
    /// Length of the content, without the file's own headers.
    pub bytes: u64,
    /// Names the file.
    pub id: u64,
    /// CRC-32C of the whole content.
    pub checksum: u32,
}

/// A sealed segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Names the file; never used twice on a disk.
    pub id: u64,
    pub first_index: u64,
    pub last_index: u64,
    /// Length of the file.
    pub bytes: u64,
    pub records: u64,
}
