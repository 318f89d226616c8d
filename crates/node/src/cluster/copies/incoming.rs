//! The thread that takes in copies. A shard that waits for space holds up no other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    time::Instant,
};

use anser_broker::id::ShardId;
use anser_host::{Attempt, CopyError, Deferred, Missing, RETRY_INTERVAL};
use anser_log::{Disk, SegmentInfo, SnapshotInfo};
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{file_of, file_said};
use crate::{
    cluster::words::{CopyAsk, Offer, OfferedSegment, Told},
    event::{HostEvent, Responder},
    failure::Failed,
    inboxes::Inboxes,
    status::Counters,
};

pub(crate) enum Job {
    Take {
        from: u64,
        ask: CopyAsk,
        told: oneshot::Sender<Told>,
    },
    Deferred(Deferred),
    Stop,
}

/// How much has come of copies that no replica has accepted yet, for those who say how this node is.
#[derive(Debug, Clone, Default)]
pub(crate) struct ComingBytes(Arc<Mutex<BTreeMap<ShardId, u64>>>);

impl ComingBytes {
    pub(crate) fn of(&self, shard: ShardId) -> u64 {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.get(&shard).copied().unwrap_or(0)
    }

    fn set(&self, shard: ShardId, bytes: u64) {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.insert(shard, bytes);
    }
}

pub(crate) struct Incoming<D: Disk> {
    host: anser_host::Incoming<D>,
    coming: ComingBytes,
    inboxes: Inboxes,
    counters: Arc<Counters>,
    failed: Failed,
    /// When what could not be done with a shard is tried again.
    again: BTreeMap<ShardId, Instant>,
}

impl<D: Disk> Incoming<D> {
    pub(crate) fn new(
        host: anser_host::Incoming<D>,
        coming: ComingBytes,
        inboxes: Inboxes,
        counters: Arc<Counters>,
        failed: Failed,
    ) -> Self {
        Self {
            host,
            coming,
            inboxes,
            counters,
            failed,
            again: BTreeMap::new(),
        }
    }

    /// Works until it is stopped, or the node is.
    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            self.try_again();
            match self.next(jobs) {
                Ok(Job::Take { from, ask, told }) => {
                    let shard = ask.shard();
                    let answer = self.take(from, ask);
                    self.coming.set(shard, self.host.coming_bytes(shard));
                    // Whoever sends begins again if it hears nothing.
                    drop(told.send(answer));
                }
                Ok(Job::Deferred(deferred)) => {
                    let attempt = self.host.take(deferred);
                    self.tried(deferred.shard(), attempt);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.count();
            if self.failed.get().is_some() {
                return;
            }
        }
    }

    /// The next job, until something is to be tried again.
    fn next(&self, jobs: &mpsc::Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        let due = self.again.values().min();
        match due.map(|due| due.saturating_duration_since(Instant::now())) {
            Some(wait) => jobs.recv_timeout(wait),
            None => jobs.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        let due = self.again.iter().filter(|&(_, due)| *due <= now);
        let due: Vec<ShardId> = due.map(|(&shard, _)| shard).collect();
        for shard in due {
            self.again.remove(&shard);
            let attempt = self.host.try_again(shard);
            self.tried(shard, attempt);
        }
    }

    fn tried(&mut self, shard: ShardId, attempt: Attempt<Responder>) {
        self.coming.set(shard, self.host.coming_bytes(shard));
        match attempt {
            // A runner that is gone needs no state and begins nothing anew.
            Attempt::Done(event) => drop(self.inboxes.of(shard).send(event.into())),
            Attempt::Again(reason) => {
                warn!(shard = shard.0, %reason, "what is to be done with a shard waits for the disk");
                self.again.insert(shard, Instant::now() + RETRY_INTERVAL);
            }
            Attempt::Void => {}
            Attempt::Failed(reason) => {
                error!(shard = shard.0, %reason, "the node cannot go on with this shard");
                self.failed.set(format!("shard {}: {reason}", shard.0));
            }
        }
    }

    fn count(&self) {
        let (taken, copies) = (self.host.taken, &self.counters.copies);
        self.counters
            .copied_bytes
            .store(taken.bytes, Ordering::Relaxed);
        copies.installed.store(taken.installed, Ordering::Relaxed);
        copies.renewed.store(taken.renewed, Ordering::Relaxed);
    }

    fn take(&mut self, from: u64, ask: CopyAsk) -> Told {
        let taken = match ask {
            CopyAsk::Begin { shard, offer } => {
                let begun = self.host.begin(from, ShardId(shard), offer_of(&offer));
                begun.map(missing)
            }
            CopyAsk::Chunk {
                shard,
                file,
                offset,
                bytes,
            } => {
                let shard = ShardId(shard);
                let written = self.host.chunk(from, shard, file_of(file), offset, &bytes);
                written.map(missing)
            }
            CopyAsk::End { shard, message } => self.end(from, ShardId(shard), &message),
        };
        taken.unwrap_or_else(|reason| {
            match reason {
                CopyError::NoRoom { .. } => warn!(from, %reason, "there is no room for a copy"),
                CopyError::Log(_) | CopyError::Unreadable(_) => {
                    warn!(from, %reason, "a part of a copy is not usable");
                }
                CopyError::NotBegun | CopyError::NotAnnounced => {}
            }
            Told::CopyRefused(reason.to_string())
        })
    }

    fn end(&mut self, from: u64, shard: ShardId, message: &Bytes) -> Result<Told, CopyError> {
        let message = self.host.end(from, shard, message)?;
        let peer = HostEvent::Peer { shard, message };
        drop(self.inboxes.of(shard).send(peer.into()));
        Ok(Told::Reached)
    }
}

fn missing(missing: Missing) -> Told {
    Told::CopyMissing(missing.map(|(file, offset)| (file_said(file), offset)))
}

fn offer_of(offer: &Offer) -> anser_host::Offer {
    let snapshot = SnapshotInfo {
        index: offer.snapshot.index,
        term: offer.snapshot.term,
        bytes: offer.snapshot.bytes,
        id: offer.snapshot.id,
        checksum: offer.snapshot.checksum,
    };
    let segment = |info: &OfferedSegment| SegmentInfo {
        id: info.id,
        first_index: info.first_index,
        last_index: info.last_index,
        bytes: info.bytes,
        records: info.records,
    };
    anser_host::Offer {
        snapshot,
        segments: offer.segments.iter().map(segment).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anser_log::{Log, Options, disk::simulated::SimulatedDisk};

    use super::*;

    /// Each shard that waited for space held the thread up for 200 ms, and so all copies that had room.
    #[test]
    fn shards_that_wait_for_space_hold_up_no_other() {
        let disk = SimulatedDisk::default();
        let log = Log::open(disk.clone(), Options::default()).expect("the disk is empty");
        anser_host::begin(&log.store, 100, &[1]).expect("there is room");
        disk.set_capacity(disk.used_bytes());
        let (jobs, waiting) = mpsc::channel();
        let send = |job| jobs.send(job).expect("the test has the receiver");
        for shard in 0..100 {
            let shard = ShardId(shard);
            send(Job::Deferred(Deferred::Forget {
                shard,
                floor: 1,
                damaged: false,
            }));
        }
        send(Job::Stop);
        let (inbox, _runner) = mpsc::channel();
        let incoming = Incoming::new(
            anser_host::Incoming::new(log.store, log.reader, 0),
            ComingBytes::default(),
            Inboxes::new(vec![inbox]),
            Arc::default(),
            Failed::new(),
        );
        let begun = Instant::now();
        incoming.run(&waiting);
        // One after the other they would take twenty seconds.
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
