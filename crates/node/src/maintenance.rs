//! The thread that keeps the disk in order, and holds copies of shards open for other nodes. What has to be done, and
//! how, `anser-host` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use anser_broker::id::ShardId;
use anser_host::{Given, Images, Wound};
use anser_log::{DueShard, Error, FileSystem};
use tracing::{error, info, warn};

use crate::{
    cluster::copies::Copies,
    event::{Event, HostEvent, Look},
    failure::Failed,
    inboxes::Inboxes,
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
    /// What is damaged there is to be mended with what others gave.
    Mend {
        shard: ShardId,
        wound: Wound,
        given: Given,
    },
    Stop,
}

/// A place to be mended, and what others gave for it.
type Wounded = (ShardId, Wound, Given);

pub(crate) struct Maintenance {
    pub(crate) host: anser_host::Maintenance<FileSystem>,
    pub(crate) inboxes: Inboxes,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    pub(crate) chores: mpsc::Receiver<Chore>,
    /// `None`: a node for itself, which offers its shards to nobody.
    pub(crate) copies: Option<Copies>,
}

impl Maintenance {
    pub(crate) fn run(mut self) {
        let mut sweep_at = Instant::now();
        let mut wait = Duration::ZERO;
        loop {
            self.tell_damage();
            let Some((offers, wounds)) = self.wanted(wait) else {
                return;
            };
            // First of all: recycling may wait for what is mended.
            let mended = wounds.into_iter().map(|wounded| self.mend(wounded).err());
            let mut wrong: Vec<Error> = mended.flatten().collect();
            wrong.extend(self.round().err());
            let offered = offers.into_iter().map(|shard| self.offer(shard).err());
            wrong.extend(offered.flatten());
            // Also on a full disk: what is dead makes room.
            if sweep_at <= Instant::now() {
                wrong.extend(self.sweep());
                sweep_at = Instant::now() + SWEEP_INTERVAL;
            }
            self.count();
            wait = INTERVAL;
            for error in wrong {
                add(&self.counters.maintenance_errors, 1);
                wait = RETRY_INTERVAL;
                if anser_host::is_passing(&error) {
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

    fn tell_damage(&mut self) {
        for damage in self.host.take_damaged() {
            let (shard, reason) = (damage.shard, &damage.error);
            error!(shard = shard.0, %reason, "what is stored of a shard is damaged");
            add(&self.counters.scrub_errors, 1);
            drop(self.inboxes.of(shard).send(damage.event().into()));
        }
    }

    /// Waits for chores: the shards that others need copies of, and what is to be mended; `None` to stop.
    fn wanted(&self, wait: Duration) -> Option<(BTreeSet<ShardId>, Vec<Wounded>)> {
        let (mut offers, mut wounds) = (BTreeSet::new(), Vec::new());
        let mut chore = match self.chores.recv_timeout(wait) {
            Ok(chore) => Some(chore),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        };
        while let Some(next) = chore {
            match next {
                Chore::Offer(shard) => drop(offers.insert(shard)),
                Chore::Mend {
                    shard,
                    wound,
                    given,
                } => wounds.push((shard, wound, given)),
                Chore::Stop => return None,
            }
            chore = self.chores.try_recv().ok();
        }
        Some((offers, wounds))
    }

    fn mend(&mut self, (shard, wound, given): Wounded) -> Result<(), Error> {
        let image = self.look(shard, Look::Image);
        let attempted = self.host.mend(shard, &wound, given, image.as_ref())?;
        let attempted = HostEvent::Attempted {
            shard,
            wound,
            attempted,
        };
        // A runner that is gone has nothing to mend.
        drop(self.inboxes.of(shard).send(attempted.into()));
        Ok(())
    }

    fn round(&mut self) -> Result<(), Error> {
        self.watch_free_space()?;
        let Some(round) = self.host.begin()? else {
            return Ok(());
        };
        let held = self.held();
        let Some(due) = self.host.choose(round, &held) else {
            return Ok(());
        };
        let shards = due.shards.iter().map(|range| ShardId(range.shard));
        let images = self.images(shards);
        for range in self.host.recycle(due, &images)? {
            self.released(range, &held);
        }
        Ok(())
    }

    /// Behind which entries of each shard the log is needed by followers.
    fn held(&self) -> BTreeMap<u16, u64> {
        let Some(copies) = &self.copies else {
            return BTreeMap::new();
        };
        for (shard, first) in self.host.first_indexes() {
            let followers = self.look(shard, Look::Followers).unwrap_or_default();
            copies.follow(shard, &followers, first);
        }
        copies.held()
    }

    fn watch_free_space(&self) -> Result<(), Error> {
        let full = self.host.is_full()?;
        let was_full = self.counters.storage_full.swap(full, Ordering::Relaxed);
        if full && !was_full {
            warn!("the disk is nearly full; sends are refused");
        } else if was_full && !full {
            info!("the disk has space again");
        }
        Ok(())
    }

    /// The log does not have these entries any more.
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

    /// Holds a copy of the shard open for other nodes.
    fn offer(&mut self, shard: ShardId) -> Result<(), Error> {
        let Some(image) = self.look(shard, Look::Image) else {
            return Ok(());
        };
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        let Some((snapshot, export)) = self.host.offer(shard, &image)? else {
            return Ok(());
        };
        let followers = self.look(shard, Look::Followers).unwrap_or_default();
        copies.offer(shard, export, &followers);
        // A runner that is gone needs no offer.
        let ready = HostEvent::SnapshotReady { shard, snapshot };
        drop(self.inboxes.of(shard).send(ready.into()));
        Ok(())
    }

    fn sweep(&mut self) -> Vec<Error> {
        if let Some(copies) = &self.copies {
            copies.withdraw_unwanted();
        }
        let shards = self.host.first_indexes().into_iter();
        let images = self.images(shards.map(|(shard, _)| shard));
        let mut wrong = self.host.sweep(&images);
        match self.host.scrub() {
            Ok(None) => {}
            Ok(Some(damage)) => {
                error!(%damage, "what is stored is damaged");
                add(&self.counters.scrub_errors, 1);
            }
            Err(error) => wrong.push(error),
        }
        wrong
    }

    fn count(&self) {
        let (done, counters) = (self.host.done, &self.counters);
        counters.snapshots.store(done.snapshots, Ordering::Relaxed);
        counters
            .kept_bytes
            .store(done.kept_bytes, Ordering::Relaxed);
        counters
            .scrubbed_bytes
            .store(done.scrubbed_bytes, Ordering::Relaxed);
    }

    /// Shards as they are now, but for those that are not here.
    fn images(&self, shards: impl Iterator<Item = ShardId>) -> Images {
        let image = |shard| Some((shard, self.look(shard, Look::Image)?));
        shards.filter_map(image).collect()
    }

    /// Asks a shard's runner; `None` if it is gone.
    fn look<T>(&self, shard: ShardId, look: impl FnOnce(mpsc::Sender<T>) -> Look) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        let look = look(sender);
        self.inboxes
            .of(shard)
            .send(Event::Look { shard, look })
            .ok()?;
        receiver.recv().ok()
    }
}
