//! A snapshot of another disk, verified as it comes and written again under a number of this one.

use std::sync::Arc;

use super::{
    CHUNK_BYTES, CHUNK_HEADER_BYTES, HEADER_BYTES, SnapshotWriter, check_header, file_bytes,
};
use crate::{
    disk::Disk,
    entry::SnapshotInfo,
    error::Error,
    layout::{get_u32, wide},
    pieces::Pieces,
    shared::Shared,
};

#[derive(Debug)]
pub(crate) struct IncomingSnapshot<D: Disk> {
    shard: u16,
    /// As the other disk describes it.
    info: SnapshotInfo,
    /// Its path there.
    name: String,
    pieces: Pieces,
    /// Bytes of content so far, and their checksum.
    content: u64,
    checksum: u32,
    writer: SnapshotWriter<D>,
}

impl<D: Disk> IncomingSnapshot<D> {
    pub(crate) fn begin(
        shared: Arc<Shared<D>>,
        shard: u16,
        info: SnapshotInfo,
        name: String,
    ) -> Result<Self, Error> {
        Ok(Self {
            writer: SnapshotWriter::create(shared, shard, info.index, info.term)?,
            shard,
            info,
            name,
            pieces: Pieces::default(),
            content: 0,
            checksum: 0,
        })
    }

    pub(crate) fn received(&self) -> u64 {
        self.pieces.received()
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.pieces.push(piece);
        while self.step()? {}
        Ok(())
    }

    /// Takes the next unit; false if more bytes are needed for it.
    fn step(&mut self) -> Result<bool, Error> {
        if self.pieces.offset() == 0 {
            let Some(bytes) = self.pieces.peek(HEADER_BYTES) else {
                return Ok(false);
            };
            let bytes = bytes.try_into().expect("as long as a header");
            check_header(bytes, &self.name, self.shard, &self.info)?;
            self.pieces.take(HEADER_BYTES);
            return Ok(true);
        }
        let length = (self.info.bytes - self.content).min(CHUNK_BYTES as u64);
        if length == 0 {
            return Ok(false);
        }
        self.chunk(wide(length))
    }

    fn chunk(&mut self, length: usize) -> Result<bool, Error> {
        let Some(bytes) = self.pieces.peek(CHUNK_HEADER_BYTES + length) else {
            return Ok(false);
        };
        let (header, content) = bytes.split_at(CHUNK_HEADER_BYTES);
        let checksum = crc32c::crc32c(content);
        if get_u32(header, 0) as usize != length || get_u32(header, 4) != checksum {
            return Err(self.damaged("chunk"));
        }
        self.writer.push_all(content)?;
        self.checksum = crc32c::crc32c_combine(self.checksum, checksum, length);
        self.content += length as u64;
        self.pieces.take(CHUNK_HEADER_BYTES + length);
        Ok(true)
    }

    /// Seals what was written. It is read back when it is committed, as every snapshot.
    pub(crate) fn finish(self) -> Result<SnapshotInfo, Error> {
        if self.pieces.offset() != file_bytes(self.info.bytes) {
            return Err(self.damaged("ends too early"));
        }
        if self.checksum != self.info.checksum {
            return Err(self.damaged("content checksum"));
        }
        self.writer.finish()
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::corrupt(&self.name, self.pieces.offset(), what)
    }
}
