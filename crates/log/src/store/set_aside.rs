//! What was damaged is set aside instead of removed: somebody may want to know what became of it, or to save
//! what was the only copy.
//!
//! It stays in its folder, under another name. Nothing depends on it, so nothing is synced, and what goes wrong is passed
//! over. The oldest goes first where it would be too much.

use super::Store;
use crate::{
    disk::{Disk, DiskFile, OpenMode},
    manifest::ShardManifest,
    names,
};

/// Of one shard.
const FILES_MAX: usize = 64;
const BYTES_MAX: u64 = 1 << 30;

impl<D: Disk> Store<D> {
    /// Sets the files aside of a shard that is listed no more.
    pub(super) fn set_aside(&self, shard: u16, listed: &ShardManifest) {
        let disk = &self.shared.disk;
        let segments = listed.segments.iter();
        let segments = segments.map(|info| names::segment(shard, info.id));
        let snapshot = listed.snapshot.map(|info| names::snapshot(shard, info.id));
        for file in segments.chain(snapshot) {
            drop(disk.rename(&file, &format!("{file}{}", names::SET_ASIDE)));
        }
        self.remove_oldest_aside(shard);
    }

    /// Removes the oldest files that are set aside of a shard, whose numbers are the lowest, until the others are few enough.
    pub fn remove_oldest_aside(&self, shard: u16) {
        let disk = &self.shared.disk;
        let folder = names::shard_directory(shard);
        let Ok(mut names) = disk.list(&folder) else {
            return;
        };
        names.retain(|name| name.ends_with(names::SET_ASIDE));
        // On a disk that is nearly full there is no room for it.
        let bytes_max = BYTES_MAX.min(disk.free_bytes().unwrap_or(0) / 4);
        let (mut files, mut bytes) = (0, 0);
        for name in names.iter().rev() {
            let path = format!("{folder}/{name}");
            let file = disk.open(&path, OpenMode::Existing);
            files += 1;
            bytes += file.and_then(|file| file.len()).unwrap_or(0);
            if files > FILES_MAX || bytes > bytes_max {
                drop(disk.remove(&path));
            }
        }
    }
}
