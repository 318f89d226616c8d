//! A simulated process as its tasks see it. What they ask for is put down as data, and carried out between events.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anser_broker::{
    command::{Command, Lane, Placed},
    error::Error,
    id::{QueueId, Sequence, ShardId},
};
use anser_host::{
    Admission, Answered, Denied, Known, Leaders, PeerError, PeerRequest, PeerResponse,
    Port as HostPort, Request, Response, Retry, Routes, Signal, Versions,
};
use anser_replica::Ticket;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::tasks::Task;
use crate::{coverage::sometimes, event::Caller};

/// Where the answer to a request goes.
pub(super) type Responder = oneshot::Sender<Result<Response, Error>>;
pub(super) type PeerResponder = oneshot::Sender<Result<PeerResponse, PeerError>>;

/// What a task wants done.
pub(super) enum Call {
    Submit {
        shard: ShardId,
        ticket: Ticket,
        request: Request,
        responder: Responder,
    },
    Cancel {
        shard: ShardId,
        ticket: Ticket,
    },
    GiveBack {
        shard: ShardId,
        queue: QueueId,
        receipts: Vec<Sequence>,
    },
    Lanes {
        shard: ShardId,
        queue: QueueId,
        moves_max: usize,
        responder: oneshot::Sender<Vec<Lane>>,
    },
    Applied {
        shard: ShardId,
        responder: oneshot::Sender<u64>,
    },
    Bodies {
        shard: ShardId,
        messages: Vec<Sequence>,
        bytes_max: usize,
        responder: oneshot::Sender<Vec<Bytes>>,
    },
    Change {
        command: Command,
        done: oneshot::Sender<Result<Placed, Error>>,
    },
    AskPeer {
        number: u64,
        node: u64,
        request: PeerRequest,
        responder: PeerResponder,
    },
    /// Nobody waits for a peer's answer any more.
    Unask {
        number: u64,
    },
    Sleep {
        length: Duration,
        responder: oneshot::Sender<()>,
    },
    Spawn(Task),
    /// The answer to a client's request.
    Answer {
        request: u64,
        response: Result<Response, Error>,
    },
    /// The answer to a change that a client asked for.
    AnswerJoin {
        request: u64,
        placed: Result<Admission, Denied>,
    },
    AnswerChange {
        request: u64,
        placed: Result<Placed, Error>,
    },
    /// The answer to a peer's request.
    AnswerPeer {
        caller: Caller,
        response: PeerResponse,
    },
}

#[derive(Clone)]
pub(super) struct Port(Arc<Inner>);

struct Inner {
    leaders: Leaders,
    catalog: Signal<u64>,
    routes: Routes,
    command_bytes_max: usize,
    versions: Versions,
    /// What this node's clock has counted, in microseconds.
    elapsed: AtomicU64,
    /// The shards whose voters' disks, or this node's, are nearly full.
    full: Mutex<BTreeSet<u16>>,
    counted: AtomicU64,
    /// Nodes that can be reached.
    peers: Mutex<Vec<u64>>,
    calls: Mutex<Vec<Call>>,
}

impl Port {
    pub(super) fn new(
        node: u64,
        shards: u16,
        command_bytes_max: usize,
        versions: Versions,
    ) -> Self {
        Self(Arc::new(Inner {
            leaders: Leaders::new(node, shards),
            catalog: Signal::default(),
            routes: Routes::default(),
            command_bytes_max,
            versions,
            elapsed: AtomicU64::new(0),
            full: Mutex::default(),
            counted: AtomicU64::new(0),
            peers: Mutex::default(),
            calls: Mutex::default(),
        }))
    }

    pub(super) fn versions(&self) -> &Versions {
        &self.0.versions
    }

    pub(super) fn leaders(&self) -> &Leaders {
        &self.0.leaders
    }

    pub(super) fn catalog(&self) -> &Signal<u64> {
        &self.0.catalog
    }

    /// Before tasks run: how everything is now.
    pub(super) fn set(&self, elapsed: Duration, peers: Vec<u64>, full: BTreeSet<u16>) {
        let elapsed = u64::try_from(elapsed.as_micros()).expect("less than an age");
        self.0.elapsed.store(elapsed, Ordering::Relaxed);
        *self.0.full.lock().unwrap_or_else(PoisonError::into_inner) = full;
        *self.0.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// What tasks have asked for since the last time.
    pub(super) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls())
    }

    pub(super) fn call(&self, call: Call) {
        self.calls().push(call);
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.0.counted.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl HostPort for Port {
    fn cluster(&self) -> Option<Known<'_>> {
        Some(Known {
            leaders: &self.0.leaders,
            catalog: &self.0.catalog,
        })
    }

    fn routes(&self) -> &Routes {
        &self.0.routes
    }

    fn permit(&self, request: &Request) -> Result<(), Error> {
        match request {
            Request::Propose(command) => self.0.versions.permit(command),
            Request::Receive(_) | Request::Read(_) => Ok(()),
        }
    }

    fn command_bytes_max(&self) -> usize {
        self.0.command_bytes_max
    }

    fn is_full(&self, shard: ShardId) -> bool {
        let full = self.0.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.contains(&shard.0)
    }

    fn may_wait(&self, _: usize) -> bool {
        true
    }

    fn submit(&self, shard: ShardId, request: Request) -> Result<(Ticket, Answered), Error> {
        let ticket = Ticket(self.next_number());
        let (responder, answered) = oneshot::channel();
        self.call(Call::Submit {
            shard,
            ticket,
            request,
            responder,
        });
        Ok((ticket, answered))
    }

    fn cancel(&self, shard: ShardId, ticket: Ticket) {
        self.call(Call::Cancel { shard, ticket });
    }

    fn give_back(&self, shard: ShardId, queue: QueueId, receipts: Vec<Sequence>) {
        self.call(Call::GiveBack {
            shard,
            queue,
            receipts,
        });
    }

    async fn lanes(&self, shard: ShardId, queue: QueueId, moves_max: usize) -> Option<Vec<Lane>> {
        let (responder, receiver) = oneshot::channel();
        self.call(Call::Lanes {
            shard,
            queue,
            moves_max,
            responder,
        });
        receiver.await.ok()
    }

    async fn applied(&self, shard: ShardId) -> Option<u64> {
        let (responder, receiver) = oneshot::channel();
        self.call(Call::Applied { shard, responder });
        receiver.await.ok()
    }

    async fn bodies(
        &self,
        shard: ShardId,
        messages: Vec<Sequence>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let (responder, receiver) = oneshot::channel();
        self.call(Call::Bodies {
            shard,
            messages,
            bytes_max,
            responder,
        });
        receiver.await.map_err(|_| Error::Unavailable)
    }

    async fn change_here(&self, command: Command) -> Result<Placed, Error> {
        let (done, placed) = oneshot::channel();
        self.call(Call::Change { command, done });
        placed.await.unwrap_or(Err(Error::Unknown))
    }

    fn peers(&self) -> Vec<u64> {
        let peers = self.0.peers.lock();
        peers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask_peer(&self, node: u64, request: PeerRequest) -> Result<PeerResponse, PeerError> {
        let number = self.next_number();
        let (responder, receiver) = oneshot::channel();
        self.call(Call::AskPeer {
            number,
            node,
            request,
            responder,
        });
        let asking = Asking { port: self, number };
        let told = receiver.await.unwrap_or(Err(PeerError::Lost));
        std::mem::forget(asking);
        told
    }

    fn retries(&self, what: Retry, reason: Error) {
        sometimes(match (what, reason) {
            (Retry::Transfer { .. }, Error::Unavailable | Error::Unknown) => {
                "messages waited for the leader of their target"
            }
            (Retry::Transfer { .. }, _) => "messages waited for their target to take them",
            (Retry::Home { .. }, _) => "a home waited to be told what the catalog says",
        });
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.elapsed.load(Ordering::Relaxed))
    }

    async fn sleep(&self, length: Duration) {
        let (responder, receiver) = oneshot::channel();
        self.call(Call::Sleep { length, responder });
        // Nobody wakes it in a process that has ended.
        receiver.await.ok();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.call(Call::Spawn(Box::pin(task)));
    }
}

/// Dropped while the answer is waited for, the peer hears that nobody waits.
struct Asking<'a> {
    port: &'a Port,
    number: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let number = self.number;
        self.port.call(Call::Unask { number });
    }
}
