//! The manifest: the one file that says which other files are the log (`docs/formats/manifest.md`).
//!
//! It is replaced as a whole by a rename, so a change of snapshot, segments and log files is one
//! atomic step. Every file that matters is listed before it is used, so a missing one is noticed;
//! what is not listed was never acknowledged or is already replaced.

use std::{collections::BTreeMap, io};

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    entry::{Position, SegmentInfo, SnapshotInfo},
    error::Error,
    layout::{get_u32, get_u64, narrow, put_u32, put_u64, wide},
    names,
};

mod codec;

const MAGIC: u32 = u32::from_le_bytes(*b"AMAN");
const VERSION: u32 = 1;
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
    /// Above the number of every listed segment and snapshot.
    pub(crate) next_id: u64,
    /// How far the write-ahead log was durable.
    pub(crate) durable: Position,
    /// Sequence of the first listed log file; the others follow without a gap.
    pub(crate) wal_first: u64,
    /// The listed log files' lengths.
    pub(crate) wal_bytes: Vec<u64>,
    pub(crate) shards: BTreeMap<u16, ShardManifest>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardManifest {
    pub(crate) snapshot: Option<SnapshotInfo>,
    /// Entries written before this place are void: a snapshot from a peer replaced them.
    pub(crate) void_before: Position,
    /// By first index.
    pub(crate) segments: Vec<SegmentInfo>,
}

/// A manifest could not be written; `switched` when it may already be the manifest.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) switched: bool,
    pub(crate) source: io::Error,
}

impl Manifest {
    /// The sequence behind the last listed log file.
    pub(crate) fn wal_end(&self) -> u64 {
        self.wal_first + self.wal_bytes.len() as u64
    }

    pub(crate) fn wal_files(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (self.wal_first..).zip(self.wal_bytes.iter().copied())
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
        disk.rename(names::MANIFEST_STAGED, names::MANIFEST)
            .map_err(before)?;
        disk.sync_directory(names::ROOT)
            .map_err(|source| WriteFailure {
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
        file.write_at(&bytes, 0)?;
        file.sync()
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
