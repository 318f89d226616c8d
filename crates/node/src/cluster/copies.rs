//! Copies of shards on their way from node to node: the snapshot and the segments as files, in chunks,
//! before the message of consensus that makes a replica take them.
//!
//! Going out: maintenance makes an offer, which holds the files open; a task sends what the other side is
//! missing, no faster than it may. Coming in: one thread takes what arrives. What both do, `anser-host` says.

mod incoming;
mod outgoing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Instant,
};

use anser_broker::id::ShardId;
use anser_host::{Deferred, Offers, Sendings};
use anser_log::{Export, ExportedFile, FileSystem, Follower, Holds};
use anser_replica::{PeerMessage, Place};
use bytes::Bytes;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

pub(crate) use incoming::{ComingBytes, Incoming, Job};
pub(crate) use outgoing::{Outgoing, send_all};

use super::words::{CopyAsk, CopyFile, Told};

/// The handle that the parts of a node have.
#[derive(Clone)]
pub(crate) struct Copies {
    jobs: mpsc::Sender<Job>,
    outgoing: UnboundedSender<Outgoing>,
    offers: Arc<Mutex<Offers<FileSystem>>>,
    sendings: Arc<Mutex<Sendings>>,
    holds: Arc<Mutex<Holds>>,
    /// What the times of holds are counted from.
    beginning: Instant,
}

impl Copies {
    pub(crate) fn new(jobs: mpsc::Sender<Job>, outgoing: UnboundedSender<Outgoing>) -> Self {
        Self {
            jobs,
            outgoing,
            offers: Arc::default(),
            sendings: Arc::default(),
            holds: Arc::default(),
            beginning: Instant::now(),
        }
    }

    /// Holds the files of a shard open for whoever needs them, and the log behind them.
    pub(crate) fn offer(&self, shard: ShardId, export: Export<FileSystem>, followers: &[Follower]) {
        let (index, now) = (export.snapshot.index, self.beginning.elapsed());
        self.holds().offered(shard.0, index, followers, now);
        self.offers().put(shard, export, now);
    }

    /// Lets go of offers that nobody takes: they keep files that were replaced.
    pub(crate) fn withdraw_unwanted(&self) {
        self.offers().withdraw_unwanted(self.beginning.elapsed());
    }

    fn offers(&self) -> MutexGuard<'_, Offers<FileSystem>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How all followers of a shard are now, as [`Holds::follow`].
    pub(crate) fn follow(&self, shard: ShardId, followers: &[Follower], first: u64) {
        let now = self.beginning.elapsed();
        self.holds().follow(shard.0, followers, first, now);
    }

    /// For each shard, the index behind which followers need the log.
    pub(crate) fn held(&self) -> BTreeMap<u16, u64> {
        self.holds().held(self.beginning.elapsed())
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the files of the offer, then the message.
    pub(crate) fn send(&self, shard: ShardId, to: u64, place: Place, message: &PeerMessage) {
        let now = self.beginning.elapsed();
        self.holds().copying(shard.0, to, place.index, now);
        let export = self.offers().take(shard, place.index, now);
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        // The task that sends lives as long as the node.
        drop(self.outgoing.send(Outgoing {
            shard,
            to,
            export,
            message: bytes.into(),
            sending: self.sendings().begin(shard, to),
        }));
    }

    /// Breaks off the copies that this node sends of a shard, but for those to nodes that `stay`.
    pub(crate) fn end_sending(&self, shard: ShardId, stay: impl Fn(u64) -> bool) {
        self.sendings().end(shard, stay);
    }

    /// For tests: a copy that is on its way.
    #[cfg(test)]
    pub(crate) fn begin_sending(&self, shard: ShardId, to: u64) -> anser_host::Sending {
        self.sendings().begin(shard, to)
    }

    fn sendings(&self) -> MutexGuard<'_, Sendings> {
        self.sendings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what another node sends.
    pub(crate) async fn take(&self, from: u64, ask: CopyAsk) -> Told {
        let (told, answer) = oneshot::channel();
        drop(self.jobs.send(Job::Take { from, ask, told }));
        let stopping = || Told::CopyRefused("the node stops".into());
        answer.await.unwrap_or_else(|_| stopping())
    }

    /// Does what was deferred until every append before it was durable.
    pub(crate) fn take_deferred(&self, deferred: Deferred) {
        drop(self.jobs.send(Job::Deferred(deferred)));
    }

    pub(crate) fn stop(&self) {
        drop(self.jobs.send(Job::Stop));
    }
}

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// A message that follows a copy.
type MessageBytes = Bytes;

fn file_said(file: ExportedFile) -> CopyFile {
    match file {
        ExportedFile::Snapshot => CopyFile::Snapshot,
        ExportedFile::Segment(id) => CopyFile::Segment(id),
    }
}

fn file_of(said: CopyFile) -> ExportedFile {
    match said {
        CopyFile::Snapshot => ExportedFile::Snapshot,
        CopyFile::Segment(id) => ExportedFile::Segment(id),
    }
}
