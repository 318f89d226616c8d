//! Messages between shards: dead letters to their queue, and messages of a topic to the queues that
//! subscribed.
//!
//! One errand at a time carries from a queue; what is announced meanwhile makes it look again. Nobody waits
//! for a leader here: a lane to a shard without one rests, and holds nothing that other lanes need.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anser_broker::{
    command::{Answer, Command, Lane, Move, Query, Reply, Room},
    error::Error,
    id::{QueueId, ShardId},
    labels::Published,
    time::Millis,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{RETRY_INTERVAL, lines::Lines};
use crate::{
    event::{Request, Response},
    port::{Port, Retry, within},
    routing::{freshness, router},
};

/// Messages carried to one queue at once.
const MOVES_AT_ONCE: usize = 64;
/// Bytes of messages carried at once; a larger one goes alone.
const CARRIED_BYTES_MAX: usize = 1 << 20;
/// The longest time that a lane is left alone which could not go on again and again.
const REST_MAX: Duration = Duration::from_secs(8);
/// Lanes whose messages are being carried at once: bounds what is read into memory.
const CARRIERS_MAX: usize = 64;
/// Of them, lanes to queues of one shard.
const CARRIERS_TO_SHARD_MAX: usize = 4;
/// How long bodies are waited for, which a disk that hangs does not give.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// The longest time until a queue is offered a message again that it refused for its size.
const REFUSED_WAIT_MAX: Millis = Millis::from_seconds(512);

/// The queues whose messages are being carried.
type Moving = BTreeMap<QueueId, Announced>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    /// Nothing new since the last look.
    Seen,
    Again,
}

/// Carries messages from all queues that have some.
#[derive(Debug, Clone)]
pub struct Transfers<P> {
    port: P,
    moving: Arc<Mutex<Moving>>,
    turns: Arc<Semaphore>,
    lines: Arc<Lines>,
}

impl<P: Port> Transfers<P> {
    pub fn new(port: P) -> Self {
        Self {
            port,
            moving: Arc::default(),
            turns: Arc::new(Semaphore::new(CARRIERS_MAX)),
            lines: Arc::new(Lines::new(CARRIERS_TO_SHARD_MAX)),
        }
    }

    /// The queue has messages to be carried.
    pub fn carry(&self, shard: ShardId, queue: QueueId) {
        let known = self.moving().insert(queue, Announced::Again);
        if known.is_none() {
            let source = Source {
                transfers: self.clone(),
                shard,
                queue,
            };
            self.port.spawn(source.carry_all());
        }
    }

    /// Waits for a turn to carry something to a shard.
    async fn turn(&self, home: ShardId) -> Turn {
        // First the shard's: whoever waits for a shard whose turns are all taken takes none of the others'.
        let of_shard = self.lines.turn(home).await;
        let of_all = Arc::clone(&self.turns).acquire_owned().await;
        Turn {
            _of_shard: of_shard,
            _of_all: of_all.expect("turns never end"),
        }
    }

    /// Whether nothing was announced since the last look; then the queue is left.
    fn leaves(&self, queue: QueueId) -> bool {
        let mut moving = self.moving();
        let seen = moving.get(&queue) != Some(&Announced::Again);
        if seen {
            moving.remove(&queue);
        }
        seen
    }

    fn moving(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something may be carried to a shard until this is dropped.
struct Turn {
    _of_shard: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// A queue from which messages are carried.
struct Source<P> {
    transfers: Transfers<P>,
    shard: ShardId,
    queue: QueueId,
}

/// How long a lane that could not go on is left alone, and until when.
#[derive(Debug, Clone, Copy)]
struct Rest {
    length: Duration,
    until: Duration,
}

impl Rest {
    /// A rest after another: twice as long.
    fn after(last: Option<Self>, now: Duration) -> Self {
        let length = last.map_or(RETRY_INTERVAL, |last| (2 * last.length).min(REST_MAX));
        let until = now + length;
        Self { length, until }
    }
}

impl<P: Port> Source<P> {
    fn port(&self) -> &P {
        &self.transfers.port
    }

    /// Carries until there is nothing to be carried, or the node stops. A lane that cannot go on rests
    /// and holds up no other.
    async fn carry_all(self) {
        let mut rests: BTreeMap<QueueId, Rest> = BTreeMap::new();
        loop {
            self.transfers.moving().insert(self.queue, Announced::Seen);
            let lanes = self
                .port()
                .lanes(self.shard, self.queue, MOVES_AT_ONCE)
                .await;
            let lanes = lanes.unwrap_or_default();
            if lanes.is_empty() {
                // What was announced since the look may have come after it.
                if self.transfers.leaves(self.queue) {
                    return;
                }
                continue;
            }
            // A lane that has ended rests no more, and wakes nobody.
            rests.retain(|target, _| lanes.iter().any(|lane| lane.target == *target));
            let carried = self.carry_each(lanes, &mut rests).await;
            let next = rests.values().map(|rest| rest.until).min();
            if let (false, Some(until)) = (carried, next) {
                let length = until.saturating_sub(self.port().elapsed());
                self.port().sleep(length).await;
            }
        }
    }

    /// Whether any lane went on.
    async fn carry_each(&self, lanes: Vec<Lane>, rests: &mut BTreeMap<QueueId, Rest>) -> bool {
        let mut carried = false;
        for lane in lanes {
            let rest = rests.get(&lane.target).copied();
            if rest.is_some_and(|rest| rest.until > self.port().elapsed()) {
                continue;
            }
            match self.carry(&lane).await {
                Ok(()) => {
                    rests.remove(&lane.target);
                    carried = true;
                }
                Err(error) => {
                    let queue = self.queue;
                    self.port().retries(Retry::Transfer { queue }, error);
                    rests.insert(lane.target, Rest::after(rest, self.port().elapsed()));
                }
            }
        }
        carried
    }

    async fn carry(&self, lane: &Lane) -> Result<(), Error> {
        if let Some(through) = lane.ends {
            return self.end(lane, through).await;
        }
        let home = self.home_of(lane.target).await?;
        if home.is_some_and(|home| self.port().is_full(home)) {
            // Carrying copies bodies, and what space is left is for what frees some.
            return Err(Error::StorageFull);
        }
        match home {
            Some(home) if lane.is_delivery => self.deliver(lane, home).await,
            Some(home) => self.carry_dead_letters(lane, home).await,
            None if lane.is_delivery => {
                self.end_overdue(lane).await?;
                Err(Error::NoSuchQueue)
            }
            None => {
                // The target was deleted after the policy had let go of it.
                self.tell(&Command::ReturnMoves {
                    queue: self.queue,
                    target: lane.target,
                })
                .await
            }
        }
    }

    /// Lets a queue forget this one, which has nothing more for it, and then this one the lane.
    async fn end(&self, lane: &Lane, through: u64) -> Result<(), Error> {
        let (queue, target) = (self.queue, lane.target);
        if let Some(home) = self.home_of(target).await? {
            let forget = Command::ForgetSource {
                queue: target,
                source: queue,
                seen: lane.seen,
                through,
            };
            match router::propose_now(self.port(), home, &forget).await {
                Ok(_) | Err(Error::NoSuchQueue) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell(&Command::LaneEnded {
            queue,
            target,
            through,
        })
        .await
    }

    /// Where a queue lives; `None` if it certainly is no more.
    async fn home_of(&self, queue: QueueId) -> Result<Option<ShardId>, Error> {
        let port = self.port();
        match port.routes().shard_of(queue) {
            None if freshness::catch_up(port).await => Ok(port.routes().shard_of(queue)),
            None => Err(Error::Unavailable),
            home => Ok(home),
        }
    }

    async fn carry_dead_letters(&self, lane: &Lane, home: ShardId) -> Result<(), Error> {
        let _turn = self.transfers.turn(home).await;
        let bodies = self.bodies(lane, lane.moves.len()).await?;
        let command = Command::AcceptMoved {
            queue: lane.target,
            source: self.queue,
            seen: lane.seen,
            first: lane.moves[0].number,
            bodies,
        };
        match self.accepted(lane, home, &command).await? {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }

    /// Gives a subscribed queue what it can take. What it cannot take is not even tried: each try is
    /// written to a log. Nothing ends while nobody knows whether the queue has it already.
    async fn deliver(&self, lane: &Lane, home: ShardId) -> Result<(), Error> {
        let room = match self.room(lane.target, home).await {
            Ok(room) => room,
            Err(error) => {
                if error == Error::NoSuchQueue {
                    self.end_overdue(lane).await?;
                }
                return Err(error);
            }
        };
        if room.accepted >= lane.moves[0].number {
            // The answer to an earlier try was lost.
            return self.settled(lane, room.accepted).await;
        }
        if room.messages == 0 {
            self.end_overdue(lane).await?;
            return Err(Error::BacklogFull);
        }
        let count = usize::try_from(room.messages).unwrap_or(usize::MAX);
        let turn = self.transfers.turn(home).await;
        let mut bodies = match self.bodies(lane, count).await {
            Ok(bodies) => bodies,
            Err(error) => {
                self.end_overdue(lane).await?;
                return Err(error);
            }
        };
        let fits = |body: &Bytes| body.len() <= room.body_bytes_max as usize;
        bodies.truncate(bodies.iter().take_while(|body| fits(body)).count());
        if bodies.is_empty() {
            return self.failed(lane, &lane.moves[..1]).await;
        }
        let command = Command::AcceptPublished {
            queue: lane.target,
            source: self.queue,
            seen: lane.seen,
            first: lane.moves[0].number,
            bodies,
        };
        let refused = self.accepted(lane, home, &command).await;
        drop(turn);
        match refused? {
            // The room has changed in between.
            Some(Error::BodyTooLarge | Error::BacklogFull) | None => Ok(()),
            Some(error) => Err(error),
        }
    }

    async fn room(&self, queue: QueueId, home: ShardId) -> Result<Room, Error> {
        let source = self.queue;
        let query = Request::Read(Query::Room { queue, source });
        match router::ask_now(self.port(), home, query).await? {
            Response::Answer(Answer::Room(room)) => Ok(room),
            Response::Answer(Answer::Refused(error)) => Err(error),
            other => unreachable!("a query for room is answered with room, not {other:?}"),
        }
    }

    /// Has the target take messages, and tells the source which have arrived; why the next one of
    /// those that were sent was refused, if one was.
    async fn accepted(
        &self,
        lane: &Lane,
        home: ShardId,
        command: &Command,
    ) -> Result<Option<Error>, Error> {
        let Reply::Accepted { through, refused } =
            router::propose_now(self.port(), home, command).await?
        else {
            unreachable!("accepting is answered with what was accepted")
        };
        if through >= lane.moves[0].number {
            self.settled(lane, through).await?;
        }
        Ok(refused)
    }

    /// The target has the messages of the lane up to this number.
    async fn settled(&self, lane: &Lane, through: u64) -> Result<(), Error> {
        self.tell(&Command::MovesSettled {
            queue: self.queue,
            target: lane.target,
            through,
        })
        .await
    }

    /// The first bodies of a lane, at most `count`, without their labels. At least one.
    async fn bodies(&self, lane: &Lane, count: usize) -> Result<Vec<Bytes>, Error> {
        let messages = lane.moves.iter().take(count).map(|next| next.message);
        let port = self.port();
        let bytes_max = CARRIED_BYTES_MAX.min(port.command_bytes_max() / 2);
        let read = port.bodies(self.shard, messages.collect(), bytes_max);
        let read = within(port, READ_PATIENCE, read).await;
        let mut bodies = read.unwrap_or(Err(Error::Unavailable))?;
        if lane.has_labels {
            let opened = bodies.iter().map_while(Published::open);
            bodies = opened.map(|published| published.body).collect();
        }
        if bodies.is_empty() {
            return Err(Error::Unavailable);
        }
        Ok(bodies)
    }

    /// Lets go of what the target did not take in time, from the front.
    async fn end_overdue(&self, lane: &Lane) -> Result<(), Error> {
        let overdue = lane.moves.iter().take_while(|next| next.is_overdue);
        self.failed(lane, &lane.moves[..overdue.count()]).await
    }

    async fn failed(&self, lane: &Lane, moves: &[Move]) -> Result<(), Error> {
        let commands = moves.iter().map(|next| Command::MoveFailed {
            queue: self.queue,
            target: lane.target,
            number: next.number,
            wait_max: REFUSED_WAIT_MAX,
        });
        router::propose_all(self.port(), self.shard, commands).await
    }

    async fn tell(&self, command: &Command) -> Result<(), Error> {
        router::propose_now(self.port(), self.shard, command)
            .await
            .map(drop)
    }
}
