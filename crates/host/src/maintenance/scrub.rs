//! The slow look at everything that rests on the disk, so that damage is found before it is needed.
//!
//! A few records at a time, round and round: over the segments and the snapshot of each shard, then over the log files
//! that are not written any more. What is damaged, or cannot be read, stays where it is: it is told, and passed over.

use anser_log::{Disk, Error, SnapshotReader, Verified};

use super::{Damage, Maintenance};

/// Bytes verified at once; with one step a second this reads 4 MiB/s.
const STEP_BYTES: u64 = 4 << 20;
/// Files that are looked at together, however small they are.
const STEPS_MAX: usize = 16;

/// What the next step verifies.
#[derive(Debug)]
pub(super) enum Scrub<D: Disk> {
    /// From this index of a shard on.
    Segments(u16, u64),
    /// A shard's snapshot, once it is open with its number.
    Snapshot(u16, Option<(u64, SnapshotReader<D>)>),
    Log(Verified),
}

impl<D: Disk> Default for Scrub<D> {
    fn default() -> Self {
        Self::Segments(0, 0)
    }
}

impl<D: Disk> Maintenance<D> {
    /// Verifies what comes next, about as much at each call whatever the size of the files. What is damaged in it is noted
    /// with its shard, or given back if it is no shard's.
    pub fn scrub(&mut self) -> Result<Option<Error>, Error> {
        let before = self.done.scrubbed_bytes;
        for _ in 0..STEPS_MAX {
            let damage = self.scrub_step()?;
            if damage.is_some() || self.done.scrubbed_bytes >= before + STEP_BYTES {
                return Ok(damage);
            }
        }
        Ok(None)
    }

    fn scrub_step(&mut self) -> Result<Option<Error>, Error> {
        let verified = match std::mem::take(&mut self.scrub) {
            Scrub::Segments(shard, from) => self.scrub_segments(shard, from),
            Scrub::Snapshot(shard, opened) => self.scrub_snapshot(shard, opened),
            Scrub::Log(verified) => self.scrub_log(verified),
        };
        match verified {
            Ok(bytes) => {
                self.done.scrubbed_bytes += bytes;
                Ok(None)
            }
            // What rests is read only here and by who needs it, so nothing depends on a sector that cannot be read.
            Err(damage) if damage.is_damage() => {
                match self.reader.shard_of(&damage) {
                    Some(shard) => self.damaged.push(Damage::new(shard, damage)),
                    None => return Ok(Some(damage)),
                }
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    fn scrub_segments(&mut self, shard: u16, from: u64) -> Result<u64, Error> {
        let segments = self.store.segments(shard);
        let Some(segment) = segments.iter().find(|info| info.last_index >= from) else {
            self.scrub = Scrub::Snapshot(shard, None);
            return Ok(0);
        };
        let from = from.max(segment.first_index);
        self.scrub = Scrub::Segments(shard, segment.last_index + 1);
        let kept = self
            .reader
            .kept(shard, from, segment.last_index, STEP_BYTES)?;
        let last = kept.last().map_or(segment.last_index, |kept| kept.index);
        self.scrub = Scrub::Segments(shard, last + 1);
        Ok(kept.iter().map(|kept| kept.payload.len() as u64).sum())
    }

    fn scrub_snapshot(
        &mut self,
        shard: u16,
        opened: Option<(u64, SnapshotReader<D>)>,
    ) -> Result<u64, Error> {
        let following = self.store.shards().into_iter().find(|&other| other > shard);
        self.scrub = following.map_or(Scrub::Log(Verified::default()), |shard| {
            Scrub::Segments(shard, 0)
        });
        let opened = if opened.is_some() {
            // One that was replaced is let go of, for it takes room; the new one was verified just now.
            let present = self.store.snapshot(shard).map(|present| present.id);
            opened.filter(|(id, _)| present == Some(*id))
        } else {
            let found = self.reader.snapshot(shard)?;
            found.map(|(info, reader)| (info.id, reader))
        };
        let Some((id, mut reader)) = opened else {
            return Ok(0);
        };
        let bytes = reader.verify_more(STEP_BYTES)?;
        if bytes >= STEP_BYTES {
            self.scrub = Scrub::Snapshot(shard, Some((id, reader)));
        }
        Ok(bytes)
    }

    fn scrub_log(&mut self, mut verified: Verified) -> Result<u64, Error> {
        let bytes = self.reader.verify_log(&mut verified, STEP_BYTES);
        if !matches!(bytes, Ok(None)) {
            self.scrub = Scrub::Log(verified);
        }
        Ok(bytes?.unwrap_or(0))
    }
}
