//! A shard's files for another node, as they were at one moment.

use std::sync::Arc;

use super::Store;
use crate::{
    disk::{Disk, DiskFile},
    entry::{SegmentInfo, SnapshotInfo},
    error::Error,
    layout::wide,
    names,
    segment::files::Segment,
    snapshot::{SnapshotReader, file_bytes},
};

/// The snapshot and the segments that a shard had at one moment: they can be read to the end although
/// maintenance replaces them meanwhile. Their room on the disk is free
/// only once the export is dropped.
#[derive(Debug)]
pub struct Export<D: Disk> {
    pub snapshot: SnapshotInfo,
    /// By first index.
    pub segments: Vec<SegmentInfo>,
    shard: u16,
    snapshot_file: D::File,
    held: Vec<Arc<Segment<D>>>,
}

/// A file of an [`Export`], named as on the disk it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExportedFile {
    Snapshot,
    /// The segment of this number.
    Segment(u64),
}

impl<D: Disk> Store<D> {
    /// Holds open what the shard has now. A shard without a snapshot gives [`Error::Missing`] for
    /// entry 0, the state before all entries.
    pub fn export(&self, shard: u16) -> Result<Export<D>, Error> {
        // While the manifest is held no commit can replace what is opened here.
        let _manifest = self.shared.manifest();
        let (snapshot, held) = {
            let index = self.shared.index();
            let known = index.shards.get(&shard);
            let found = known.and_then(|known| Some((known.snapshot?, known.segments.clone())));
            found.ok_or(Error::Missing { shard, index: 0 })?
        };
        let snapshot_file = SnapshotReader::open(&self.shared.disk, shard, snapshot)?.into_file();
        Ok(Export {
            snapshot,
            segments: held.iter().map(|segment| *segment.info()).collect(),
            shard,
            snapshot_file,
            held,
        })
    }
}

impl<D: Disk> Export<D> {
    /// Bytes of a file from `offset` on, at most `bytes_max`; fewer only at its end.
    ///
    /// These are the raw bytes of the file, with its own headers and checksums, which are not looked at
    /// here: [`crate::Import`] verifies them, so that nothing between two disks goes unnoticed.
    pub fn read(
        &self,
        file: ExportedFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Error> {
        match file {
            ExportedFile::Snapshot => {
                let name = names::snapshot(self.shard, self.snapshot.id);
                let length = file_bytes(self.snapshot.bytes);
                read_piece(&self.snapshot_file, &name, length, offset, bytes_max)
            }
            ExportedFile::Segment(id) => {
                let found = self.held.iter().find(|segment| segment.info().id == id);
                let segment = found.ok_or(Error::Refused {
                    shard: self.shard,
                    what: "a segment was asked for that is not of the export",
                })?;
                let (name, length) = (names::segment(self.shard, id), segment.info().bytes);
                read_piece(segment.open()?.file(), &name, length, offset, bytes_max)
            }
        }
    }
}

fn read_piece(
    file: &impl DiskFile,
    name: &str,
    length: u64,
    offset: u64,
    bytes_max: usize,
) -> Result<Vec<u8>, Error> {
    let left = wide(length.saturating_sub(offset));
    let mut bytes = vec![0; left.min(bytes_max)];
    let read = file
        .read_at(&mut bytes, offset)
        .map_err(|error| Error::io("read", name, error))?;
    if read < bytes.len() {
        let end = offset + read as u64;
        return Err(Error::corrupt(name, end, "ends too early"));
    }
    Ok(bytes)
}
