//! What is in memory of a disk: where entries are, which files are open, what each shard has sealed.
//!
//! The index changes only after the disk did: entries are added once they are synced, segments and
//! snapshots once the manifest that names them is durable.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    disk::Disk,
    entry::{HardState, Position, SnapshotInfo},
    error::Error,
    runs::Runs,
    segment::files::Segment,
};

#[derive(Debug)]
pub(crate) struct Index<D: Disk> {
    /// Write-ahead log files in use by sequence; the last is being written.
    pub(crate) files: BTreeMap<u64, WalFile<D>>,
    /// Everything before this place is synced.
    pub(crate) durable: Position,
    pub(crate) shards: BTreeMap<u16, ShardIndex<D>>,
}

#[derive(Debug)]
pub(crate) struct WalFile<D: Disk> {
    pub(crate) file: Arc<D::File>,
    pub(crate) bytes: u64,
}

impl<D: Disk> Clone for WalFile<D> {
    fn clone(&self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            bytes: self.bytes,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ShardIndex<D: Disk> {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) runs: Runs,
    pub(crate) snapshot: Option<SnapshotInfo>,
    /// By first index; ranges do not overlap.
    pub(crate) segments: Vec<Arc<Segment<D>>>,
}

impl<D: Disk> Default for ShardIndex<D> {
    fn default() -> Self {
        Self {
            hard_state: None,
            runs: Runs::default(),
            snapshot: None,
            segments: Vec::new(),
        }
    }
}

impl<D: Disk> ShardIndex<D> {
    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.map_or(0, |snapshot| snapshot.index)
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.runs.last().unwrap_or(0).max(self.snapshot_index())
    }

    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        let of_snapshot = self.snapshot.filter(|snapshot| snapshot.index == index);
        of_snapshot
            .map(|snapshot| snapshot.term)
            .or_else(|| self.runs.term(index))
    }

    pub(crate) fn segment_of(&self, index: u64) -> Option<&Arc<Segment<D>>> {
        let after = self
            .segments
            .partition_point(|segment| segment.info().first_index <= index);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        (index <= segment.info().last_index).then_some(segment)
    }

    /// The first index from which on the write-ahead log holds every entry to the last.
    pub(crate) fn log_first(&self) -> u64 {
        let covered = self.snapshot_index();
        match (self.runs.first(), self.runs.last()) {
            (Some(first), Some(last)) if last >= covered => first,
            _ => covered + 1,
        }
    }

    /// Refuses entries that leave a gap behind what the shard has, or that its snapshot covers: those
    /// were committed.
    pub(crate) fn check_follows(&self, shard: u16, index: u64) -> Result<(), Error> {
        let expected = self.last_index() + 1;
        if index != 0 && index <= self.snapshot_index() {
            let what = "an entry was to be written that its snapshot covers";
            return Err(Error::Refused { shard, what });
        }
        if index == 0 || index > expected {
            return Err(Error::Gap {
                shard,
                expected,
                found: index,
            });
        }
        Ok(())
    }
}

impl<D: Disk> Index<D> {
    pub(crate) fn new(first_sequence: u64) -> Self {
        Self {
            files: BTreeMap::new(),
            durable: Position {
                sequence: first_sequence,
                offset: 0,
            },
            shards: BTreeMap::new(),
        }
    }

    pub(crate) fn shard(&mut self, shard: u16) -> &mut ShardIndex<D> {
        self.shards.entry(shard).or_default()
    }

    pub(crate) fn has_entries(&self, shard: u16) -> bool {
        let shard = self.shards.get(&shard);
        shard.is_some_and(|shard| shard.runs.last().is_some())
    }

    /// Drops all that is known of a shard but its term and its vote; gives what was dropped.
    pub(crate) fn forget(&mut self, number: u16) -> ShardIndex<D> {
        let shard = self.shard(number);
        let promised = shard
            .hard_state
            .map(|state| HardState { commit: 0, ..state });
        let kept = ShardIndex {
            hard_state: promised,
            ..ShardIndex::default()
        };
        std::mem::replace(shard, kept)
    }

    /// The file being written.
    pub(crate) fn current(&self) -> Option<u64> {
        self.files.last_key_value().map(|(&sequence, _)| sequence)
    }
}
