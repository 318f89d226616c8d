//! Carries what one shard has for another: dead letters to their queue, and from the catalog to a
//! queue's home what was set.
//!
//! Everything carried is safe to carry twice: dead letters are numbered by their source, and a
//! queue's settings have a revision. An errand is repeated until the other side has it, so a crash in
//! between delays it and does no more.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use anser_broker::{
    codec,
    command::{Command, Move, Placed, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
};
use bytes::Bytes;
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};
use tracing::debug;

use crate::{
    bodies,
    desk::Desk,
    event::{Event, Look, Request, Response},
};

/// Dead letters carried to one queue at once.
pub(crate) const MOVES_AT_ONCE: usize = 16;
/// How long an errand that could not be done is left alone.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) enum Errand {
    /// The queue has dead letters to be carried.
    Moves { shard: ShardId, queue: QueueId },
    /// A queue's home may not have what the catalog says.
    Place(Placed),
}

/// The queues whose dead letters are being carried.
type Moving = BTreeMap<QueueId, Announced>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    /// Nothing new since the last look.
    Seen,
    Again,
}

/// Does errands until nobody can give any more.
pub(crate) async fn run(desk: Desk, mut errands: UnboundedReceiver<Errand>) {
    let moving: Rc<RefCell<Moving>> = Rc::default();
    while let Some(errand) = errands.recv().await {
        let desk = desk.clone();
        match errand {
            Errand::Place(placed) => {
                tokio::task::spawn_local(async move { place_until_settled(&desk, &placed).await });
            }
            Errand::Moves { shard, queue } => {
                if moving
                    .borrow_mut()
                    .insert(queue, Announced::Again)
                    .is_none()
                {
                    let moving = moving.clone();
                    tokio::task::spawn_local(async move {
                        carry_all(&desk, shard, queue, &moving).await;
                    });
                }
            }
        }
    }
}

async fn place_until_settled(desk: &Desk, placed: &Placed) {
    while let Err(error) = place(desk, placed).await {
        debug!(queue = placed.queue.0, %error, "a queue's home could not be told; trying again");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Tells a queue's home what the catalog says, then the catalog that it was told.
pub(crate) async fn place(desk: &Desk, placed: &Placed) -> Result<(), Error> {
    let Placed {
        queue,
        shard,
        revision,
        ..
    } = *placed;
    let command = match placed.attributes.clone() {
        Some(attributes) => Command::PutQueue {
            queue,
            revision,
            attributes,
        },
        None => Command::DropQueue { queue },
    };
    desk.propose(shard, &command).await?;
    desk.propose(ShardId::CATALOG, &Command::QueueSettled { queue, revision })
        .await?;
    Ok(())
}

/// Carries the dead letters of one queue until it has none, or the node stops.
async fn carry_all(desk: &Desk, shard: ShardId, queue: QueueId, moving: &RefCell<Moving>) {
    loop {
        moving.borrow_mut().insert(queue, Announced::Seen);
        let (sender, receiver) = oneshot::channel();
        let look = Event::Look {
            shard,
            look: Look::Moves(queue, sender),
        };
        if desk.send(shard, look).is_err() {
            return;
        }
        let Ok(lanes) = receiver.await else { return };
        if lanes.is_empty() {
            // What was announced since the look may have come after it.
            if moving.borrow()[&queue] == Announced::Again {
                continue;
            }
            moving.borrow_mut().remove(&queue);
            return;
        }
        for (target, moves) in lanes {
            if let Err(error) = carry(desk, shard, queue, target, &moves).await {
                debug!(queue = queue.0, %error, "dead letters could not be carried; trying again");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

async fn carry(
    desk: &Desk,
    shard: ShardId,
    source: QueueId,
    target: QueueId,
    moves: &[Move],
) -> Result<(), Error> {
    let home = desk.routes.shard_of(target).ok_or(Error::NoSuchQueue)?;
    let bodies = fetch(
        desk,
        shard,
        moves.iter().map(|letter| letter.message).collect(),
    )
    .await?;
    let first = moves[0].number;
    let command = Command::AcceptMoved {
        queue: target,
        source,
        first,
        bodies,
    };
    let Reply::Accepted { through } = desk.propose(home, &command).await? else {
        unreachable!("accepting is answered with what was accepted")
    };
    if through >= first {
        let command = Command::MovesSettled {
            queue: source,
            target,
            through,
        };
        desk.propose(shard, &command).await?;
    }
    let last = moves.last().map_or(0, |letter| letter.number);
    if through < last {
        Err(Error::BacklogFull)
    } else {
        Ok(())
    }
}

async fn fetch(desk: &Desk, shard: ShardId, messages: Vec<Sequence>) -> Result<Vec<Bytes>, Error> {
    let (responder, receiver) = oneshot::channel();
    desk.read_bodies(bodies::Job::Fetch {
        shard,
        messages,
        responder,
    })?;
    receiver.await.ok().flatten().ok_or(Error::Unavailable)
}

impl Desk {
    /// Proposes a command and waits for its reply; a refusal is an error.
    pub(crate) async fn propose(&self, shard: ShardId, command: &Command) -> Result<Reply, Error> {
        match self
            .ask(shard, Request::Propose(codec::encode(command)))
            .await?
        {
            Response::Reply(reply) => Ok(reply),
            other => unreachable!("a proposal is answered with a reply, not {other:?}"),
        }
    }
}
