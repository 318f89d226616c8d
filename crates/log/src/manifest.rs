//! The manifest: the one file that says which other files are the log (`docs/formats/manifest.md`).
//!
//! It is replaced as a whole by a rename, so a change of snapshot, segments and log files is one
//! atomic step. Every file that matters is listed before it is used, so a missing one is noticed;
//! what is not listed was never acknowledged or is already replaced.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
};

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    entry::{Position, SegmentInfo, SnapshotInfo},
    error::Error,
    layout::{get_u32, get_u64, narrow, put_u32, put_u64, wide},
    names,
};

mod codec;

const MAGIC: u32 = u32::from_le_bytes(*b"AMAN");
const VERSION: u32 = 5;
const HEADER_BYTES: usize = 32;
const CHECKED_BYTES: usize = 28;
/// A disk full of the smallest sensible segments stays far below.
const BODY_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Grows by one with each manifest.
    pub(crate) generation: u64,
    /// A recovery could not tell a torn tail from a damaged one, and nobody cleared it since.
    pub(crate) suspect: bool,
    /// The log was written anew without what was lost, and the shards do not agree on that yet.
    pub(crate) mended: bool,
    /// Above the number of every listed segment and snapshot.
    pub(crate) next_id: u64,
    /// How far the write-ahead log was durable.
    pub(crate) durable: Position,
    /// Sequence of the first listed log file; the others follow without a gap.
    pub(crate) wal_first: u64,
    /// The listed log files' lengths.
    pub(crate) wal_bytes: Vec<u64>,
    /// Damaged places of the log whose consequences stand with the shards, in order.
    pub(crate) holes: Vec<Hole>,
    pub(crate) shards: BTreeMap<u16, ShardManifest>,
}

/// What cannot be read of the log between two of its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// Behind the last batch before it.
    pub(crate) from: Position,
    /// The file with which the log goes on.
    pub(crate) to: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardManifest {
    pub(crate) snapshot: Option<SnapshotInfo>,
    /// Entries written before this place are void: a snapshot from a peer replaced them, or the
    /// shard was forgotten.
    pub(crate) void_before: Position,
    /// The shard was forgotten here, and only a snapshot at this index or a later one holds all that its
    /// replica may have acknowledged before. Zero if it was not, or has such a snapshot since.
    pub(crate) floor: u64,
    /// Entries within these places do not count either: they follow others that stood in a hole.
    pub(crate) void: Vec<Range<Position>>,
    /// The log has no entry up to this one any more: what was alive of them is in segments.
    pub(crate) recycled: u64,
    /// Something that was alive could not be read when its log file was recycled, or stood in a hole of the log, and is
    /// not in any segment.
    pub(crate) damaged: bool,
    /// Its last entries may have stood in a hole, so that it may lack some that it acknowledged.
    pub(crate) doubtful: bool,
    /// A term or a vote of it may have stood in a hole.
    pub(crate) lost: bool,
    /// By first index.
    pub(crate) segments: Vec<SegmentInfo>,
}

/// A manifest could not be written; `switched` when it may already be the manifest.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) switched: bool,
    pub(crate) source: io::Error,
}

impl ShardManifest {
    /// Whether what stands at a place follows what stood in a hole.
    pub(crate) fn is_void(&self, place: &Position) -> bool {
        self.void.iter().any(|void| void.contains(place))
    }

    /// The log ends here, before where it once did: what comes next stands where void entries stood, and is not void.
    pub(crate) fn end_void_at(&mut self, end: Position) {
        self.void_before = self.void_before.min(end);
        for void in &mut self.void {
            void.end = void.end.min(end);
        }
        self.void.retain(|void| !void.is_empty());
    }

    /// Whether any file of the shard is listed.
    pub(crate) fn has_files(&self) -> bool {
        self.snapshot.is_some() || !self.segments.is_empty()
    }

    /// Whether the shard was given away, and not lost by mending: then its state is to come from others.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.is_tombstone() && !self.damaged
    }

    /// Whether the shard was forgotten, and did not come again.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.floor > 0 && !self.has_files()
    }
}

impl Manifest {
    /// The sequence behind the last listed log file.
    pub(crate) fn wal_end(&self) -> u64 {
        self.wal_first + self.wal_bytes.len() as u64
    }

    pub(crate) fn wal_files(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (self.wal_first..).zip(self.wal_bytes.iter().copied())
    }

    /// Whether replicas may lack what they acknowledged, and can learn it from others.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let mut shards = self.shards.values();
        self.suspect || shards.any(|shard| shard.doubtful && !shard.lost)
    }

    /// They have learnt it, but for the shards that stayed closed.
    pub(crate) fn clear_doubt(&mut self, closed: &BTreeSet<u16>) {
        self.suspect = false;
        for (number, shard) in &mut self.shards {
            shard.doubtful &= shard.lost || closed.contains(number);
        }
    }

    /// The manifest of the disk; `None` if there is none.
    pub(crate) fn read<D: Disk>(disk: &D) -> Result<Option<Self>, Error> {
        let file = match disk.open(names::MANIFEST, OpenMode::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io("open", names::MANIFEST, error))?,
        };
        let error = |error| Error::io("read", names::MANIFEST, error);
        file.forget_cache().map_err(error)?;
        let mut header = [0; HEADER_BYTES];
        if file.read_at(&mut header, 0).map_err(error)? < HEADER_BYTES {
            return Err(damaged(0, "shorter than its header"));
        }
        let generation = check_header(&header)?;
        let length = get_u64(&header, 16);
        if length > BODY_BYTES_MAX {
            return Err(damaged(16, "impossible length"));
        }
        let mut body = vec![0; wide(length)];
        let read = file
            .read_at(&mut body, HEADER_BYTES as u64)
            .map_err(error)?;
        if read < body.len() || crc32c::crc32c(&body) != get_u32(&header, 24) {
            return Err(damaged(HEADER_BYTES as u64, "checksum"));
        }
        let manifest = codec::decode(&body, generation);
        manifest
            .map(Some)
            .ok_or_else(|| damaged(HEADER_BYTES as u64, "impossible content"))
    }

    pub(crate) fn write<D: Disk>(&self, disk: &D) -> Result<(), WriteFailure> {
        let before = |source| WriteFailure {
            switched: false,
            source,
        };
        if let Err(source) = self.stage(disk) {
            // The staged file is useless now; what made writing fail is worth more than this.
            drop(disk.remove(names::MANIFEST_STAGED));
            return Err(before(source));
        }
        let renamed = disk.rename(names::MANIFEST_STAGED, names::MANIFEST);
        #[cfg(feature = "sabotage")]
        let renamed = crate::sabotage::unless_ignored(renamed, "failed rename ignored");
        renamed.map_err(before)?;
        let synced = disk.sync_directory(names::ROOT);
        #[cfg(feature = "sabotage")]
        let synced = crate::sabotage::unless_ignored(synced, "failed sync of a folder ignored");
        synced.map_err(|source| WriteFailure {
            switched: true,
            source,
        })
    }

    fn stage<D: Disk>(&self, disk: &D) -> io::Result<()> {
        match disk.remove(names::MANIFEST_STAGED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(names::MANIFEST_STAGED, OpenMode::Create)?;
        file.write_at(&self.encode(), 0)?;
        file.sync()
    }

    fn encode(&self) -> Vec<u8> {
        let body = codec::encode(self);
        let mut bytes = vec![0; HEADER_BYTES];
        put_u32(&mut bytes, 0, MAGIC);
        put_u32(&mut bytes, 4, VERSION);
        put_u64(&mut bytes, 8, self.generation);
        put_u64(&mut bytes, 16, u64::from(narrow(body.len())));
        put_u32(&mut bytes, 24, crc32c::crc32c(&body));
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        put_u32(&mut bytes, CHECKED_BYTES, checksum);
        bytes.extend_from_slice(&body);
        bytes
    }
}

/// Gives the generation.
fn check_header(header: &[u8; HEADER_BYTES]) -> Result<u64, Error> {
    let checksum = crc32c::crc32c(&header[..CHECKED_BYTES]);
    if get_u32(header, 0) != MAGIC || get_u32(header, CHECKED_BYTES) != checksum {
        return Err(damaged(0, "header checksum"));
    }
    let version = get_u32(header, 4);
    if version != VERSION {
        let file = names::MANIFEST.to_owned();
        return Err(Error::UnknownVersion {
            file,
            version,
            known: VERSION,
        });
    }
    Ok(get_u64(header, 8))
}

fn damaged(offset: u64, what: &'static str) -> Error {
    Error::corrupt(names::MANIFEST, offset, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::{Image, SimulatedDisk};

    /// What the frozen manifest holds.
    fn sample() -> Manifest {
        let segment = |id, first_index| SegmentInfo {
            id,
            first_index,
            last_index: first_index + 8,
            bytes: 4096,
            records: 5,
        };
        let snapshot = SnapshotInfo {
            index: 20,
            term: 2,
            bytes: 100,
            id: 4,
            checksum: 0x0506_0708,
        };
        let place = |sequence, offset| Position { sequence, offset };
        let full = ShardManifest {
            snapshot: Some(snapshot),
            void_before: place(2, 64),
            void: vec![place(2, 256)..place(3, 64)],
            floor: 0,
            recycled: 18,
            damaged: true,
            doubtful: true,
            lost: false,
            segments: vec![segment(2, 1), segment(3, 10)],
        };
        let tombstone = ShardManifest {
            void_before: place(3, 128),
            floor: 21,
            lost: true,
            ..ShardManifest::default()
        };
        let hole = Hole {
            from: place(2, 256),
            to: 3,
        };
        Manifest {
            generation: 8,
            suspect: true,
            mended: true,
            next_id: 5,
            durable: place(3, 128),
            wal_first: 2,
            wal_bytes: vec![4096, 8192],
            holes: vec![hole],
            shards: BTreeMap::from([(0, ShardManifest::default()), (7, full), (9, tombstone)]),
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.trim().as_bytes();
        let pairs = digits
            .chunks_exact(2)
            .map(|pair| std::str::from_utf8(pair).expect("hexadecimal digits"));
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits"))
            .collect()
    }

    fn read(bytes: Vec<u8>) -> Manifest {
        let mut image = Image::default();
        image
            .files
            .insert(names::MANIFEST.to_owned(), std::sync::Arc::new(bytes));
        let disk = SimulatedDisk::from_image(&image);
        Manifest::read(&disk)
            .expect("it is readable")
            .expect("it is there")
    }

    #[test]
    fn bytes_of_a_manifest_are_frozen() {
        let frozen = bytes(include_str!("../tests/golden/manifest-5.hex"));
        assert_eq!(sample().encode(), frozen);
        assert_eq!(read(frozen), sample());
    }
}
