//! What reaches a runner, and what it sends back.

use std::sync::mpsc;

use anser_broker::{
    codec::Encoded,
    command::{Answer, Lane, Query, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    op::ReceivedMessage,
};
use anser_replica::{Image, ReceiveRequest, Ticket};
use tokio::sync::oneshot;

use crate::{desk::InFlight, status::ShardStatus};

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
    /// A manual clock has moved.
    Wake,
    Stop,
}

#[derive(Debug)]
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
    Moves(QueueId, oneshot::Sender<Vec<Lane>>),
    Status(mpsc::Sender<ShardStatus>),
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
