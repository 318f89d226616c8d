//! Snapshot files: one shard's state as opaque bytes, in chunks with a checksum each.
//!
//! The content has a checksum of its own, which the manifest repeats, so that neither a damaged chunk
//! nor a file in the wrong place is taken for the state (`docs/formats/segment.md`).

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    entry::SnapshotInfo,
    error::Error,
    layout::{get_u16, get_u32, get_u64, narrow, put_u16, put_u32, put_u64, wide},
    names,
    segment::read_exactly,
    shared::Shared,
    staging::Staging,
};

pub(crate) mod incoming;

const MAGIC: u32 = u32::from_le_bytes(*b"ASNP");
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const CHUNK_HEADER_BYTES: usize = 8;
const CHUNK_BYTES: usize = 256 << 10;

/// Length of the file that holds so many bytes of content.
pub(crate) fn file_bytes(content: u64) -> u64 {
    let chunks = content.div_ceil(CHUNK_BYTES as u64);
    HEADER_BYTES as u64 + content + chunks * CHUNK_HEADER_BYTES as u64
}

/// Writes a snapshot; [`SnapshotWriter::finish`] seals it, a commit makes it the shard's.
#[derive(Debug)]
pub struct SnapshotWriter<D: Disk> {
    shared: Arc<Shared<D>>,
    shard: u16,
    staging: Staging<D>,
    info: SnapshotInfo,
    chunk: Vec<u8>,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(crate) fn create(
        shared: Arc<Shared<D>>,
        shard: u16,
        index: u64,
        term: u64,
    ) -> Result<Self, Error> {
        shared.check_usable()?;
        shared.ensure_shard_directory(shard)?;
        let info = SnapshotInfo {
            index,
            term,
            bytes: 0,
            id: shared.new_id(),
            checksum: 0,
        };
        let name = names::snapshot(shard, info.id);
        let create = || {
            let mut staging = Staging::create(&shared.disk, name.clone())?;
            staging.write(&header(shard, &info))?;
            Ok(staging)
        };
        let staging = create().map_err(|error| shared.write_error(&name, error))?;
        Ok(Self {
            shared,
            shard,
            staging,
            info,
            chunk: Vec::new(),
        })
    }

    /// Syncs the file and gives it its name.
    pub fn finish(mut self) -> Result<SnapshotInfo, Error> {
        self.shared.check_usable()?;
        let name = self.staging.name().to_owned();
        let ended = self.end_chunk();
        let Self {
            shared,
            shard,
            staging,
            info,
            ..
        } = self;
        let sealed = ended.and_then(|()| {
            assert_eq!(
                staging.len(),
                file_bytes(info.bytes),
                "chunks are full but the last"
            );
            staging.seal()?;
            shared.disk.sync_directory(&names::shard_directory(shard))
        });
        sealed.map_err(|error| shared.write_error(&name, error))?;
        Ok(info)
    }

    /// Takes some of the bytes, at least one.
    fn push(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.end_chunk()
                .map_err(|error| self.shared.write_error(self.staging.name(), error))?;
        }
        Ok(taken)
    }

    fn push_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let taken = self.push(bytes)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let checksum = crc32c::crc32c(&self.chunk);
        let mut header = [0; CHUNK_HEADER_BYTES];
        put_u32(&mut header, 0, narrow(self.chunk.len()));
        put_u32(&mut header, 4, checksum);
        self.staging.write(&header)?;
        self.staging.write(&self.chunk)?;
        self.info.checksum = crc32c::crc32c_combine(self.info.checksum, checksum, self.chunk.len());
        self.info.bytes += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }
}

impl<D: Disk> Write for SnapshotWriter<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(|error| {
            let kind = match &error {
                Error::NoSpace { .. } => io::ErrorKind::StorageFull,
                Error::Failed { kind, .. } => *kind,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn header(shard: u16, info: &SnapshotInfo) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    put_u32(&mut bytes, 0, MAGIC);
    put_u32(&mut bytes, 4, VERSION);
    put_u64(&mut bytes, 8, info.id);
    put_u64(&mut bytes, 16, info.index);
    put_u64(&mut bytes, 24, info.term);
    put_u16(&mut bytes, 32, shard);
    let checksum = crc32c::crc32c(&bytes[..60]);
    put_u32(&mut bytes, 60, checksum);
    bytes
}

/// Reads a snapshot's content. Damage comes as an error of kind `InvalidData`, at the latest where
/// the content ends.
#[derive(Debug)]
pub struct SnapshotReader<D: Disk> {
    file: D::File,
    name: String,
    info: SnapshotInfo,
    /// Where the next chunk begins.
    offset: u64,
    read: u64,
    checksum: u32,
    chunk: Vec<u8>,
    given: usize,
}

impl<D: Disk> SnapshotReader<D> {
    pub(crate) fn open(disk: &D, shard: u16, info: SnapshotInfo) -> Result<Self, Error> {
        let name = names::snapshot(shard, info.id);
        let io = |error| Error::io("read", &name, error);
        let file = disk.open(&name, OpenMode::Existing).map_err(io)?;
        file.forget_cache().map_err(io)?;
        if file.len().map_err(io)? != file_bytes(info.bytes) {
            return Err(Error::corrupt(&name, 0, "length"));
        }
        let mut bytes = [0; HEADER_BYTES];
        read_exactly(&file, &name, &mut bytes, 0)?;
        check_header(&bytes, &name, shard, &info)?;
        Ok(Self {
            file,
            name,
            info,
            offset: HEADER_BYTES as u64,
            read: 0,
            checksum: 0,
            chunk: Vec::new(),
            given: 0,
        })
    }

    /// The file, to be read as it is.
    pub(crate) fn into_file(self) -> D::File {
        self.file
    }

    /// Reads everything, only to see that it is intact.
    pub(crate) fn verify(mut self) -> Result<(), Error> {
        self.verify_more(u64::MAX)?;
        Ok(())
    }

    /// Verifies about `max_bytes` more of the content; how many: fewer only at its end.
    pub fn verify_more(&mut self, max_bytes: u64) -> Result<u64, Error> {
        let before = self.read;
        while self.read - before < max_bytes && self.next_chunk()? {}
        Ok(self.read - before)
    }

    /// False at the end of an intact content.
    fn next_chunk(&mut self) -> Result<bool, Error> {
        let left = self.info.bytes - self.read;
        if left == 0 {
            let intact = self.checksum == self.info.checksum;
            return if intact {
                Ok(false)
            } else {
                Err(self.damaged("content checksum"))
            };
        }
        let mut header = [0; CHUNK_HEADER_BYTES];
        read_exactly(&self.file, &self.name, &mut header, self.offset)?;
        let length = left.min(CHUNK_BYTES as u64);
        if u64::from(get_u32(&header, 0)) != length {
            return Err(self.damaged("chunk length"));
        }
        self.chunk.resize(wide(length), 0);
        let start = self.offset + CHUNK_HEADER_BYTES as u64;
        read_exactly(&self.file, &self.name, &mut self.chunk, start)?;
        let checksum = crc32c::crc32c(&self.chunk);
        if checksum != get_u32(&header, 4) {
            return Err(self.damaged("chunk checksum"));
        }
        self.checksum = crc32c::crc32c_combine(self.checksum, checksum, self.chunk.len());
        self.offset = start + length;
        self.read += length;
        self.given = 0;
        Ok(true)
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::corrupt(&self.name, self.offset, what)
    }
}

impl<D: Disk> Read for SnapshotReader<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            let more = self
                .next_chunk()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if !more {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.given);
        buffer[..count].copy_from_slice(&self.chunk[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

fn check_header(
    bytes: &[u8; HEADER_BYTES],
    name: &str,
    shard: u16,
    info: &SnapshotInfo,
) -> Result<(), Error> {
    let intact = get_u32(bytes, 60) == crc32c::crc32c(&bytes[..60]);
    if get_u32(bytes, 0) != MAGIC || !intact {
        return Err(Error::corrupt(name, 0, "header"));
    }
    let version = get_u32(bytes, 4);
    if version != VERSION {
        return Err(Error::UnknownVersion {
            file: name.to_owned(),
            version,
            known: VERSION,
        });
    }
    let same = get_u64(bytes, 8) == info.id
        && get_u64(bytes, 16) == info.index
        && get_u64(bytes, 24) == info.term
        && get_u16(bytes, 32) == shard;
    if same {
        Ok(())
    } else {
        Err(Error::corrupt(name, 0, "belongs elsewhere"))
    }
}
