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
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    time::Instant,
};
use tracing::debug;

use crate::{
    bodies,
    desk::Desk,
    event::{Event, Look, Request, Response},
};

/// Dead letters carried to one queue at once.
pub(crate) const MOVES_AT_ONCE: usize = 16;
/// Bytes of dead letters carried at once; a larger one goes alone.
const CARRIED_BYTES_MAX: usize = 1 << 20;
/// How long an errand that could not be done is left alone.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) enum Errand {
    /// The queue has dead letters to be carried.
    Moves { shard: ShardId, queue: QueueId },
    /// A queue's home may not have what the catalog says.
    Place(Placed),
    /// A change of the catalog and of the queue's home. It is done here and not by whoever asked, who
    /// may leave in the middle.
    Change {
        command: Command,
        done: oneshot::Sender<Result<Placed, Error>>,
    },
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
            Errand::Change { command, done } => {
                tokio::task::spawn_local(async move {
                    // Whoever asked may have left.
                    done.send(change(&desk, &command).await).ok();
                });
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

async fn change(desk: &Desk, command: &Command) -> Result<Placed, Error> {
    let Reply::Placed(placed) = desk.propose(ShardId::CATALOG, command).await? else {
        unreachable!("changes of the catalog are answered with what was placed")
    };
    place_until_settled(desk, &placed).await;
    Ok(placed)
}

async fn place_until_settled(desk: &Desk, placed: &Placed) {
    while let Err(error) = place(desk, placed).await {
        debug!(queue = placed.queue.0, %error, "a queue's home could not be told; trying again");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Tells a queue's home what the catalog says, then the catalog that it was told.
async fn place(desk: &Desk, placed: &Placed) -> Result<(), Error> {
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

/// Carries the dead letters of one queue until it has none, or the node stops. A lane that cannot
/// go on rests and holds up no other.
async fn carry_all(desk: &Desk, shard: ShardId, queue: QueueId, moving: &RefCell<Moving>) {
    let mut resting: BTreeMap<QueueId, Instant> = BTreeMap::new();
    loop {
        moving.borrow_mut().insert(queue, Announced::Seen);
        let Some(lanes) = lanes(desk, shard, queue).await else {
            return;
        };
        if lanes.is_empty() {
            // What was announced since the look may have come after it.
            if moving.borrow()[&queue] == Announced::Again {
                continue;
            }
            moving.borrow_mut().remove(&queue);
            return;
        }
        resting.retain(|_, until| *until > Instant::now());
        for (target, moves) in lanes {
            if resting.contains_key(&target) {
                continue;
            }
            if let Err(error) = carry(desk, shard, queue, target, &moves).await {
                debug!(queue = queue.0, %error, "dead letters could not be carried; trying again");
                resting.insert(target, Instant::now() + RETRY_INTERVAL);
            }
        }
        if let Some(&until) = resting.values().min() {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// What waits to be carried, by target; `None` if the node stops.
async fn lanes(desk: &Desk, shard: ShardId, queue: QueueId) -> Option<Vec<(QueueId, Vec<Move>)>> {
    let (sender, receiver) = oneshot::channel();
    let look = Look::Moves(queue, sender);
    desk.send(shard, Event::Look { shard, look }).ok()?;
    receiver.await.ok()
}

async fn carry(
    desk: &Desk,
    shard: ShardId,
    source: QueueId,
    target: QueueId,
    moves: &[Move],
) -> Result<(), Error> {
    let Some(home) = desk.routes.shard_of(target) else {
        // The target was deleted after the policy had let go of it.
        let queue = source;
        desk.propose(shard, &Command::ReturnMoves { queue, target })
            .await?;
        return Ok(());
    };
    let messages = moves.iter().map(|letter| letter.message).collect();
    let mut bodies = fetch(desk, shard, messages).await?;
    let bytes_max = CARRIED_BYTES_MAX.min(desk.command_bytes_max() / 2);
    bodies.truncate(count_within(&bodies, bytes_max));
    let first = moves[0].number;
    let last = first + bodies.len() as u64 - 1;
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
    if through < last {
        Err(Error::BacklogFull)
    } else {
        Ok(())
    }
}

/// How many bodies from the front fit into so many bytes; at least one.
fn count_within(bodies: &[Bytes], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fitting = bodies.iter().take_while(|body| {
        bytes += body.len();
        bytes <= bytes_max
    });
    fitting.count().max(1)
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
