//! The slow look at everything in the segments, so that damage at rest is found before it is needed.
//!
//! A few records at a time, round and round over all shards. What is damaged stays where it is: it is told, and
//! passed over.

use anser_log::{Disk, Error};

use super::Maintenance;

/// Bytes verified at once; with one step a second this reads 4 MiB/s.
const STEP_BYTES: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// Where the next step begins: a shard and an index in it.
    next: (u16, u64),
}

impl<D: Disk> Maintenance<D> {
    /// Verifies the next records; what is damaged in them.
    pub fn scrub(&mut self) -> Result<Option<Error>, Error> {
        let (shard, from) = self.scrub.next;
        let segments = self.store.segments(shard);
        let Some(segment) = segments.iter().find(|info| info.last_index >= from) else {
            let following = self.store.shards().into_iter().find(|&other| other > shard);
            self.scrub.next = (following.unwrap_or(0), 0);
            return Ok(None);
        };
        let from = from.max(segment.first_index);
        match self
            .reader
            .kept(shard, from, segment.last_index, STEP_BYTES)
        {
            Ok(kept) => {
                let bytes = kept.iter().map(|kept| kept.payload.len() as u64);
                self.done.scrubbed_bytes += bytes.sum::<u64>();
                let last = kept.last().map_or(segment.last_index, |kept| kept.index);
                self.scrub.next = (shard, last + 1);
                Ok(None)
            }
            Err(damage @ Error::Corrupt { .. }) => {
                self.scrub.next = (shard, segment.last_index + 1);
                Ok(Some(damage))
            }
            Err(other) => Err(other),
        }
    }
}
