//! Maintenance: what the compactor does with a log, in one thread or several.
//!
//! When files are due, what is alive in them is copied into segments and the shard's state into a
//! snapshot; a commit makes both part of the log at once; what no snapshot can cover yet is carried over to the
//! end of the log; then the files are recycled. A commit is one manifest. Files are removed only after the manifest that no longer names them is durable.

mod carry;
mod commit;
mod examine;
mod export;
mod forget;
mod import;
mod recycle;
mod set_aside;
mod write_back;

use std::sync::{Arc, atomic::Ordering};

pub use commit::{Change, SnapshotOrigin};
pub use export::{Export, ExportedFile};
pub use import::{Import, Imported};
pub use recycle::{Due, DueShard};
pub use write_back::Standing;

use crate::{
    disk::Disk,
    entry::{SegmentInfo, SnapshotInfo},
    error::Error,
    manifest::{Manifest, ShardManifest},
    names,
    segment::writer::SegmentWriter,
    shared::Shared,
    snapshot::{SnapshotWriter, file_bytes},
};

/// The maintenance side of a log.
#[derive(Debug)]
pub struct Store<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for Store<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<D: Disk> Store<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// Begins segments of a shard. They count only after [`Store::commit`].
    pub fn begin_segment(&self, shard: u16) -> Result<SegmentWriter<D>, Error> {
        self.shared.check_usable()?;
        Ok(SegmentWriter::new(Arc::clone(&self.shared), shard))
    }

    /// Begins the snapshot of a shard's state after the entry `index`. It counts only after
    /// [`Store::commit`].
    pub fn begin_snapshot(
        &self,
        shard: u16,
        index: u64,
        term: u64,
    ) -> Result<SnapshotWriter<D>, Error> {
        SnapshotWriter::create(Arc::clone(&self.shared), shard, index, term)
    }

    /// Removes a sealed snapshot that will not be committed after all.
    pub fn discard_snapshot(&self, shard: u16, snapshot: &SnapshotInfo) {
        let current = self
            .shared
            .manifest()
            .shards
            .get(&shard)
            .and_then(|shard| shard.snapshot);
        assert!(
            current.is_none_or(|current| current.id != snapshot.id),
            "a committed snapshot is not discarded"
        );
        self.shared
            .disk
            .remove(&names::snapshot(shard, snapshot.id))
            .ok();
    }

    /// Removes sealed segments that will not be committed after all. What cannot be removed now goes
    /// when the log is opened next.
    pub fn discard(&self, shard: u16, segments: &[SegmentInfo]) {
        let listed = self.segments(shard);
        for info in segments {
            assert!(
                listed.iter().all(|other| other.id != info.id),
                "a committed segment is not discarded"
            );
            self.shared
                .disk
                .remove(&names::segment(shard, info.id))
                .ok();
        }
    }

    /// The shards that have entries or files here.
    pub fn shards(&self) -> Vec<u16> {
        self.shared.index().shards.keys().copied().collect()
    }

    /// The shard's snapshot.
    pub fn snapshot(&self, shard: u16) -> Option<SnapshotInfo> {
        self.shared.index().shards.get(&shard)?.snapshot
    }

    /// Whether something that was alive could not be read when it was to be copied, and is in none of the shard's segments.
    pub fn is_damaged(&self, shard: u16) -> bool {
        let manifest = self.shared.manifest();
        manifest.shards.get(&shard).is_some_and(|it| it.damaged)
    }

    /// The shard's segments by first index.
    pub fn segments(&self, shard: u16) -> Vec<SegmentInfo> {
        let index = self.shared.index();
        let segments = index.shards.get(&shard).map(|shard| shard.segments.iter());
        segments
            .into_iter()
            .flatten()
            .map(|segment| *segment.info())
            .collect()
    }

    /// Keeps spare log files ready, so that the appender need not make one.
    pub fn prepare_files(&self) -> Result<(), Error> {
        self.shared.prepare(self.shared.options.spare_files)
    }

    /// Ends the suspicion that an ambiguous tail left (see [`crate::RecoveryReport`]), and the doubt of a damaged log: the replicas
    /// here have caught up with what the others know, but for those that stay closed ([`Store::leave_closed`]). What cannot be written now, for want of space, is written with the
    /// next manifest.
    pub fn clear_suspicion(&self) -> Result<(), Error> {
        self.shared.suspicion_is_over.store(true, Ordering::Relaxed);
        let mut manifest = self.shared.manifest();
        if !manifest.is_in_doubt() {
            return Ok(());
        }
        let next = manifest.clone();
        self.shared.commit_manifest(&mut manifest, next)
    }

    /// Every shard has a state that agrees with what a repair made of the log ([`crate::Log::mend`]).
    pub fn note_agreed(&self) -> Result<(), Error> {
        let mut manifest = self.shared.manifest();
        if !manifest.mended {
            return Ok(());
        }
        let next = Manifest {
            mended: false,
            ..manifest.clone()
        };
        self.shared.commit_manifest(&mut manifest, next)
    }

    /// Nobody else can say what these shards have lost where the log is damaged: they are
    /// [`crate::RecoveredShard::lost`] from here on.
    pub fn note_lost(&self, shards: &[u16]) -> Result<(), Error> {
        let mut manifest = self.shared.manifest();
        let mut next = manifest.clone();
        for (_, listed) in next.shards.iter_mut().filter(|(it, _)| shards.contains(it)) {
            listed.lost = true;
        }
        if next == *manifest {
            return Ok(());
        }
        self.shared.commit_manifest(&mut manifest, next)
    }

    /// This start leaves these shards closed, so that they do not catch up with others as the rest does: what they may lack they
    /// lack still when [`Store::clear_suspicion`] is called, also if only the log as a whole is `suspect`. To be said before.
    pub fn leave_closed(&self, shards: &[u16], suspect: bool) -> Result<(), Error> {
        self.shared.closed().extend(shards);
        let mut manifest = self.shared.manifest();
        let mut next = manifest.clone();
        let closed = next.shards.iter_mut();
        for (_, listed) in closed.filter(|(it, _)| shards.contains(it)) {
            listed.doubtful |= suspect && listed.snapshot.is_some();
        }
        if next == *manifest {
            return Ok(());
        }
        self.shared.commit_manifest(&mut manifest, next)
    }

    /// Whether this start left the shard closed ([`Store::leave_closed`]), and nobody has let go of it since.
    pub fn is_closed(&self, shard: u16) -> bool {
        self.shared.closed().contains(&shard)
    }

    /// Bytes of the log files that hold entries, used or not.
    pub fn wal_bytes_in_use(&self) -> u64 {
        self.shared
            .index()
            .files
            .values()
            .map(|file| file.bytes)
            .sum()
    }

    /// The oldest log file that holds entries, used or not.
    pub fn first_wal_file(&self) -> Option<u64> {
        self.shared.index().files.keys().next().copied()
    }

    /// How long a segment is at most, unless one record alone is longer.
    pub fn segment_bytes_max(&self) -> u64 {
        self.shared.options.segment_bytes
    }

    /// Bytes of all segments.
    pub fn segment_bytes(&self) -> u64 {
        let index = self.shared.index();
        let segments = index.shards.values().flat_map(|shard| &shard.segments);
        segments.map(|segment| segment.info().bytes).sum()
    }

    /// Bytes of the files of a shard's snapshot and segments; 0 if it is not here.
    pub fn shard_bytes(&self, shard: u16) -> u64 {
        let index = self.shared.index();
        let Some(shard) = index.shards.get(&shard) else {
            return 0;
        };
        let segments = shard.segments.iter().map(|segment| segment.info().bytes);
        let snapshot = shard.snapshot.map_or(0, |info| file_bytes(info.bytes));
        segments.sum::<u64>() + snapshot
    }

    /// Bytes the disk can still take.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        self.shared
            .disk
            .free_bytes()
            .map_err(|error| Error::io("ask the room of", "disk", error))
    }
}

impl<D: Disk> Shared<D> {
    /// Makes the shard's folder durable before anything is put into it.
    pub(crate) fn ensure_shard_directory(&self, shard: u16) -> Result<(), Error> {
        // Of a shard that has no files the manifest says nothing about a folder.
        let listed = self.manifest();
        if listed
            .shards
            .get(&shard)
            .is_some_and(ShardManifest::has_files)
        {
            return Ok(());
        }
        drop(listed);
        let directory = names::shard_directory(shard);
        let created = self.disk.create_directory(&directory);
        created
            .and_then(|()| self.disk.sync_directory(names::SHARDS))
            .map_err(|error| self.write_error(&directory, error))
    }
}
