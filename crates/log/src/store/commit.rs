//! One atomic change of what a shard has sealed.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
};

use super::{Imported, Store};
use crate::{
    disk::Disk,
    entry::{Position, SegmentInfo, SnapshotInfo},
    error::Error,
    index::Index,
    manifest::{Manifest, ShardManifest},
    names,
    segment::files::Segment,
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
    /// What is added leaves out something that is alive and could not be read.
    pub damaged: bool,
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
    pub fn commit(&self, shard: u16, change: Change) -> Result<(), Error> {
        self.commit_all(&BTreeMap::from([(shard, change)]))
    }

    /// As [`Store::commit`], for several shards by one manifest.
    pub fn commit_all(&self, changes: &BTreeMap<u16, Change>) -> Result<(), Error> {
        let verified = changes
            .iter()
            .map(|(&shard, change)| self.verify_new(shard, change))
            .collect::<Result<_, _>>()?;
        // A batch that is half on its way to the disk would be void in the index and not on disk.
        let is_foreign = |change: &Change| change.origin == SnapshotOrigin::Peer;
        let any_foreign = changes.values().any(is_foreign);
        let _appending = any_foreign.then(|| self.shared.appending());
        self.commit_verified(changes, self.shared.manifest(), verified)
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
            ..Change::default()
        };
        let verified = self.verify_new(shard, &change)?;
        let _appending = self.shared.appending();
        let manifest = self.shared.manifest();
        if let Some(present) = manifest.shards.get(&shard) {
            change.remove = present.segments.iter().map(|info| info.id).collect();
        }
        self.commit_verified(&BTreeMap::from([(shard, change)]), manifest, vec![verified])
    }

    /// Verifies the files that a change adds.
    fn verify_new(&self, shard: u16, change: &Change) -> Result<Vec<Segment<D>>, Error> {
        let shared = &self.shared;
        shared.check_usable()?;
        if let Some(info) = change.snapshot {
            SnapshotReader::open(&shared.disk, shard, info)?.verify()?;
        }
        let verified = change
            .add
            .iter()
            .map(|&info| Segment::verified(&shared.segments, shard, info));
        verified.collect()
    }

    /// `verified`: for each change the segments that it adds.
    fn commit_verified(
        &self,
        changes: &BTreeMap<u16, Change>,
        mut manifest: MutexGuard<'_, Manifest>,
        verified: Vec<Vec<Segment<D>>>,
    ) -> Result<(), Error> {
        let mut next = manifest.clone();
        for (&shard, change) in changes {
            let listed = next.shards.entry(shard).or_default();
            *listed = self.changed(shard, change, listed)?;
        }
        let before = changes
            .keys()
            .map(|shard| manifest.shards.get(shard)?.snapshot);
        let before: Vec<Option<SnapshotInfo>> = before.collect();
        self.shared.commit_manifest(&mut manifest, next)?;
        let mut replaced = Vec::new();
        for (&shard, verified) in changes.keys().zip(verified) {
            replaced.extend(self.publish(shard, &manifest.shards[&shard], verified));
        }
        let listed = changes.keys().map(|shard| manifest.shards[shard].snapshot);
        let listed: Vec<Option<SnapshotInfo>> = listed.collect();
        drop(manifest);
        for segment in replaced {
            segment.replaced();
        }
        for (&shard, (before, listed)) in changes.keys().zip(before.into_iter().zip(listed)) {
            self.remove_replaced(shard, before, listed);
        }
        Ok(())
    }

    /// What the manifest lists of the shard after the change.
    fn changed(
        &self,
        shard: u16,
        change: &Change,
        current: &ShardManifest,
    ) -> Result<ShardManifest, Error> {
        let index = self.shared.index();
        if change.origin == SnapshotOrigin::Here
            && let Some(snapshot) = change.snapshot
            && current.is_tombstone()
            && !holds(&index, shard, &snapshot)
        {
            return Err(Error::Overtaken { shard });
        }
        // Whoever wrote these did not know that the shard was let go of.
        let is_late = change.snapshot.is_none() && !change.add.is_empty() && current.is_tombstone();
        if change.origin == SnapshotOrigin::Here && is_late {
            return Err(Error::Overtaken { shard });
        }
        let void_before = void_before(&index, shard, change);
        if void_before.is_some() && change.origin == SnapshotOrigin::Here {
            let what = "the last entry of its own snapshot is not in the log";
            return Err(Error::Refused { shard, what });
        }
        next_shard(current, shard, change, void_before)
    }

    /// Gives the segments that are no longer listed.
    fn publish(
        &self,
        number: u16,
        next: &ShardManifest,
        verified: Vec<Segment<D>>,
    ) -> Vec<Arc<Segment<D>>> {
        let mut index = self.shared.index_mut();
        let shard = index.shard(number);
        shard.snapshot = next.snapshot;
        shard.segments.extend(verified.into_iter().map(Arc::new));
        let listed = |id| next.segments.iter().any(|info| info.id == id);
        let (listed, replaced) = std::mem::take(&mut shard.segments)
            .into_iter()
            .partition(|segment| listed(segment.info().id));
        shard.segments = listed;
        shard
            .segments
            .sort_by_key(|segment| segment.info().first_index);
        shard.runs.drop_before(next.void_before);
        replaced
    }

    /// Best effort: what stays is removed when the log is opened next.
    fn remove_replaced(
        &self,
        shard: u16,
        before: Option<SnapshotInfo>,
        listed: Option<SnapshotInfo>,
    ) {
        if let Some(before) = before
            && listed.is_none_or(|listed| listed.id != before.id)
        {
            drop(self.shared.disk.remove(&names::snapshot(shard, before.id)));
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
        // The entries that it covers are with whoever wrote it, or there were none.
        if change.origin == SnapshotOrigin::Peer || current.snapshot.is_none() {
            next.recycled = snapshot.index;
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
    let mut add = change.add.clone();
    if overlap(&mut add) {
        let what = "new segments overlap";
        return Err(Error::Refused { shard, what });
    }
    next.segments.extend(add);
    // Whoever wrote the new ones looked before a copy was installed.
    if overlap(&mut next.segments) {
        return Err(Error::Overtaken { shard });
    }
    let is_foreign = change.origin == SnapshotOrigin::Peer;
    next.damaged = change.damaged || next.damaged && !is_foreign;
    next.void_before = next.void_before.max(void_before.unwrap_or_default());
    Ok(next)
}

/// Puts segments in order; whether two of them have an index in common.
fn overlap(segments: &mut [SegmentInfo]) -> bool {
    segments.sort_by_key(|segment| segment.first_index);
    !segments.is_sorted_by(|a, b| a.last_index < b.first_index && a.id != b.id)
}
