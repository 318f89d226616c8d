//! What reaches a runner, and what it sends back.

use std::sync::mpsc;

use anser_broker::{
    codec::Encoded,
    command::{Answer, Lane, Query, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    op::ReceivedMessage,
    shard::Shard,
};
use anser_log::Follower;
use anser_replica::{Image, Membership, Place, ReceiveRequest, SnapshotOffer, StoredEntry, Ticket};
use bytes::Bytes;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    cluster::{survey::ReplicaSurvey, words::Order},
    desk::InFlight,
    status::ShardStatus,
};

#[derive(Debug)]
pub(crate) enum Event {
    Request {
        shard: ShardId,
        ticket: Ticket,
        request: Request,
        responder: Responder,
    },
    Cancel {
        shard: ShardId,
        ticket: Ticket,
    },
    /// Leased messages that nobody took: they become visible again.
    GiveBack {
        shard: ShardId,
        queue: QueueId,
        receipts: Vec<Sequence>,
    },
    Durable {
        shard: ShardId,
        number: u64,
    },
    /// A look at a shard's state by another thread of the node.
    Look {
        shard: ShardId,
        look: Look,
    },
    /// Messages of consensus from the shard's replica on another node.
    Peer {
        shard: ShardId,
        message: Bytes,
    },
    /// The connection to a node broke.
    Unreachable {
        node: u64,
    },
    Order(Order),
    /// Entries that were fetched from the log.
    Fetched {
        shard: ShardId,
        request: u64,
        entries: Vec<StoredEntry>,
    },
    /// The log no longer holds the shard's entries up to this one.
    Forgotten {
        shard: ShardId,
        through: u64,
    },
    SnapshotReady {
        shard: ShardId,
        snapshot: SnapshotOffer,
    },
    SnapshotSent {
        shard: ShardId,
        to: u64,
        arrived: bool,
    },
    Installed {
        shard: ShardId,
        place: Place,
        membership: Membership,
        state: Box<Shard>,
    },
    /// The shard is off the disk; a replica of it may begin anew.
    Forgot {
        shard: ShardId,
    },
    /// How all replicas of the runner are.
    Survey(UnboundedSender<Vec<Surveyed>>),
    /// A manual clock has moved.
    Wake,
    Stop,
}

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Propose(Encoded),
    Receive(ReceiveRequest),
    Read(Query),
}

#[derive(Debug)]
pub(crate) enum Look {
    Image(mpsc::Sender<Image>),
    /// For each range of indexes, whether anything in it is alive.
    AnyLive(Vec<(u64, u64)>, mpsc::Sender<Vec<bool>>),
    /// The messages between two indexes whose bodies are still needed.
    Live(u64, u64, mpsc::Sender<Vec<Sequence>>),
    /// Only from a replica that leads.
    Moves(QueueId, oneshot::Sender<Vec<Lane>>),
    /// The replicas that follow this one; none if it does not lead.
    Followers(mpsc::Sender<Vec<Follower>>),
    /// The index of the last entry that is applied.
    Applied(oneshot::Sender<u64>),
}

/// One replica at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Surveyed {
    pub(crate) status: ShardStatus,
    pub(crate) replica: ReplicaSurvey,
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

#[derive(Debug)]
pub(crate) enum Response {
    Reply(Reply),
    Answer(Answer),
    Messages(Vec<ReceivedMessage>),
}
