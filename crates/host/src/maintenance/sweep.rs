//! Segments: those in which nothing is alive go, neighbours that are small or mostly dead become one.

use anser_broker::id::{Sequence, ShardId};
use anser_log::{Change, Disk, Error, SegmentInfo};
use anser_replica::Image;

use super::{
    Images, Maintenance, is_undone,
    merging::{self, Candidate},
};

/// Segments of a shard that are looked at in one sweep.
const SEGMENTS_PER_LOOK: usize = 32;

impl<D: Disk> Maintenance<D> {
    /// Looks at some of the segments of these shards; what went wrong with each of them.
    pub fn sweep(&mut self, images: &Images) -> Vec<Error> {
        self.sweeps += 1;
        self.alive.retain(|shard, _| images.contains_key(shard));
        let mut wrong = Vec::new();
        for (&shard, image) in images {
            wrong.extend(self.drop_dead(shard, image).err());
        }
        for (&shard, image) in images {
            wrong.extend(self.merge(shard, image).err());
        }
        wrong
    }

    /// Drops what is dead among some of the segments, in turn, so that no look takes long.
    fn drop_dead(&mut self, shard: ShardId, image: &Image) -> Result<(), Error> {
        let segments = self.store.segments(shard.0);
        let slices = segments.len().div_ceil(SEGMENTS_PER_LOOK).max(1);
        let skipped = (self.sweeps % slices) * SEGMENTS_PER_LOOK;
        let looked_at: Vec<SegmentInfo> = segments
            .into_iter()
            .skip(skipped)
            .take(SEGMENTS_PER_LOOK)
            .collect();
        let dead = looked_at.iter().filter(|info| !any_live(image, info));
        let remove: Vec<u64> = dead.map(|info| info.id).collect();
        if remove.is_empty() {
            return Ok(());
        }
        let change = Change {
            remove,
            ..Change::default()
        };
        self.store.commit(shard.0, change)?;
        self.done.dropped += 1;
        Ok(())
    }

    /// Counts what is alive in one more segment, then merges one row of neighbours. So little a sweep keeps
    /// this off the hot path.
    fn merge(&mut self, shard: ShardId, image: &Image) -> Result<(), Error> {
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
        let Some(live) = live(image, &next) else {
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
            Some(row) => self.rewrite(shard, image, &segments[row]),
            None => Ok(()),
        }
    }

    fn rewrite(&mut self, shard: ShardId, image: &Image, row: &[SegmentInfo]) -> Result<(), Error> {
        let mut alive = Vec::new();
        for info in row {
            let Some(of_one) = live(image, info) else {
                return Ok(());
            };
            alive.extend(of_one);
        }
        let copied = self.copy(shard.0, &alive, image)?;
        let add = copied.segments;
        let change = Change {
            add: add.clone(),
            damaged: copied.damaged,
            remove: row.iter().map(|info| info.id).collect(),
            ..Change::default()
        };
        self.store.commit(shard.0, change).inspect_err(|error| {
            if is_undone(error) {
                self.store.discard(shard.0, &add);
            }
        })?;
        self.done.merged += 1;
        Ok(())
    }
}

/// Whether anything of a segment may be alive. What the image has not seen may be a copy's that is just being
/// installed.
fn any_live(image: &Image, info: &SegmentInfo) -> bool {
    let is_newer = info.last_index > image.applied.index;
    is_newer
        || image
            .shard
            .any_live_between(info.first_index, info.last_index)
}

/// What is alive of a segment; `None` if the image has not seen all of it.
fn live(image: &Image, info: &SegmentInfo) -> Option<Vec<Sequence>> {
    let is_seen = info.last_index <= image.applied.index;
    is_seen.then(|| image.shard.live_between(info.first_index, info.last_index))
}
