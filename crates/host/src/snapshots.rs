//! Writing a replica's image as a snapshot of the log, and reading it again.

use std::io::{Read, Write};

use anser_log::{Disk, Error, Reader, SnapshotInfo, SnapshotReader, Store};
use anser_replica::{Image, Place, SnapshotError, SnapshotImage, read_snapshot};

/// Writes and seals a snapshot. It becomes the shard's by a commit.
pub fn save<D: Disk>(store: &Store<D>, shard: u16, image: &Image) -> Result<SnapshotInfo, Error> {
    let mut writer = store.begin_snapshot(shard, image.applied.index, image.applied.term)?;
    let mut written = Ok(());
    image.save(&mut |piece| {
        if written.is_ok() {
            written = writer.write_all(piece);
        }
    });
    written.map_err(|error| {
        error
            .downcast()
            .expect("a snapshot's writer fails with the log's own error")
    })?;
    writer.finish()
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Log(#[from] Error),
    #[error(transparent)]
    State(#[from] SnapshotError),
}

/// The shard's snapshot and the last entry that it has applied; `None` if there is none.
pub fn read<D: Disk>(
    reader: &Reader<D>,
    shard: u16,
) -> Result<Option<(SnapshotImage, Place)>, ReadError> {
    let Some((info, snapshot)) = reader.snapshot(shard)? else {
        return Ok(None);
    };
    let place = Place {
        index: info.index,
        term: info.term,
    };
    Ok(Some((image(snapshot)?, place)))
}

/// The state of a snapshot that is not the shard's yet.
pub(crate) fn read_staged<D: Disk>(
    reader: &Reader<D>,
    shard: u16,
    info: &SnapshotInfo,
) -> Result<SnapshotImage, ReadError> {
    image(reader.staged_snapshot(shard, info)?)
}

fn image<D: Disk>(mut snapshot: SnapshotReader<D>) -> Result<SnapshotImage, ReadError> {
    let mut bytes = Vec::new();
    let read = snapshot.read_to_end(&mut bytes);
    read.map_err(|error| {
        error
            .downcast::<Error>()
            .expect("a snapshot's reader fails with the log's own error")
    })?;
    Ok(read_snapshot(&bytes)?)
}
