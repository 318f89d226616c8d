//! Writing segments: records in order, sealed when full.
//!
//! What [`SegmentWriter::finish`] gives is synced but not part of the log; a commit makes it so. A
//! writer that is dropped instead takes its files with it.

use std::{io, sync::Arc};

use super::format::{
    self, BLOCK_BYTES, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, SparseEntry, TRAILER_BYTES,
    Trailer,
};
use crate::{
    disk::Disk,
    entry::{Kept, SegmentInfo},
    error::Error,
    layout::{narrow, padded},
    names,
    options::RECORD_BYTES_MAX,
    shared::Shared,
    staging::Staging,
};

/// Writes the segments of one shard.
#[derive(Debug)]
pub struct SegmentWriter<D: Disk> {
    shared: Arc<Shared<D>>,
    shard: u16,
    open: Option<OpenSegment<D>>,
    sealed: Vec<SegmentInfo>,
    last_index: u64,
}

#[derive(Debug)]
struct OpenSegment<D: Disk> {
    staging: Staging<D>,
    id: u64,
    first_index: u64,
    last_index: u64,
    records: u64,
    sparse: Vec<SparseEntry>,
}

impl<D: Disk> SegmentWriter<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, shard: u16) -> Self {
        Self {
            shared,
            shard,
            open: None,
            sealed: Vec::new(),
            last_index: 0,
        }
    }

    /// Adds a record; indexes ascend. After an error the writer is of no more use.
    pub fn append(&mut self, kept: &Kept) -> Result<(), Error> {
        let length = kept.payload.len() as u64;
        if length > RECORD_BYTES_MAX {
            return Err(Error::TooLarge {
                bytes: length,
                limit: RECORD_BYTES_MAX,
            });
        }
        if kept.index <= self.last_index {
            return Err(Error::Refused {
                shard: self.shard,
                what: "kept indexes must ascend",
            });
        }
        self.last_index = kept.index;
        let record = (RECORD_HEADER_BYTES + padded(kept.payload.len())) as u64;
        let limit = self.shared.options.segment_bytes;
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.sealed_bytes() + record > limit)
        {
            self.seal()?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin(kept.index)?,
        };
        let open = self.open.insert(open);
        let added = open.add(kept);
        added.map_err(|error| self.shared.write_error(open.staging.name(), error))
    }

    /// Seals what was written. It becomes part of the log by a commit.
    pub fn finish(mut self) -> Result<Vec<SegmentInfo>, Error> {
        self.seal()?;
        if !self.sealed.is_empty() {
            let directory = names::shard_directory(self.shard);
            let synced = self.shared.disk.sync_directory(&directory);
            synced.map_err(|error| self.shared.write_error(&directory, error))?;
        }
        Ok(std::mem::take(&mut self.sealed))
    }

    fn begin(&self, first_index: u64) -> Result<OpenSegment<D>, Error> {
        self.shared.check_usable()?;
        let id = self.shared.new_id();
        let name = names::segment(self.shard, id);
        self.shared.ensure_shard_directory(self.shard)?;
        let create = || {
            let mut staging = Staging::create(&self.shared.disk, name.clone())?;
            staging.write(&format::header(self.shard, id))?;
            Ok(staging)
        };
        let staging = create().map_err(|error| self.shared.write_error(&name, error))?;
        Ok(OpenSegment {
            staging,
            id,
            first_index,
            last_index: first_index,
            records: 0,
            sparse: Vec::new(),
        })
    }

    fn seal(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let name = open.staging.name().to_owned();
        let info = open
            .seal()
            .map_err(|error| self.shared.write_error(&name, error))?;
        self.sealed.push(info);
        Ok(())
    }
}

impl<D: Disk> OpenSegment<D> {
    /// The file's length were it sealed now.
    fn sealed_bytes(&self) -> u64 {
        self.staging.len() + (16 * (self.sparse.len() + 1) + TRAILER_BYTES) as u64
    }

    fn add(&mut self, kept: &Kept) -> io::Result<()> {
        let offset = self.staging.len();
        let block = self.sparse.last().map_or(0, |last| u64::from(last.offset));
        if block == 0 || offset >= block + BLOCK_BYTES {
            let offset = u32::try_from(offset).expect("segments stay below 4 GiB");
            self.sparse.push(SparseEntry {
                index: kept.index,
                offset,
            });
        }
        let header = RecordHeader {
            index: kept.index,
            term: kept.term,
            length: narrow(kept.payload.len()),
            payload_checksum: crc32c::crc32c(&kept.payload),
        };
        self.staging.write(&header.encode(self.id, offset))?;
        self.staging.write(&kept.payload)?;
        self.staging.pad()?;
        self.last_index = kept.index;
        self.records += 1;
        Ok(())
    }

    fn seal(mut self) -> io::Result<SegmentInfo> {
        assert!(self.records > 0, "a segment is begun for its first record");
        assert!(self.staging.len() > HEADER_BYTES as u64);
        let sparse = format::encode_sparse(&self.sparse);
        let sparse_offset = u32::try_from(self.staging.len()).expect("segments stay below 4 GiB");
        let trailer = Trailer {
            id: self.id,
            first_index: self.first_index,
            last_index: self.last_index,
            records: self.records,
            sparse_offset,
            sparse_count: narrow(self.sparse.len()),
            sparse_checksum: crc32c::crc32c(&sparse),
        };
        self.staging.write(&sparse)?;
        self.staging.write(&trailer.encode())?;
        let info = trailer.info(self.staging.len());
        self.staging.seal()?;
        Ok(info)
    }
}

impl<D: Disk> Drop for SegmentWriter<D> {
    fn drop(&mut self) {
        for info in self.sealed.drain(..) {
            // Best effort: what no manifest lists is removed when the log is opened next.
            drop(
                self.shared
                    .disk
                    .remove(&names::segment(self.shard, info.id)),
            );
        }
    }
}
