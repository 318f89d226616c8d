//! What reaches a runner, and what it sends back.

use std::sync::mpsc;

use anser_broker::{
    command::Lane,
    error::Error,
    id::{QueueId, ShardId},
};
use anser_host::{Order, ReplicaReport};
pub(crate) use anser_host::{Request, Response};
use anser_log::Follower;
use anser_replica::Image;
use bytes::Bytes;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{desk::InFlight, status::ShardStatus};

/// What happens to shards.
pub(crate) type HostEvent = anser_host::Event<Responder>;

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all that comes to a runner is the large one"
)]
pub(crate) enum Event {
    /// To one of the runner's shards.
    Host(HostEvent),
    /// A look at a shard's state by another thread of the node.
    Look {
        shard: ShardId,
        look: Look,
    },
    /// A message of consensus from the shard's replica on another node, as it came.
    Peer {
        shard: ShardId,
        message: Bytes,
    },
    Order(Order),
    /// How all replicas of the runner are.
    Report(UnboundedSender<Vec<Reported>>),
    /// A manual clock has moved.
    Wake,
    Stop,
}

impl From<HostEvent> for Event {
    fn from(event: HostEvent) -> Self {
        Self::Host(event)
    }
}

#[derive(Debug)]
pub(crate) enum Look {
    Image(mpsc::Sender<Image>),
    /// Of each lane the first so many; only from a replica that leads.
    Moves(QueueId, usize, oneshot::Sender<Vec<Lane>>),
    /// The replicas that follow this one; none if it does not lead.
    Followers(mpsc::Sender<Vec<Follower>>),
    /// The index of the last entry that is applied.
    Applied(oneshot::Sender<u64>),
}

/// One replica at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub(crate) status: ShardStatus,
    pub(crate) replica: ReplicaReport,
    /// What of it is damaged on this disk.
    pub(crate) damaged: Option<String>,
}

/// Where an answer goes. Until then the request counts as under way, whether or not its caller still
/// waits.
#[derive(Debug)]
pub(crate) struct Responder {
    sender: oneshot::Sender<Result<Response, Error>>,
    _in_flight: InFlight,
}

impl Responder {
    pub(crate) fn new(
        sender: oneshot::Sender<Result<Response, Error>>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            sender,
            _in_flight: in_flight,
        }
    }

    /// Sends the answer; whether anybody was there to take it.
    pub(crate) fn send(self, response: Result<Response, Error>) -> bool {
        self.sender.send(response).is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
