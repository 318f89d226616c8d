//! One atomic change of what a shard has sealed.

use std::sync::Arc;

use super::Store;
use crate::{
    disk::Disk,
    entry::{Position, SegmentInfo, SnapshotInfo},
    error::Error,
    index::Index,
    manifest::{Manifest, ShardManifest},
    names,
    segment::Segment,
    snapshot::SnapshotReader,
};

/// What a commit changes.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Replaces the shard's snapshot.
    pub snapshot: Option<SnapshotInfo>,
    pub origin: SnapshotOrigin,
    pub add: Vec<SegmentInfo>,
    /// Numbers of segments.
    pub remove: Vec<u64>,
}

/// Whose state a snapshot holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SnapshotOrigin {
    /// This shard's own: its last entry stands in the log, or the commit is refused.
    #[default]
    Here,
    /// Another replica's. If the log does not hold its last entry, the shard's entries become void;
    /// no append for the shard may be under way.
    Peer,
}

impl<D: Disk> Store<D> {
    /// Makes the change part of the log, all or nothing, and removes the files it replaces.
    ///
    /// The new snapshot is read back from the disk and verified before the old one goes.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a change is used up by its commit"
    )]
    pub fn commit(&self, shard: u16, change: Change) -> Result<(), Error> {
        let shared = &self.shared;
        shared.check_usable()?;
        if let Some(info) = change.snapshot {
            SnapshotReader::open(&shared.disk, shard, info)?.verify()?;
        }
        let opened = change
            .add
            .iter()
            .map(|&info| Segment::open(&shared.disk, shard, info));
        let opened = opened.collect::<Result<Vec<_>, _>>()?;

        let mut manifest = shared.manifest();
        let current = manifest.shards.get(&shard).cloned().unwrap_or_default();
        let void_before = void_before(&shared.index(), shard, &change);
        if void_before.is_some() && change.origin == SnapshotOrigin::Here {
            let what = "the last entry of its own snapshot is not in the log";
            return Err(Error::Refused { shard, what });
        }
        let next_shard = next_shard(&current, shard, &change, void_before)?;
        let mut next: Manifest = manifest.clone();
        next.shards.insert(shard, next_shard.clone());
        shared.commit_manifest(&mut manifest, next)?;
        self.publish(shard, &next_shard, opened);
        drop(manifest);
        self.remove_replaced(shard, &current, &change);
        Ok(())
    }

    fn publish(&self, number: u16, next: &ShardManifest, opened: Vec<Segment<D>>) {
        let mut index = self.shared.index_mut();
        let shard = index.shard(number);
        shard.snapshot = next.snapshot;
        shard.segments.extend(opened.into_iter().map(Arc::new));
        let listed = |id| next.segments.iter().any(|info| info.id == id);
        shard.segments.retain(|segment| listed(segment.info().id));
        shard
            .segments
            .sort_by_key(|segment| segment.info().first_index);
        shard.runs.drop_before(next.void_before);
    }

    /// Best effort: what stays is removed when the log is opened next.
    fn remove_replaced(&self, shard: u16, before: &ShardManifest, change: &Change) {
        let disk = &self.shared.disk;
        if let (Some(old), Some(new)) = (before.snapshot, change.snapshot)
            && old.id != new.id
        {
            drop(disk.remove(&names::snapshot(shard, old.id)));
        }
        for &id in &change.remove {
            drop(disk.remove(&names::segment(shard, id)));
        }
    }
}

/// Where the shard's entries begin to count: behind all there is if the new snapshot's last entry is
/// not among them.
fn void_before<D: Disk>(index: &Index<D>, shard: u16, change: &Change) -> Option<Position> {
    let snapshot = change.snapshot?;
    let shard = index.shards.get(&shard)?;
    let before = shard.snapshot_index();
    if snapshot.index <= before || shard.runs.last().is_none() {
        return None;
    }
    let known = shard.runs.term(snapshot.index) == Some(snapshot.term);
    (!known).then_some(index.durable)
}

fn next_shard(
    current: &ShardManifest,
    shard: u16,
    change: &Change,
    void_before: Option<Position>,
) -> Result<ShardManifest, Error> {
    let refused = |what| Err(Error::Refused { shard, what });
    let mut next = current.clone();
    if let Some(snapshot) = change.snapshot {
        if current
            .snapshot
            .is_some_and(|current| current.index > snapshot.index)
        {
            return refused("the new snapshot is older than the one there is");
        }
        next.snapshot = Some(snapshot);
    }
    for id in &change.remove {
        if !current.segments.iter().any(|segment| segment.id == *id) {
            return refused("a segment to be removed is not there");
        }
    }
    next.segments
        .retain(|segment| !change.remove.contains(&segment.id));
    next.segments.extend(&change.add);
    next.segments.sort_by_key(|segment| segment.first_index);
    if !next
        .segments
        .is_sorted_by(|a, b| a.last_index < b.first_index && a.id != b.id)
    {
        return refused("segments overlap");
    }
    next.void_before = next.void_before.max(void_before.unwrap_or_default());
    Ok(next)
}
