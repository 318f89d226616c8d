//! Using the oldest files of the write-ahead log again.
//!
//! Before that, what is alive in them is in segments, and what a shard cannot apply yet, for want of a quorum,
//! is carried over to the end of the log. Of a shard that is closed nobody knows what is alive: all bodies that its snapshot
//! knows of go to segments, and what is behind it is carried over. So a shard holds up no other, and recycling takes no more
//! space than the reserve has.

use std::collections::BTreeMap;

use anser_broker::id::ShardId;
use anser_log::{Change, Disk, Due, DueShard, Error};

use super::{Damage, Images, Maintenance};

/// New files are committed when they have this many bytes.
const COMMITTED_BYTES: u64 = 16 << 20;

/// A round of recycling that has something to do, unless followers need the log.
#[derive(Debug)]
pub struct Round {
    due: Due,
    /// Before they make this node refuse sends, followers do without.
    is_pressing: bool,
}

impl<D: Disk> Maintenance<D> {
    /// Whether log files are to be used again, if no follower needs them.
    pub fn begin(&mut self) -> Result<Option<Round>, Error> {
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
        let Some(due) = due else { return Ok(None) };
        let is_short = self.store.free_bytes()? < self.reserve_bytes.saturating_mul(2);
        Ok(Some(Round {
            due,
            is_pressing: !prepared || is_short,
        }))
    }

    /// Which files are to be used again; `held`: behind which entries of each shard the log is needed by followers.
    pub fn choose(&self, round: Round, held: &BTreeMap<u16, u64>) -> Option<Due> {
        if round.is_pressing {
            Some(round.due)
        } else {
            self.store.due(held)
        }
    }

    /// The index of the first entry of each shard that the log has.
    pub fn first_indexes(&self) -> Vec<(ShardId, u64)> {
        let shards = self.store.shards().into_iter();
        let first = |shard| (ShardId(shard), self.reader.first_index(shard));
        shards.map(first).collect()
    }

    /// Makes the oldest log files free to be used again, with an image of every shard that has entries in them. The
    /// entries that the log no longer has; none if a shard cannot tell yet what is alive in it.
    pub fn recycle(&mut self, due: Due, images: &Images) -> Result<Vec<DueShard>, Error> {
        // All shards are looked at before anything is written for one of them.
        let (closed, open): (Vec<DueShard>, Vec<DueShard>) = due
            .shards
            .iter()
            .partition(|range| self.store.is_closed(range.shard));
        let Some(mut shards) = self.applied_of(&open, images) else {
            return Ok(Vec::new());
        };
        shards.extend(
            closed
                .iter()
                .map(|&range| (range, self.covered(range.shard))),
        );
        let unapplied = shards
            .iter()
            .filter(|(range, applied)| *applied < range.last_index)
            .map(|(range, applied)| (range.shard, *applied));
        let unapplied: BTreeMap<u16, u64> = unapplied.collect();
        #[cfg(feature = "sabotage")]
        if !unapplied.is_empty() && anser_broker::sabotage::is_planted("log held by a dead shard") {
            return Ok(Vec::new());
        }
        self.carry_over(&unapplied)?;
        self.done.carried += unapplied.len() as u64;
        let applied = shards.into_iter().map(|(range, applied)| DueShard {
            last_index: range.last_index.min(applied),
            ..range
        });
        let ranges: Vec<DueShard> = applied
            .filter(|range| range.first_index <= range.last_index)
            .collect();
        let (closed, open): (Vec<DueShard>, Vec<DueShard>) = ranges
            .into_iter()
            .partition(|range| closed.iter().any(|it| it.shard == range.shard));
        self.release(&open, images)?;
        self.release_closed(&closed)?;
        self.store.recycle(due)?;
        Ok(open)
    }

    /// Entries that are not applied stay in the log whether they can be read or not: whose they are is told.
    fn carry_over(&mut self, unapplied: &BTreeMap<u16, u64>) -> Result<(), Error> {
        let Err(error) = self.store.carry_over(unapplied) else {
            return Ok(());
        };
        let shard = self.reader.shard_of(&error);
        let damaged = shard.filter(|_| error.is_damage() && !error.may_pass());
        let Some(shard) = damaged else {
            return Err(error);
        };
        self.damaged.push(Damage::new(shard, error));
        let index = unapplied.get(&shard).map_or(0, |applied| applied + 1);
        Err(Error::Missing { shard, index })
    }

    fn covered(&self, shard: u16) -> u64 {
        let snapshot = self.store.snapshot(shard);
        snapshot.map_or(0, |snapshot| snapshot.index)
    }

    /// How far each shard is applied; `None` while one of them cannot tell.
    fn applied_of(&self, due: &[DueShard], images: &Images) -> Option<Vec<(DueShard, u64)>> {
        let shards = due.iter().map(|&range| {
            let applied = images.get(&ShardId(range.shard))?.applied.index;
            // A replica that has just got a copy takes up its state soon.
            let is_current = self.covered(range.shard) <= applied;
            is_current.then_some((range, applied))
        });
        shards.collect()
    }

    /// Makes the log unnecessary for entries of closed shards, which their snapshots cover.
    fn release_closed(&mut self, ranges: &[DueShard]) -> Result<(), Error> {
        for range in ranges {
            let kept = self.keep_everything(range.shard, range.first_index, range.last_index)?;
            let change = Change {
                add: kept.segments,
                damaged: kept.damaged,
                ..Change::default()
            };
            self.commit(BTreeMap::from([(range.shard, change)]))?;
        }
        Ok(())
    }

    /// Makes the log unnecessary for these entries, which are applied.
    ///
    /// One commit does for many shards, but what it replaces takes room until then.
    fn release(&mut self, ranges: &[DueShard], images: &Images) -> Result<(), Error> {
        let mut sealed = BTreeMap::new();
        let mut sealed_bytes = 0;
        let mut result = Ok(());
        for range in ranges {
            let image = &images[&ShardId(range.shard)];
            match self.seal(range.shard, (range.first_index, range.last_index), image) {
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
}

fn bytes_of(change: &Change) -> u64 {
    let segments = change.add.iter().map(|info| info.bytes);
    segments.sum::<u64>() + change.snapshot.map_or(0, |info| info.bytes)
}
