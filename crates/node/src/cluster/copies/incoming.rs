//! The thread that takes in copies.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
};

use anser_broker::id::ShardId;
use anser_host::{Attempt, CopyError, Deferred, Missing, RETRY_INTERVAL};
use anser_log::{FileSystem, Reader, SegmentInfo, SnapshotInfo, Store};
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
    /// What could not be done with a shard is tried again.
    TryAgain(ShardId),
    Stop,
}

pub(crate) struct Incoming {
    host: anser_host::Incoming<FileSystem>,
    inboxes: Inboxes,
    counters: Arc<Counters>,
    failed: Failed,
    /// How this thread gives itself what it has to try again.
    itself: mpsc::Sender<Job>,
}

impl Incoming {
    pub(crate) fn new(
        store: Store<FileSystem>,
        reader: Reader<FileSystem>,
        inboxes: Inboxes,
        counters: Arc<Counters>,
        failed: Failed,
        itself: mpsc::Sender<Job>,
    ) -> Self {
        Self {
            host: anser_host::Incoming::new(store, reader),
            inboxes,
            counters,
            failed,
            itself,
        }
    }

    /// Works until it is stopped, or the node is.
    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Take { from, ask, told } => {
                    let answer = self.take(from, ask);
                    // Whoever sends begins again if it hears nothing.
                    drop(told.send(answer));
                }
                Job::Deferred(deferred) => {
                    let attempt = self.host.take(deferred);
                    self.tried(deferred.shard(), attempt);
                }
                Job::TryAgain(shard) => {
                    let attempt = self.host.try_again(shard);
                    self.tried(shard, attempt);
                }
                Job::Stop => return,
            }
            self.count();
            if self.failed.get().is_some() {
                return;
            }
        }
    }

    fn tried(&self, shard: ShardId, attempt: Attempt<Responder>) {
        match attempt {
            // A runner that is gone needs no state and begins nothing anew.
            Attempt::Done(event) => drop(self.inboxes.of(shard).send(event.into())),
            Attempt::Again(reason) => {
                warn!(shard = shard.0, %reason, "a copy, or the end of a replica, waits for the disk");
                // Behind all others.
                thread::sleep(RETRY_INTERVAL);
                drop(self.itself.send(Job::TryAgain(shard)));
            }
            Attempt::Void => {}
            Attempt::Failed(reason) => {
                error!(shard = shard.0, %reason, "a copy could not be made part of the log");
                self.failed
                    .set(format!("a copy of shard {}: {reason}", shard.0));
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
            if matches!(reason, CopyError::Log(_)) {
                warn!(from, %reason, "a part of a copy is not usable");
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
