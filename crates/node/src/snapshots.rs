//! Writing a replica's image as a snapshot of the log.

use std::io::Write;

use anser_log::{Disk, Error, SnapshotInfo, Store};
use anser_replica::Image;

/// Writes and seals a snapshot. It becomes the shard's by a commit.
pub(crate) fn save<D: Disk>(
    store: &Store<D>,
    shard: u16,
    image: &Image,
) -> Result<SnapshotInfo, Error> {
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
