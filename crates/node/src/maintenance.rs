//! The thread that keeps the disk in order: recycles the write-ahead log, drops dead segments, merges
//! mostly dead ones and watches the free space.
//!
//! Before a log file is used again, what is alive in it is copied to the shard's segments and a
//! snapshot that knows everything in it is durable (`docs/decisions/0003-generations.md`). A full disk
//! stops none of this for good: a failed attempt leaves nothing behind and is repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use anser_broker::{
    codec,
    id::{Sequence, ShardId},
};
use anser_log::{
    Change, Disk, Due, Error, FileSystem, Kept, Reader, SegmentInfo, SegmentWriter, Store, Stored,
};
use anser_replica::{Image, SnapshotOffer};
use tracing::{error, info, warn};

use crate::{
    cluster::copies::Copies,
    event::{Event, HostEvent, Look},
    failure::Failed,
    inboxes::Inboxes,
    scrub::Scrub,
    status::{Counters, add},
};

/// How often the thread looks whether there is something to do.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often segments are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long to leave a full disk alone before trying again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Segments of a shard that are looked at in one sweep.
const SEGMENTS_PER_LOOK: usize = 32;
/// A segment is worth rewriting when at most one record in this many is alive.
const SPARSE: u64 = 4;
/// Neighbouring sparse segments that are rewritten at once.
const MERGED_AT_ONCE: usize = 16;

/// What maintenance is asked to do at once.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Another node needs a copy of the shard.
    Offer(ShardId),
    Stop,
}

pub(crate) struct Maintenance<D: Disk> {
    pub(crate) store: Store<D>,
    pub(crate) reader: Reader<D>,
    pub(crate) inboxes: Inboxes,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    pub(crate) reserve_bytes: u64,
    pub(crate) chores: mpsc::Receiver<Chore>,
    /// `None`: a node for itself, which offers its shards to nobody.
    pub(crate) copies: Option<Copies>,
    /// For each segment, how many of its records were alive when they were last counted.
    pub(crate) alive: BTreeMap<ShardId, BTreeMap<u64, u64>>,
    pub(crate) sweeps: usize,
    pub(crate) scrub: Scrub,
}

impl Maintenance<FileSystem> {
    pub(crate) fn run(mut self) {
        let mut sweep_at = Instant::now();
        let mut wait = Duration::ZERO;
        loop {
            let Some(wanted) = self.wanted_offers(wait) else {
                return;
            };
            let mut results = vec![self.round()];
            results.extend(wanted.into_iter().map(|shard| self.offer(shard)));
            // Also on a full disk: what is dead makes room.
            if sweep_at <= Instant::now() {
                if let Some(copies) = &self.copies {
                    copies.withdraw_unwanted();
                }
                results.extend(self.sweep());
                sweep_at = Instant::now() + SWEEP_INTERVAL;
            }
            wait = INTERVAL;
            for error in results.into_iter().filter_map(Result::err) {
                add(&self.counters.maintenance_errors, 1);
                wait = RETRY_INTERVAL;
                if is_passing(&error) {
                    warn!(%error, "the disk could not be kept in order; trying again");
                } else {
                    error!(%error, "the disk cannot be kept in order; the node stops");
                    self.failed
                        .set(format!("maintenance of the disk failed: {error}"));
                    return;
                }
            }
        }
    }

    /// Waits for chores; the shards that others need copies of, or `None` to stop.
    fn wanted_offers(&self, wait: Duration) -> Option<BTreeSet<ShardId>> {
        let mut wanted = BTreeSet::new();
        let mut chore = match self.chores.recv_timeout(wait) {
            Ok(chore) => Some(chore),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        };
        while let Some(next) = chore {
            match next {
                Chore::Offer(shard) => wanted.insert(shard),
                Chore::Stop => return None,
            };
            chore = self.chores.try_recv().ok();
        }
        Some(wanted)
    }

    /// Holds a copy of the shard open for other nodes: everything alive is in segments, the rest in a
    /// snapshot.
    fn offer(&self, shard: ShardId) -> Result<(), Error> {
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        let Some(image) = self.look(shard, Look::Image) else {
            return Ok(());
        };
        let kept = self.keep(shard.0, 0, image.applied.index, &image)?;
        self.commit_snapshot(shard.0, &image, &kept)?;
        let snapshot = SnapshotOffer {
            place: image.applied,
            membership: image.membership().clone(),
        };
        let followers = self.look(shard, Look::Followers).unwrap_or_default();
        copies.offer(shard, self.store.export(shard.0)?, &followers);
        // A runner that is gone needs no offer.
        let ready = HostEvent::SnapshotReady { shard, snapshot };
        drop(self.inboxes.of(shard).send(ready.into()));
        Ok(())
    }
}

impl<D: Disk> Maintenance<D> {
    fn round(&mut self) -> Result<(), Error> {
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
    fn recycle(&mut self, due: Due, held: &BTreeMap<u16, u64>) -> Result<(), Error> {
        for range in &due.shards {
            let Some(image) = self.look(ShardId(range.shard), Look::Image) else {
                return Ok(());
            };
            if image.applied.index < range.last_index {
                return Ok(()); // Not applied yet; soon.
            }
            let kept = self.keep(range.shard, range.first_index, range.last_index, &image)?;
            self.commit_snapshot(range.shard, &image, &kept)?;
            let shard = ShardId(range.shard);
            let through = range.last_index;
            let forgotten = HostEvent::Forgotten { shard, through };
            drop(self.inboxes.of(shard).send(forgotten.into()));
        }
        for range in &due.shards {
            let is_needed = held.get(&range.shard);
            if is_needed.is_some_and(|&after| after < range.last_index) {
                add(&self.counters.holds_lost, 1);
                let shard = range.shard;
                warn!(
                    shard,
                    "log that a follower needs is used again; it will need a copy"
                );
            }
        }
        self.store.recycle(due)
    }

    fn commit_snapshot(
        &self,
        shard: u16,
        image: &Image,
        kept: &[SegmentInfo],
    ) -> Result<(), Error> {
        let snapshot = anser_host::save(&self.store, shard, image)
            .inspect_err(|_| self.store.discard(shard, kept))?;
        add(&self.counters.snapshots, 1);
        let change = Change {
            snapshot: Some(snapshot),
            add: kept.to_vec(),
            ..Change::default()
        };
        self.store.commit(shard, change).inspect_err(|error| {
            if is_undone(error) {
                self.store.discard(shard, kept);
                self.store.discard_snapshot(shard, &snapshot);
            }
        })
    }

    /// Copies what is alive between two indexes to segments, but for what is there already.
    fn keep(
        &self,
        shard: u16,
        first: u64,
        last: u64,
        image: &Image,
    ) -> Result<Vec<SegmentInfo>, Error> {
        let kept_before = self
            .store
            .segments(shard)
            .iter()
            .map(|info| info.last_index)
            .max();
        let first = first.max(kept_before.map_or(0, |index| index + 1));
        if first > last {
            return Ok(Vec::new());
        }
        let live = image.shard.live_between(first, last);
        self.copy(shard, &live)
    }

    fn copy(&self, shard: u16, live: &[Sequence]) -> Result<Vec<SegmentInfo>, Error> {
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let mut writer = self.store.begin_segment(shard)?;
        for messages in live.chunk_by(|one, other| one.index() == other.index()) {
            self.copy_entry(shard, messages, &mut writer)?;
        }
        writer.finish()
    }

    fn copy_entry(
        &self,
        shard: u16,
        messages: &[Sequence],
        writer: &mut SegmentWriter<D>,
    ) -> Result<(), Error> {
        let index = messages[0].index();
        let ordinals: Vec<u32> = messages.iter().map(|message| message.ordinal()).collect();
        let (term, payload) = match self.reader.read(shard, index)? {
            Stored::Entry(entry) => (entry.term, codec::keep(&entry.data, &ordinals)),
            Stored::Kept(kept) => (kept.term, codec::keep_again(&kept.payload, &ordinals)),
        };
        // What was thinned out by a state that is newer than this one, which has just started.
        let payload = payload.ok_or(Error::Missing { shard, index })?;
        add(&self.counters.kept_bytes, payload.len() as u64);
        writer.append(&Kept {
            index,
            term,
            payload,
        })
    }

    fn sweep(&mut self) -> Vec<Result<(), Error>> {
        self.sweeps += 1;
        let shards: Vec<ShardId> = self.store.shards().into_iter().map(ShardId).collect();
        let dropped: Vec<_> = shards.iter().map(|&shard| self.drop_dead(shard)).collect();
        let merged = shards.iter().map(|&shard| self.merge_sparse(shard));
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

    /// Counts what is alive in one more segment, then rewrites the first row of sparse neighbours as
    /// one segment. One segment a sweep keeps this off the hot path.
    fn merge_sparse(&mut self, shard: ShardId) -> Result<(), Error> {
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
        let sparse = |info: &SegmentInfo| {
            counted
                .get(&info.id)
                .is_some_and(|&alive| alive * SPARSE <= info.records)
        };
        let row: Vec<SegmentInfo> = segments
            .into_iter()
            .skip_while(|info| !sparse(info))
            .take_while(sparse)
            .take(MERGED_AT_ONCE)
            .collect();
        self.rewrite(shard, &row)
    }

    fn rewrite(&self, shard: ShardId, row: &[SegmentInfo]) -> Result<(), Error> {
        let mut live = Vec::new();
        for info in row {
            let Some(alive) = self.live(shard, info) else {
                return Ok(());
            };
            live.extend(alive);
        }
        if row.is_empty() {
            return Ok(());
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

    fn live(&self, shard: ShardId, info: &SegmentInfo) -> Option<Vec<Sequence>> {
        self.look(shard, |sender| {
            Look::Live(info.first_index, info.last_index, sender)
        })
    }

    /// Asks a shard's runner; `None` if it is gone.
    fn look<T>(&self, shard: ShardId, look: impl FnOnce(mpsc::Sender<T>) -> Look) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        self.inboxes
            .of(shard)
            .send(Event::Look {
                shard,
                look: look(sender),
            })
            .ok()?;
        receiver.recv().ok()
    }
}

/// Whether an attempt may succeed later, or the rest of the disk can be kept in order without it: what
/// cannot be read stays where it is, and readers of it are told.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::NoSpace { .. }
            | Error::Corrupt { .. }
            | Error::Missing { .. }
            | Error::Overtaken { .. }
    )
}

/// Whether a commit has certainly not happened, so that its files can go: the disk was full, or a copy of
/// the shard came, or the shard left.
fn is_undone(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. } | Error::Overtaken { .. })
}
