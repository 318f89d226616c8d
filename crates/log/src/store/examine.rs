//! What of a shard's segments is damaged, all of them read from end to end, and keeping what is to be replaced.

use super::Store;
use crate::{
    disk::{Disk, DiskFile, OpenMode},
    error::Error,
    layout::wide,
    names,
};

/// Bytes that are copied at once; of a piece that cannot be read the copy has zeros.
const PIECE_BYTES: usize = 4096;

impl<D: Disk> Store<D> {
    /// The segments of a shard in which something is damaged, by number, and what of each was met first.
    pub fn damaged_segments(&self, shard: u16) -> Result<Vec<(u64, Error)>, Error> {
        let segments = {
            let index = self.shared.index();
            let shard = index.shards.get(&shard);
            shard.map_or_else(Vec::new, |shard| shard.segments.clone())
        };
        let mut damaged = Vec::new();
        for segment in segments {
            match segment.open().and_then(|file| file.verify()) {
                Ok(()) => {}
                Err(error) if error.is_damage() => damaged.push((segment.info().id, error)),
                Err(other) => return Err(other),
            }
        }
        Ok(damaged)
    }

    /// Copies what can be read of a segment to a file that stays, before a commit takes the segment away. There is
    /// nothing to copy of one that is gone.
    pub fn keep_damaged(&self, shard: u16, id: u64) -> Result<(), Error> {
        let disk = &self.shared.disk;
        let name = names::segment(shard, id);
        let Ok(from) = disk.open(&name, OpenMode::Existing) else {
            return Ok(());
        };
        let aside = format!("{name}{}", names::SET_ASIDE);
        // Of an attempt that was cut short.
        drop(disk.remove(&aside));
        let copy = || {
            let to = disk.open(&aside, OpenMode::Create)?;
            let length = from.len()?;
            for at in (0..length).step_by(PIECE_BYTES) {
                let mut piece = vec![0; wide((length - at).min(PIECE_BYTES as u64))];
                if from.read_at(&mut piece, at).is_err() {
                    piece.fill(0);
                }
                to.write_at(&piece, at)?;
            }
            to.sync()
        };
        copy().map_err(|error| self.shared.write_error(&aside, error))
    }
}
