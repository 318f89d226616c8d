//! Segments: those in which nothing is alive go, neighbours that are small or mostly dead become one.

use anser_broker::id::ShardId;
use anser_log::{Change, Disk, Error, SegmentInfo};

use super::{
    Maintenance, is_undone,
    merging::{self, Candidate},
};
use crate::event::Look;

/// Segments of a shard that are looked at in one sweep.
const SEGMENTS_PER_LOOK: usize = 32;

impl<D: Disk> Maintenance<D> {
    pub(super) fn sweep(&mut self) -> Vec<Result<(), Error>> {
        self.sweeps += 1;
        let shards: Vec<ShardId> = self.store.shards().into_iter().map(ShardId).collect();
        let dropped: Vec<_> = shards.iter().map(|&shard| self.drop_dead(shard)).collect();
        let merged = shards.iter().map(|&shard| self.merge(shard));
        let merged: Vec<_> = merged.collect();
        let scrubbed = self
            .scrub
            .step(&shards, &self.store, &self.reader, &self.counters);
        let results = dropped.into_iter().chain(merged);
        results.chain([scrubbed]).collect()
    }

    /// Drops what is dead among some of the segments, in turn, so that no look takes long.
    fn drop_dead(&self, shard: ShardId) -> Result<(), Error> {
        let segments = self.store.segments(shard.0);
        let slices = segments.len().div_ceil(SEGMENTS_PER_LOOK).max(1);
        let skipped = (self.sweeps % slices) * SEGMENTS_PER_LOOK;
        let looked_at: Vec<SegmentInfo> = segments
            .into_iter()
            .skip(skipped)
            .take(SEGMENTS_PER_LOOK)
            .collect();
        if looked_at.is_empty() {
            return Ok(());
        }
        let ranges = looked_at
            .iter()
            .map(|info| (info.first_index, info.last_index))
            .collect();
        let Some(alive) = self.look(shard, |sender| Look::AnyLive(ranges, sender)) else {
            return Ok(());
        };
        let dead = looked_at.iter().zip(alive).filter(|(_, alive)| !alive);
        let remove: Vec<u64> = dead.map(|(info, _)| info.id).collect();
        if remove.is_empty() {
            return Ok(());
        }
        let change = Change {
            remove,
            ..Change::default()
        };
        self.store.commit(shard.0, change)
    }

    /// Counts what is alive in one more segment, then merges one row of neighbours. So little a sweep keeps
    /// this off the hot path.
    fn merge(&mut self, shard: ShardId) -> Result<(), Error> {
        let segments = self.store.segments(shard.0);
        let counted = self.alive.entry(shard).or_default();
        counted.retain(|id, _| segments.iter().any(|info| info.id == *id));
        let next = segments
            .iter()
            .find(|info| !counted.contains_key(&info.id))
            .or_else(|| segments.get(self.sweeps % segments.len().max(1)));
        let Some(next) = next.copied() else {
            return Ok(());
        };
        let Some(live) = self.live(shard, &next) else {
            return Ok(());
        };
        let entries = live
            .chunk_by(|one, other| one.index() == other.index())
            .count() as u64;
        let counted = self.alive.entry(shard).or_default();
        counted.insert(next.id, entries);
        let candidates: Vec<Candidate> = segments
            .iter()
            .map(|info| Candidate {
                bytes: info.bytes,
                records: info.records,
                alive: counted.get(&info.id).copied(),
            })
            .collect();
        match merging::choose(&candidates, self.store.segment_bytes_max()) {
            Some(row) => self.rewrite(shard, &segments[row]),
            None => Ok(()),
        }
    }

    fn rewrite(&self, shard: ShardId, row: &[SegmentInfo]) -> Result<(), Error> {
        let mut live = Vec::new();
        for info in row {
            let Some(alive) = self.live(shard, info) else {
                return Ok(());
            };
            live.extend(alive);
        }
        let add = self.copy(shard.0, &live)?;
        let change = Change {
            add: add.clone(),
            remove: row.iter().map(|info| info.id).collect(),
            ..Change::default()
        };
        self.store.commit(shard.0, change).inspect_err(|error| {
            if is_undone(error) {
                self.store.discard(shard.0, &add);
            }
        })
    }
}
