//! What reaches a runner, and what it sends back.

use std::sync::mpsc;

use anser_broker::{
    codec::Encoded,
    command::{Answer, Move, Query, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    op::ReceivedMessage,
};
use anser_replica::{Image, ReceiveRequest, Ticket};
use tokio::sync::oneshot;

use crate::status::ShardStatus;

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
    Moves(QueueId, oneshot::Sender<Vec<(QueueId, Vec<Move>)>>),
    Status(mpsc::Sender<ShardStatus>),
}

pub(crate) type Responder = oneshot::Sender<Result<Response, Error>>;

#[derive(Debug)]
pub(crate) enum Response {
    Reply(Reply),
    Answer(Answer),
    Messages(Vec<ReceivedMessage>),
}
