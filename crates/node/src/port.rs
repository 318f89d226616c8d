//! The node as its tasks see it: the port of `anser-host` on tokio, channels and connections.

use std::time::Duration;

use anser_broker::{
    command::{Command, Lane, Placed},
    error::Error,
    id::{QueueId, Sequence, ShardId},
};
use anser_host::{Answered, Known, PeerError, PeerRequest, PeerResponse, Port, Retry, Routes};
use anser_replica::Ticket;
use anser_transport::RequestError;
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::debug;

use crate::{
    bodies,
    cluster::words::Ask,
    courier::Errand,
    desk::Desk,
    event::{Event, HostEvent, Look, Request},
};

impl Port for Desk {
    fn cluster(&self) -> Option<Known<'_>> {
        let cluster = self.cluster.as_ref()?;
        Some(Known {
            leaders: &cluster.leaders,
            catalog: &cluster.catalog,
        })
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn permit(&self, request: &Request) -> Result<(), Error> {
        Desk::permit(self, request)
    }

    fn command_bytes_max(&self) -> usize {
        Desk::command_bytes_max(self)
    }

    fn is_full(&self, shard: ShardId) -> bool {
        let cluster = self.cluster.as_ref();
        self.counters.is_full() || cluster.is_some_and(|cluster| cluster.reports.is_full(shard))
    }

    fn may_wait(&self, waiting: usize) -> bool {
        self.door.may_wait(waiting)
    }

    fn submit(&self, shard: ShardId, request: Request) -> Result<(Ticket, Answered), Error> {
        self.hand_in(shard, request)
    }

    fn cancel(&self, shard: ShardId, ticket: Ticket) {
        // A runner that is gone waits for nobody.
        self.send(shard, HostEvent::Cancel { shard, ticket }.into())
            .ok();
    }

    fn give_back(&self, shard: ShardId, queue: QueueId, receipts: Vec<Sequence>) {
        let event = HostEvent::GiveBack {
            shard,
            queue,
            receipts,
        };
        // A runner that is gone has no lease to end.
        self.send(shard, event.into()).ok();
    }

    async fn lanes(&self, shard: ShardId, queue: QueueId, moves_max: usize) -> Option<Vec<Lane>> {
        let (sender, receiver) = oneshot::channel();
        let look = Look::Moves(queue, moves_max, sender);
        self.send(shard, Event::Look { shard, look }).ok()?;
        receiver.await.ok()
    }

    async fn applied(&self, shard: ShardId) -> Option<u64> {
        let (sender, receiver) = oneshot::channel();
        let look = Look::Applied(sender);
        self.send(shard, Event::Look { shard, look }).ok()?;
        receiver.await.ok()
    }

    async fn bodies(
        &self,
        shard: ShardId,
        messages: Vec<Sequence>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let (responder, receiver) = oneshot::channel();
        self.read_bodies(bodies::Job::Fetch {
            shard,
            messages,
            bytes_max,
            responder,
            runner: self.inbox_of(shard),
        })?;
        receiver.await.map_err(|_| Error::Unavailable)
    }

    async fn change_here(&self, command: Command) -> Result<Placed, Error> {
        let (done, placed) = oneshot::channel();
        // Without a courier the node is stopping; the next start does what is left.
        drop(self.errands.send(Errand::Change { command, done }));
        placed.await.unwrap_or(Err(Error::Unknown))
    }

    fn peers(&self) -> Vec<u64> {
        let cluster = self.cluster.as_ref();
        cluster.map_or_else(Vec::new, |cluster| cluster.connected())
    }

    async fn ask_peer(&self, node: u64, request: PeerRequest) -> Result<PeerResponse, PeerError> {
        let cluster = self.cluster.as_ref().ok_or(PeerError::NotSent)?;
        match cluster.ask(node, &Ask::from(request)).await {
            Ok(told) => Ok(PeerResponse::from(told)),
            Err(RequestError::NotSent) => Err(PeerError::NotSent),
            Err(RequestError::Lost) => Err(PeerError::Lost),
        }
    }

    fn retries(&self, what: Retry, reason: Error) {
        match what {
            Retry::Transfer { queue } => {
                debug!(queue = queue.0, %reason, "messages could not be carried; trying again");
            }
            Retry::Home { number } => {
                debug!(number, %reason, "a home could not be told; trying again");
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::task::spawn_local(task);
    }
}
