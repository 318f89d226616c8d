//! The slow look at everything in the segments, so that damage at rest is found before it is needed.
//!
//! A few records at a time, round and round over all shards. What is damaged stays where it is: it is
//! logged with file and place, counted, and passed over.

use anser_broker::id::ShardId;
use anser_log::{Disk, Error, Reader, Store};
use tracing::error;

use crate::status::{Counters, add};

/// Bytes verified at once; with one step a second this reads 4 MiB/s.
const STEP_BYTES: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Scrub {
    /// Where the next step begins: a shard and an index in it.
    next: (u16, u64),
}

impl Scrub {
    /// Verifies the next records.
    pub(crate) fn step<D: Disk>(
        &mut self,
        shards: &[ShardId],
        store: &Store<D>,
        reader: &Reader<D>,
        counters: &Counters,
    ) -> Result<(), Error> {
        let (shard, from) = self.next;
        let segments = store.segments(shard);
        let Some(segment) = segments.iter().find(|info| info.last_index >= from) else {
            let following = shards.iter().find(|other| other.0 > shard);
            self.next = (following.map_or(0, |other| other.0), 0);
            return Ok(());
        };
        let from = from.max(segment.first_index);
        match reader.kept(shard, from, segment.last_index, STEP_BYTES) {
            Ok(kept) => {
                let bytes = kept.iter().map(|kept| kept.payload.len() as u64).sum();
                add(&counters.scrubbed_bytes, bytes);
                let last = kept.last().map_or(segment.last_index, |kept| kept.index);
                self.next = (shard, last + 1);
                Ok(())
            }
            Err(damage @ Error::Corrupt { .. }) => {
                error!(shard, %damage, "stored messages are damaged");
                add(&counters.scrub_errors, 1);
                self.next = (shard, segment.last_index + 1);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }
}
