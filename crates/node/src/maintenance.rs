//! The thread that keeps the disk in order, and holds copies of shards open for other nodes.
//!
//! It recycles the write-ahead log (`recycle.rs`), and drops and merges segments (`sweep.rs`). A full disk
//! stops none of this for good: a failed attempt leaves nothing behind and is repeated.

mod keep;
mod merging;
mod recycle;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anser_broker::id::{Sequence, ShardId};
use anser_log::{Disk, Error, FileSystem, Reader, SegmentInfo, Store};
use anser_replica::SnapshotOffer;
use tokio::sync::oneshot;
use tracing::{error, warn};

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
        let sealed = self.seal(shard.0, (0, image.applied.index), &image)?;
        self.commit(BTreeMap::from([(shard.0, sealed)]))?;
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
    fn live(&self, shard: ShardId, info: &SegmentInfo) -> Option<Vec<Sequence>> {
        self.look(shard, |sender| {
            Look::Live(info.first_index, info.last_index, sender)
        })
    }

    /// The index of the shard's last entry that is applied.
    fn applied(&self, shard: ShardId) -> Option<u64> {
        let (sender, receiver) = oneshot::channel();
        self.ask(shard, Look::Applied(sender))?;
        receiver.blocking_recv().ok()
    }

    /// Asks a shard's runner; `None` if it is gone.
    fn look<T>(&self, shard: ShardId, look: impl FnOnce(mpsc::Sender<T>) -> Look) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        self.ask(shard, look(sender))?;
        receiver.recv().ok()
    }
    fn ask(&self, shard: ShardId, look: Look) -> Option<()> {
        let asked = Event::Look { shard, look };
        self.inboxes.of(shard).send(asked).ok()
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
            | Error::NotCovered { .. }
    )
}

/// Whether a commit has certainly not happened, so that its files can go: the disk was full, or a copy of
/// the shard came, or the shard left.
fn is_undone(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. } | Error::Overtaken { .. })
}

#[cfg(test)]
mod tests;
