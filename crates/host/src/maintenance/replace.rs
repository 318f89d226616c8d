//! Replacing damaged segments by what is alive in them, for a shard whose lost messages have ended.

use anser_log::{Change, Disk, Error, SnapshotOrigin};
use anser_replica::Image;

use super::Maintenance;
use crate::snapshots::save;

impl<D: Disk> Maintenance<D> {
    /// What makes an image the shard's snapshot, and new segments of what it says is alive in damaged ones, which are kept
    /// under another name. Once it is committed nothing of the shard is damaged.
    pub fn replacement(
        &mut self,
        shard: u16,
        image: &Image,
        damaged: &[u64],
    ) -> Result<Change, Error> {
        let mut change = Change {
            // Unlike its own, it makes the shard whole.
            origin: SnapshotOrigin::Peer,
            snapshot: Some(save(&self.store, shard, image)?),
            remove: damaged.to_vec(),
            ..Change::default()
        };
        for info in self.store.segments(shard) {
            if !damaged.contains(&info.id) {
                continue;
            }
            self.store.keep_damaged(shard, info.id)?;
            let live = image.shard.live_between(info.first_index, info.last_index);
            let copied = self.copy(shard, &live, image)?;
            change.damaged |= copied.damaged;
            change.add.extend(copied.segments);
        }
        Ok(change)
    }
}
