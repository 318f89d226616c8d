//! Copies of shards on their way from node to node: the snapshot and the segments as files, in chunks,
//! before the message of consensus that makes a replica take them.
//!
//! Going out: maintenance makes an offer, which holds the files open; a task sends what the other side is
//! missing, no faster than it may. Coming in: one thread writes and verifies what arrives, and makes it
//! part of the log in one step when the replica has accepted it. A broken connection resumes where it
//! broke; a newer copy from the same node goes on with the segments that are here.

mod incoming;
mod outgoing;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anser_broker::id::ShardId;
use anser_host::Deferred;
use anser_log::{Export, FileSystem, Follower, Holds};
use anser_replica::{PeerMessage, Place};
use bytes::Bytes;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

pub(crate) use incoming::{Incoming, Job};
pub(crate) use outgoing::{Outgoing, send_all};

use super::words::{CopyAsk, Told};

/// The handle that the parts of a node have.
#[derive(Clone)]
pub(crate) struct Copies {
    jobs: mpsc::Sender<Job>,
    outgoing: UnboundedSender<Outgoing>,
    offers: Arc<Offers>,
    sending: Arc<Sending>,
    holds: Arc<Mutex<Holds>>,
    /// What the times of holds are counted from.
    beginning: Instant,
}

/// What can be sent: the newest offer of each shard, until nobody wanted it for a while.
#[derive(Default)]
struct Offers(Mutex<BTreeMap<ShardId, Offered>>);

struct Offered {
    export: Arc<Export<FileSystem>>,
    wanted: Instant,
}

impl Offers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Offered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The copies under way, each with a flag that says whether it is still wanted.
#[derive(Default)]
struct Sending(Mutex<BTreeMap<(ShardId, u64), Arc<AtomicBool>>>);

impl Sending {
    /// A copy to a node takes the place of an earlier one.
    fn begin(&self, shard: ShardId, to: u64) -> Arc<AtomicBool> {
        let wanted = Arc::new(AtomicBool::new(true));
        let earlier = self.lock().insert((shard, to), Arc::clone(&wanted));
        if let Some(earlier) = earlier {
            earlier.store(false, Ordering::Relaxed);
        }
        wanted
    }

    fn end(&self, shard: ShardId, stay: impl Fn(u64) -> bool) {
        self.lock().retain(|&(of, to), wanted| {
            let goes_on = of != shard || stay(to);
            if !goes_on {
                wanted.store(false, Ordering::Relaxed);
            }
            // Its task holds the flag as long as it sends.
            goes_on && Arc::strong_count(wanted) > 1
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(ShardId, u64), Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    pub(crate) fn new(jobs: mpsc::Sender<Job>, outgoing: UnboundedSender<Outgoing>) -> Self {
        Self {
            jobs,
            outgoing,
            offers: Arc::default(),
            sending: Arc::default(),
            holds: Arc::default(),
            beginning: Instant::now(),
        }
    }

    /// Holds the files of a shard open for whoever needs them, and the log behind them.
    pub(crate) fn offer(&self, shard: ShardId, export: Export<FileSystem>, followers: &[Follower]) {
        let (index, now) = (export.snapshot.index, self.beginning.elapsed());
        self.holds().offered(shard.0, index, followers, now);
        let offered = Offered {
            export: Arc::new(export),
            wanted: Instant::now(),
        };
        self.offers.lock().insert(shard, offered);
    }

    /// Lets go of offers that nobody takes: they keep files that were replaced.
    pub(crate) fn withdraw_unwanted(&self) {
        self.offers.lock().retain(|_, offered| {
            Arc::strong_count(&offered.export) > 1 || offered.wanted.elapsed() < OFFER_PATIENCE
        });
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

    /// How the thread that takes copies in speaks to itself.
    pub(crate) fn jobs(&self) -> mpsc::Sender<Job> {
        self.jobs.clone()
    }

    /// Sends the files of the offer, then the message.
    pub(crate) fn send(&self, shard: ShardId, to: u64, place: Place, message: &PeerMessage) {
        let now = self.beginning.elapsed();
        self.holds().copying(shard.0, to, place.index, now);
        let mut offers = self.offers.lock();
        let offered = offers.get_mut(&shard);
        let offered = offered.filter(|offered| offered.export.snapshot.index == place.index);
        let export = offered.map(|offered| {
            offered.wanted = Instant::now();
            Arc::clone(&offered.export)
        });
        drop(offers);
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        // The task that sends lives as long as the node.
        drop(self.outgoing.send(Outgoing {
            shard,
            to,
            export,
            message: bytes.into(),
            wanted: self.sending.begin(shard, to),
        }));
    }

    /// Breaks off the copies that this node sends of a shard, but for those to nodes that `stay`. Whoever leads
    /// no more, or has let go of the receiver, speaks for an earlier time.
    pub(crate) fn end_sending(&self, shard: ShardId, stay: impl Fn(u64) -> bool) {
        self.sending.end(shard, stay);
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
        drop(self.jobs.send(match deferred {
            Deferred::Install { shard, place } => Job::Install { shard, place },
            Deferred::Forget { shard, floor } => Job::Forget { shard, floor },
        }));
    }

    pub(crate) fn stop(&self) {
        drop(self.jobs.send(Job::Stop));
    }
}

/// How long an offer is kept for somebody who may want it.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// A message that follows a copy.
type MessageBytes = Bytes;
