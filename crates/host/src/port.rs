//! What the tasks of a node need of what is around them: its own shards, other nodes, time.
//!
//! Tasks are asynchronous and know no runtime, so that the node runs them on tokio and the simulator on events of a
//! seed.

use std::time::Duration;

use anser_broker::{
    command::{Command, Lane, Placed},
    error::Error,
    id::{QueueId, Sequence, ShardId},
};
use anser_replica::Ticket;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    event::{Request, Response},
    routing::{Leaders, Routes},
    signal::Signal,
};

/// The answer to a request; ends without one if the runner does.
pub type Answered = oneshot::Receiver<Result<Response, Error>>;

/// What a node knows of its cluster.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub leaders: &'a Leaders,
    /// The last entry that this node's copy of the catalog has applied.
    pub catalog: &'a Signal<u64>,
}

/// What one node asks another.
#[derive(Debug)]
pub enum PeerRequest {
    /// A request of a client or of the node, for a shard that the other is said to lead.
    Shard { shard: ShardId, request: Request },
    /// A change of the catalog and of a home, encoded, to be carried through by the catalog's leader.
    Change { command: Bytes },
    /// To the catalog's leader: the index from which a copy knows all that was acknowledged.
    CatalogIndex,
    /// Answered when the other's copy of the catalog has come so far.
    CatalogReached { index: u64 },
}

#[derive(Debug)]
pub enum PeerResponse {
    Shard(Response),
    Change(Placed),
    CatalogIndex(u64),
    CatalogReached,
    Refused(Error),
    /// Nothing has happened: the other does not lead the shard, or does not know what it was asked.
    NotDone,
}

/// Why a node has no answer from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerError {
    /// The other certainly does not have the request.
    NotSent,
    /// The other may have the request.
    Lost,
}

/// What could not be done yet and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Messages of a queue could not be carried to another.
    Transfer { queue: QueueId },
    /// A home could not be told what the catalog says of the thing with this number.
    Home { number: u64 },
}

/// Clones are of the same node.
pub trait Port: Clone + Send + Sync + 'static {
    /// `None`: a standalone node, which leads all shards.
    fn cluster(&self) -> Option<Known<'_>>;

    fn routes(&self) -> &Routes;

    /// Refuses what some node could not read in a log.
    fn permit(&self, request: &Request) -> Result<(), Error>;

    /// Bytes of the largest command that is taken.
    fn command_bytes_max(&self) -> usize;

    /// Whether some disk with a copy of the shard, or this node's, is so full that what is left of it is for what frees
    /// some.
    fn is_full(&self, shard: ShardId) -> bool;

    /// Whether one more request may go on waiting for a leader while so many do: each holds a place that others could have.
    fn may_wait(&self, waiting: usize) -> bool;

    /// Gives a request to the shard's replica here.
    fn submit(&self, shard: ShardId, request: Request) -> Result<(Ticket, Answered), Error>;

    /// Nobody waits for the answer any more.
    fn cancel(&self, shard: ShardId, ticket: Ticket);

    /// Leased messages that nobody took become visible again.
    fn give_back(&self, shard: ShardId, queue: QueueId, receipts: Vec<Sequence>);

    /// What of a queue waits to be carried, of each lane the first `moves_max`; `None` if this node does not lead its
    /// shard or stops.
    fn lanes(
        &self,
        shard: ShardId,
        queue: QueueId,
        moves_max: usize,
    ) -> impl Future<Output = Option<Vec<Lane>>> + Send;

    /// The last entry that the shard's replica here has applied; `None` if there is none.
    fn applied(&self, shard: ShardId) -> impl Future<Output = Option<u64>> + Send;

    /// The first bodies of these messages, up to so many bytes together or to the first that cannot be read; a larger
    /// one comes alone.
    fn bodies(
        &self,
        shard: ShardId,
        messages: Vec<Sequence>,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<Bytes>, Error>> + Send;

    /// Has a change of the catalog, which is led here, carried through, even if whoever asks leaves.
    ///
    /// Fails with [`Error::Unavailable`] if it is not led here, and nothing has happened.
    fn change_here(&self, command: Command) -> impl Future<Output = Result<Placed, Error>> + Send;

    /// The other nodes that a connection leads to.
    fn peers(&self) -> Vec<u64>;

    /// Dropped before its end, the other is told that nobody waits.
    fn ask_peer(
        &self,
        node: u64,
        request: PeerRequest,
    ) -> impl Future<Output = Result<PeerResponse, PeerError>> + Send;

    /// For whoever wants to know what this node is doing.
    fn retries(&self, what: Retry, reason: Error);

    /// Since some moment, by a clock that never jumps.
    fn elapsed(&self) -> Duration;

    fn sleep(&self, length: Duration) -> impl Future<Output = ()> + Send;

    /// Runs a task beside this one, as long as the node runs.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// What comes of something in time; `None`: it took longer and was dropped.
pub(crate) async fn within<T>(
    port: &impl Port,
    length: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        // In a fixed order, so that a simulated node does the same thing each time.
        biased;
        done = work => Some(done),
        () = port.sleep(length) => None,
    }
}
