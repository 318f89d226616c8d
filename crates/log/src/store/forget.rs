//! A replica moves away: nothing of its shard counts any more but what it promised.

use super::Store;
use crate::{disk::Disk, error::Error, manifest::ShardManifest, names};

impl<D: Disk> Store<D> {
    /// Takes the shard off this disk: its snapshot, segments and entries are gone in one step, its
    /// files are removed after it. Does nothing if the disk has none of them.
    ///
    /// Two things stay, for good or until the shard comes again. The term and the vote, for a vote that
    /// was given once must never be given again. And `floor`, at least 1: the index at which the shard's members had
    /// let go of this replica, no smaller than that of any entry it acknowledged. A state from before it is
    /// refused by [`Store::install`], since it may lack some of those.
    ///
    /// Files of a shard in which something is `damaged` are set aside instead (`set_aside.rs`), for whoever wants to look at them.
    ///
    /// Nothing else may be under way for the shard: no append and no commit. One that comes later is a
    /// new beginning: a hard state is written, an entry other than the first is refused with
    /// [`Error::Gap`], a snapshot of its own with [`Error::Overtaken`].
    pub fn forget(&self, shard: u16, floor: u64, damaged: bool) -> Result<(), Error> {
        let shared = &self.shared;
        // The first batch of a new log file repeats all hard states: none may be on its way.
        let _appending = shared.appending();
        shared.check_usable()?;
        let mut manifest = shared.manifest();
        let listed = manifest.shards.get(&shard).cloned().unwrap_or_default();
        if !listed.has_files() && !shared.index().has_entries(shard) {
            return Ok(());
        }
        let mut next = manifest.clone();
        #[cfg(feature = "sabotage")]
        let floor = if crate::sabotage::is_planted("no tombstones") {
            1
        } else {
            floor
        };
        let tombstone = ShardManifest {
            void_before: shared.index().durable,
            floor: floor.max(listed.floor).max(1),
            ..ShardManifest::default()
        };
        next.shards.insert(shard, tombstone);
        shared.commit_manifest(&mut manifest, next)?;
        let forgotten = shared.index_mut().forget(shard);
        shared.closed().remove(&shard);
        drop(manifest);
        if damaged {
            self.set_aside(shard, &listed);
        }
        // Best effort: what stays is removed when the log is opened next.
        if let Some(snapshot) = listed.snapshot {
            drop(shared.disk.remove(&names::snapshot(shard, snapshot.id)));
        }
        for segment in forgotten.segments {
            segment.replaced();
        }
        Ok(())
    }
}
