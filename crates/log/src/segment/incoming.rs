//! A segment of another disk, verified as it comes and written again under a number of this one.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    SegmentFile,
    format::{
        self, BLOCK_BYTES, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, SPARSE_BYTES,
        TRAILER_BYTES, Trailer,
    },
    writer::SegmentWriter,
};
use crate::{
    disk::Disk,
    entry::{Kept, SegmentInfo},
    error::Error,
    layout::{padded, wide},
    names,
    options::RECORD_BYTES_MAX,
    pieces::Pieces,
    shared::Shared,
};

#[derive(Debug)]
pub(crate) struct IncomingSegment<D: Disk> {
    shared: Arc<Shared<D>>,
    shard: u16,
    /// As the other disk describes it.
    info: SegmentInfo,
    /// Its path there.
    name: String,
    pieces: Pieces,
    records: u64,
    last_index: u64,
    writer: SegmentWriter<D>,
}

impl<D: Disk> IncomingSegment<D> {
    pub(crate) fn begin(
        shared: Arc<Shared<D>>,
        shard: u16,
        info: SegmentInfo,
        name: String,
    ) -> Self {
        Self {
            writer: SegmentWriter::new(Arc::clone(&shared), shard),
            shared,
            shard,
            info,
            name,
            pieces: Pieces::default(),
            records: 0,
            last_index: 0,
        }
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
            self.header()
        } else if self.records < self.info.records {
            self.record()
        } else if self.pieces.offset() < self.info.bytes {
            self.end()
        } else {
            Ok(false)
        }
    }

    fn header(&mut self) -> Result<bool, Error> {
        let Some(bytes) = self.pieces.peek(HEADER_BYTES) else {
            return Ok(false);
        };
        format::check_header_bytes(bytes, &self.name, self.shard, self.info.id)?;
        self.pieces.take(HEADER_BYTES);
        Ok(true)
    }

    fn record(&mut self) -> Result<bool, Error> {
        let offset = self.pieces.offset();
        let Some(bytes) = self.pieces.peek(RECORD_HEADER_BYTES) else {
            return Ok(false);
        };
        let header = RecordHeader::decode(bytes, self.info.id, offset)
            .filter(|header| u64::from(header.length) <= RECORD_BYTES_MAX)
            .ok_or_else(|| self.damaged("record header"))?;
        let follows = if self.records == 0 {
            header.index == self.info.first_index
        } else {
            header.index > self.last_index
        };
        if !follows || header.index > self.info.last_index {
            return Err(self.damaged("index of a record"));
        }
        let length = header.length as usize;
        let record_bytes = RECORD_HEADER_BYTES + padded(length);
        let Some(bytes) = self.pieces.peek(record_bytes) else {
            return Ok(false);
        };
        let payload = &bytes[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length];
        if crc32c::crc32c(payload) != header.payload_checksum {
            return Err(self.damaged("record payload"));
        }
        let kept = Kept {
            index: header.index,
            term: header.term,
            payload: Bytes::copy_from_slice(payload),
        };
        self.writer.append(&kept)?;
        self.pieces.take(record_bytes);
        self.records += 1;
        self.last_index = header.index;
        Ok(true)
    }

    /// Index and trailer, which are only looked at: the new files have their own.
    fn end(&mut self) -> Result<bool, Error> {
        let offset = self.pieces.offset();
        let left = self.info.bytes - offset;
        let sparse_bytes_max = (offset / BLOCK_BYTES + 1) * SPARSE_BYTES as u64;
        let Some(sparse_bytes) = left
            .checked_sub(TRAILER_BYTES as u64)
            .filter(|&sparse_bytes| sparse_bytes <= sparse_bytes_max)
        else {
            return Err(self.damaged("length"));
        };
        let Some(bytes) = self.pieces.peek(wide(left)) else {
            return Ok(false);
        };
        let (sparse, trailer) = bytes.split_at(wide(sparse_bytes));
        let trailer = Trailer::decode(trailer, &self.name, offset + sparse_bytes)?;
        let is_announced = trailer.info(self.info.bytes) == self.info
            && u64::from(trailer.sparse_offset) == offset
            && self.last_index == self.info.last_index;
        if !is_announced {
            return Err(self.damaged("not the announced segment"));
        }
        if format::decode_sparse(sparse, &trailer).is_none() {
            return Err(self.damaged("index"));
        }
        self.pieces.take(wide(left));
        Ok(true)
    }

    /// Seals what was written and reads it back.
    pub(crate) fn finish(self) -> Result<Vec<SegmentInfo>, Error> {
        if self.pieces.offset() != self.info.bytes {
            return Err(self.damaged("ends too early"));
        }
        let sealed = self.writer.finish()?;
        let verify = |info: &SegmentInfo| {
            SegmentFile::open_past_cache(&self.shared.disk, self.shard, *info)
                .and_then(|file| file.verify())
        };
        let verified = sealed.iter().try_for_each(verify);
        verified.inspect_err(|_| {
            for info in &sealed {
                // Best effort: what no manifest lists is removed when the log is opened next.
                let name = names::segment(self.shard, info.id);
                drop(self.shared.disk.remove(&name));
            }
        })?;
        Ok(sealed)
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::corrupt(&self.name, self.pieces.offset(), what)
    }
}
