//! Using the oldest files of the write-ahead log again.
//!
//! Before that, what is alive in them is in segments, and what a shard cannot apply yet, for want of a quorum,
//! is carried over to the end of the log. So a shard holds up no other, and recycling takes no more space
//! than the reserve has.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use anser_broker::id::ShardId;
use anser_log::{Change, Disk, Due, DueShard, Error};
use tracing::{info, warn};

use super::Maintenance;
use crate::{
    event::{HostEvent, Look},
    status::add,
};

/// New files are committed when they have this many bytes.
const COMMITTED_BYTES: u64 = 16 << 20;

impl<D: Disk> Maintenance<D> {
    pub(super) fn round(&mut self) -> Result<(), Error> {
        self.watch_free_space()?;
        let prepared = match self.store.prepare_files() {
            Err(Error::NoSpace { .. }) => false,
            result => result.map(|()| true)?,
        };
        // Without room for another file the old ones are needed before their time.
        let due = if prepared {
            self.store.due(&BTreeMap::new())
        } else {
            self.store.due_all()
        };
        let Some(due) = due else { return Ok(()) };
        let held = self.held();
        // Before followers make this node refuse sends, they do without.
        let is_short = self.store.free_bytes()? < self.reserve_bytes.saturating_mul(2);
        let due = if prepared && !is_short {
            self.store.due(&held)
        } else {
            Some(due)
        };
        match due {
            Some(due) => self.recycle(due, &held),
            None => Ok(()),
        }
    }

    /// Behind which entries of each shard the log is needed by followers.
    fn held(&self) -> BTreeMap<u16, u64> {
        let Some(copies) = &self.copies else {
            return BTreeMap::new();
        };
        for shard in self.store.shards().into_iter().map(ShardId) {
            let followers = self.look(shard, Look::Followers).unwrap_or_default();
            copies.follow(shard, &followers, self.reader.first_index(shard.0));
        }
        copies.held()
    }

    fn watch_free_space(&self) -> Result<(), Error> {
        let full = self.store.free_bytes()? < self.reserve_bytes;
        let was_full = self.counters.storage_full.swap(full, Ordering::Relaxed);
        if full && !was_full {
            warn!("the disk is nearly full; sends are refused");
        } else if was_full && !full {
            info!("the disk has space again");
        }
        Ok(())
    }

    /// Makes the oldest log files free to be used again.
    fn recycle(&self, due: Due, held: &BTreeMap<u16, u64>) -> Result<(), Error> {
        // All shards are looked at before anything is written for one of them.
        let Some(shards) = self.applied_of(&due) else {
            return Ok(());
        };
        let unapplied = shards
            .iter()
            .filter(|(range, applied)| *applied < range.last_index)
            .map(|(range, applied)| (range.shard, *applied));
        self.store.carry_over(&unapplied.collect())?;
        let applied = shards.into_iter().map(|(range, applied)| DueShard {
            last_index: range.last_index.min(applied),
            ..range
        });
        let ranges: Vec<DueShard> = applied
            .filter(|range| range.first_index <= range.last_index)
            .collect();
        if !self.release(&ranges)? {
            return Ok(());
        }
        for range in ranges {
            self.released(range, held);
        }
        self.store.recycle(due)
    }

    /// How far each shard is applied; `None` while one of them cannot tell.
    fn applied_of(&self, due: &Due) -> Option<Vec<(DueShard, u64)>> {
        let shards = due.shards.iter().map(|&range| {
            let applied = self.applied(ShardId(range.shard))?;
            let snapshot = self.store.snapshot(range.shard);
            // A replica that has just got a copy takes up its state soon.
            let is_current = snapshot.is_none_or(|snapshot| snapshot.index <= applied);
            is_current.then_some((range, applied))
        });
        shards.collect()
    }

    /// Makes the log unnecessary for these entries, which are applied; false if a shard's runner is gone.
    ///
    /// One commit does for many shards, but what it replaces takes room until then.
    fn release(&self, ranges: &[DueShard]) -> Result<bool, Error> {
        let mut sealed = BTreeMap::new();
        let mut sealed_bytes = 0;
        let mut result = Ok(true);
        for range in ranges {
            let Some(image) = self.look(ShardId(range.shard), Look::Image) else {
                result = Ok(false);
                break;
            };
            match self.seal(range.shard, (range.first_index, range.last_index), &image) {
                Ok(change) => {
                    sealed_bytes += bytes_of(&change);
                    sealed.insert(range.shard, change);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if sealed_bytes > COMMITTED_BYTES {
                self.commit(std::mem::take(&mut sealed))?;
                sealed_bytes = 0;
            }
        }
        // On a full disk, what was sealed before the error makes room when it replaces what is there.
        self.commit(sealed)?;
        result
    }

    /// The log is not needed any more for these entries.
    fn released(&self, range: DueShard, held: &BTreeMap<u16, u64>) {
        let shard = ShardId(range.shard);
        let forgotten = HostEvent::Forgotten {
            shard,
            through: range.last_index,
        };
        drop(self.inboxes.of(shard).send(forgotten.into()));
        let is_needed = held.get(&range.shard);
        if is_needed.is_some_and(|&after| after < range.last_index) {
            add(&self.counters.holds_lost, 1);
            warn!(
                shard = range.shard,
                "log that a follower needs is used again; it will need a copy"
            );
        }
    }
}

fn bytes_of(change: &Change) -> u64 {
    let segments = change.add.iter().map(|info| info.bytes);
    segments.sum::<u64>() + change.snapshot.map_or(0, |info| info.bytes)
}
