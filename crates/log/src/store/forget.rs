//! A replica moves away: nothing of its shard counts any more.

use super::Store;
use crate::{disk::Disk, error::Error, manifest::ShardManifest, names};

impl<D: Disk> Store<D> {
    /// Takes the shard off this disk: its snapshot, segments, entries and hard state are gone in one
    /// step, its files are removed after it. Does nothing if the disk has none of them.
    ///
    /// The log files still hold old records of the shard, so the manifest remembers up to where they are
    /// void until those files are recycled. The shard may come again: by [`Store::install`], and by
    /// appends, which then begin as those of a new shard.
    ///
    /// Nothing else may be under way for the shard: no append and no commit. One that comes later is a
    /// new beginning: a hard state is written, an entry other than the first is refused with
    /// [`Error::Gap`], a snapshot of its own with [`Error::Overtaken`] (while the manifest remembers).
    pub fn forget(&self, shard: u16) -> Result<(), Error> {
        let shared = &self.shared;
        // The first batch of a new log file repeats all hard states: none may be on its way.
        let _appending = shared.appending();
        shared.check_usable()?;
        let mut manifest = shared.manifest();
        let listed = manifest.shards.get(&shard).cloned().unwrap_or_default();
        let is_known = shared.index().shards.contains_key(&shard);
        if !is_known && !listed.has_files() {
            return Ok(());
        }
        let place = shared.index().durable;
        let mut next = manifest.clone();
        let tombstone = ShardManifest {
            void_before: place,
            forgotten_before: place,
            ..ShardManifest::default()
        };
        next.shards.insert(shard, tombstone);
        shared.commit_manifest(&mut manifest, next)?;
        let forgotten = shared.index_mut().shards.remove(&shard);
        drop(manifest);
        // Best effort: what stays is removed when the log is opened next.
        if let Some(snapshot) = listed.snapshot {
            drop(shared.disk.remove(&names::snapshot(shard, snapshot.id)));
        }
        for segment in forgotten.iter().flat_map(|shard| &shard.segments) {
            segment.replaced();
        }
        Ok(())
    }
}
