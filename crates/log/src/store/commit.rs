//! One atomic change of what a shard has sealed.

use std::sync::{Arc, MutexGuard};

use super::{Imported, Store};
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
    /// else those behind it stay. No append for the shard may be under way.
    Peer,
}

impl<D: Disk> Store<D> {
    /// Makes the change part of the log, all or nothing, and removes the files it replaces.
    ///
    /// The new snapshot is read back from the disk and verified before the old one goes. A change that
    /// another one made pointless meanwhile is refused with [`Error::Overtaken`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a change is used up by its commit"
    )]
    pub fn commit(&self, shard: u16, change: Change) -> Result<(), Error> {
        let opened = self.open_new(shard, &change)?;
        // A batch that is half on its way to the disk would be void in the index and not on disk.
        let is_foreign = change.origin == SnapshotOrigin::Peer;
        let _appending = is_foreign.then(|| self.shared.appending());
        self.commit_opened(shard, &change, self.shared.manifest(), opened)
    }

    /// Replaces everything the shard has here, or had, by what an import brought: as
    /// [`Store::commit`] of a snapshot from a peer that adds the import's segments and removes all
    /// there are. The next append may begin behind the snapshot.
    ///
    /// No append for the shard may be under way. After an error the files are still there: try again,
    /// or give them to [`Store::discard_import`]. Refused if the shard was forgotten at a later entry
    /// ([`Store::forget`]).
    pub fn install(&self, shard: u16, imported: &Imported) -> Result<(), Error> {
        let mut change = Change {
            snapshot: Some(imported.snapshot),
            origin: SnapshotOrigin::Peer,
            add: imported.segments.clone(),
            remove: Vec::new(),
        };
        let opened = self.open_new(shard, &change)?;
        let _appending = self.shared.appending();
        let manifest = self.shared.manifest();
        if let Some(present) = manifest.shards.get(&shard) {
            change.remove = present.segments.iter().map(|info| info.id).collect();
        }
        self.commit_opened(shard, &change, manifest, opened)
    }

    /// Opens and verifies the files that a change adds.
    fn open_new(&self, shard: u16, change: &Change) -> Result<Vec<Segment<D>>, Error> {
        let shared = &self.shared;
        shared.check_usable()?;
        if let Some(info) = change.snapshot {
            SnapshotReader::open(&shared.disk, shard, info)?.verify()?;
        }
        let opened = change
            .add
            .iter()
            .map(|&info| Segment::open(&shared.disk, shard, info));
        opened.collect()
    }

    fn commit_opened(
        &self,
        shard: u16,
        change: &Change,
        mut manifest: MutexGuard<'_, Manifest>,
        opened: Vec<Segment<D>>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        let current = manifest.shards.get(&shard).cloned().unwrap_or_default();
        if change.origin == SnapshotOrigin::Here
            && let Some(snapshot) = change.snapshot
            && current.is_tombstone()
            && !holds(&shared.index(), shard, &snapshot)
        {
            return Err(Error::Overtaken { shard });
        }
        let void_before = void_before(&shared.index(), shard, change);
        if void_before.is_some() && change.origin == SnapshotOrigin::Here {
            let what = "the last entry of its own snapshot is not in the log";
            return Err(Error::Refused { shard, what });
        }
        let next_shard = next_shard(&current, shard, change, void_before)?;
        let mut next: Manifest = manifest.clone();
        next.shards.insert(shard, next_shard.clone());
        shared.commit_manifest(&mut manifest, next)?;
        self.publish(shard, &next_shard, opened);
        drop(manifest);
        self.remove_replaced(shard, &current, change);
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

/// Whether the log holds the last entry of a snapshot.
fn holds<D: Disk>(index: &Index<D>, shard: u16, snapshot: &SnapshotInfo) -> bool {
    let shard = index.shards.get(&shard);
    shard.and_then(|shard| shard.runs.term(snapshot.index)) == Some(snapshot.term)
}

fn next_shard(
    current: &ShardManifest,
    shard: u16,
    change: &Change,
    void_before: Option<Position>,
) -> Result<ShardManifest, Error> {
    let mut next = current.clone();
    if let Some(snapshot) = change.snapshot {
        if current
            .snapshot
            .is_some_and(|current| current.index > snapshot.index)
        {
            return Err(Error::Overtaken { shard });
        }
        if snapshot.index < current.floor {
            let what = "it was forgotten at a later entry than that of its snapshot";
            return Err(Error::Refused { shard, what });
        }
        next.snapshot = Some(snapshot);
        next.floor = 0;
    }
    for id in &change.remove {
        if !current.segments.iter().any(|segment| segment.id == *id) {
            return Err(Error::Overtaken { shard });
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
        let what = "segments overlap";
        return Err(Error::Refused { shard, what });
    }
    next.void_before = next.void_before.max(void_before.unwrap_or_default());
    Ok(next)
}
