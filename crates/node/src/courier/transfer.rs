//! Messages between shards: dead letters to their queue, and messages of a topic to the queues that
//! subscribed.
//!
//! One errand at a time carries from a queue; what is announced meanwhile makes it look again. Nobody waits
//! for a leader here: a lane to a shard without one rests, and holds nothing that other lanes need.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anser_broker::{
    command::{Answer, Command, Lane, Move, Query, Reply, Room},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    labels::Published,
    time::Millis,
};
use bytes::Bytes;
use tokio::{
    sync::{Semaphore, oneshot},
    time::Instant,
};
use tracing::debug;

use super::RETRY_INTERVAL;
use crate::{
    bodies,
    cluster::freshness,
    desk::Desk,
    event::{Event, Look, Request, Response},
    status::Counters,
};

/// Messages carried to one queue at once.
pub(crate) const MOVES_AT_ONCE: usize = 64;
/// Bytes of messages carried at once; a larger one goes alone.
const CARRIED_BYTES_MAX: usize = 1 << 20;
/// The longest time that a lane is left alone which could not go on again and again.
const REST_MAX: Duration = Duration::from_secs(8);
/// Lanes whose messages are being carried at once.
const CARRIERS_MAX: usize = 16;
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
#[derive(Clone)]
pub(super) struct Carrier {
    desk: Desk,
    counters: Arc<Counters>,
    moving: Rc<RefCell<Moving>>,
    /// Bounds what is read into memory at once.
    turns: Rc<Semaphore>,
}

impl Carrier {
    pub(super) fn new(desk: Desk, counters: Arc<Counters>) -> Self {
        Self {
            desk,
            counters,
            moving: Rc::default(),
            turns: Rc::new(Semaphore::new(CARRIERS_MAX)),
        }
    }

    /// The queue has messages to be carried.
    pub(super) fn carry(&self, shard: ShardId, queue: QueueId) {
        let known = self.moving.borrow_mut().insert(queue, Announced::Again);
        if known.is_none() {
            let source = Source {
                carrier: self.clone(),
                shard,
                queue,
            };
            tokio::task::spawn_local(source.carry_all());
        }
    }
}

/// A queue from which messages are carried.
struct Source {
    carrier: Carrier,
    shard: ShardId,
    queue: QueueId,
}

/// How long a lane that could not go on is left alone, and until when.
#[derive(Debug, Clone, Copy)]
struct Rest {
    length: Duration,
    until: Instant,
}

impl Rest {
    /// A rest after another: twice as long.
    fn after(last: Option<Self>) -> Self {
        let length = last.map_or(RETRY_INTERVAL, |last| (2 * last.length).min(REST_MAX));
        let until = Instant::now() + length;
        Self { length, until }
    }
}

impl Source {
    /// Carries until there is nothing to be carried, or the node stops. A lane that cannot go on rests
    /// and holds up no other.
    async fn carry_all(self) {
        let moving = Rc::clone(&self.carrier.moving);
        let mut rests: BTreeMap<QueueId, Rest> = BTreeMap::new();
        loop {
            moving.borrow_mut().insert(self.queue, Announced::Seen);
            let Some(lanes) = self.lanes().await else {
                moving.borrow_mut().remove(&self.queue);
                return;
            };
            if lanes.is_empty() {
                // What was announced since the look may have come after it.
                if moving.borrow()[&self.queue] == Announced::Again {
                    continue;
                }
                moving.borrow_mut().remove(&self.queue);
                return;
            }
            let mut carried = false;
            for lane in lanes {
                let rest = rests.get(&lane.target).copied();
                if rest.is_some_and(|rest| rest.until > Instant::now()) {
                    continue;
                }
                match self.carry(&lane).await {
                    Ok(()) => {
                        rests.remove(&lane.target);
                        carried = true;
                    }
                    Err(error) => {
                        debug!(queue = self.queue.0, %error, "messages could not be carried; trying again");
                        rests.insert(lane.target, Rest::after(rest));
                    }
                }
            }
            let next = rests.values().map(|rest| rest.until).min();
            if let (false, Some(until)) = (carried, next) {
                tokio::time::sleep_until(until).await;
            }
        }
    }

    /// What waits to be carried; `None` if the node stops or no longer leads the shard.
    async fn lanes(&self) -> Option<Vec<Lane>> {
        let (sender, receiver) = oneshot::channel();
        let look = Look::Moves(self.queue, sender);
        let shard = self.shard;
        let desk = &self.carrier.desk;
        desk.send(shard, Event::Look { shard, look }).ok()?;
        receiver.await.ok()
    }

    async fn carry(&self, lane: &Lane) -> Result<(), Error> {
        if let Some(through) = lane.ends {
            return self.end(lane, through).await;
        }
        if self.carrier.counters.storage_full.load(Ordering::Relaxed) {
            // Carrying copies bodies, and what space is left is for what frees some.
            return Err(Error::StorageFull);
        }
        match self.home_of(lane.target).await? {
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
            match self.carrier.desk.propose(home, &forget).await {
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
        let desk = &self.carrier.desk;
        let known = desk.routes.shard_of(queue);
        match &desk.cluster {
            Some(cluster) if known.is_none() => {
                let here = cluster.leaders.serves_here(ShardId::CATALOG);
                if !here && !freshness::catch_up(cluster).await {
                    return Err(Error::Unavailable);
                }
                Ok(desk.routes.shard_of(queue))
            }
            _ => Ok(known),
        }
    }

    async fn carry_dead_letters(&self, lane: &Lane, home: ShardId) -> Result<(), Error> {
        let _turn = self.carrier.turns.acquire().await;
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
    /// written to a log.
    async fn deliver(&self, lane: &Lane, home: ShardId) -> Result<(), Error> {
        let room = match self.room(lane.target, home).await {
            Ok(room) => room,
            Err(error) => {
                self.end_overdue(lane).await?;
                return Err(error);
            }
        };
        if room.messages == 0 {
            self.end_overdue(lane).await?;
            return Err(Error::BacklogFull);
        }
        let count = usize::try_from(room.messages).unwrap_or(usize::MAX);
        let turn = self.carrier.turns.acquire().await;
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
        let query = Request::Read(Query::Room { queue });
        match self.carrier.desk.ask_now(home, query).await? {
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
            self.carrier.desk.propose_now(home, command).await?
        else {
            unreachable!("accepting is answered with what was accepted")
        };
        if through >= lane.moves[0].number {
            self.tell(&Command::MovesSettled {
                queue: self.queue,
                target: lane.target,
                through,
            })
            .await?;
        }
        Ok(refused)
    }

    /// The first bodies of a lane, at most `count`, without their labels. At least one.
    async fn bodies(&self, lane: &Lane, count: usize) -> Result<Vec<Bytes>, Error> {
        let messages = lane.moves.iter().take(count).map(|next| next.message);
        let desk = &self.carrier.desk;
        let bytes_max = CARRIED_BYTES_MAX.min(desk.command_bytes_max() / 2);
        let mut bodies = fetch(desk, self.shard, messages.collect(), bytes_max).await?;
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
        let desk = &self.carrier.desk;
        desk.propose_all(self.shard, commands).await
    }

    async fn tell(&self, command: &Command) -> Result<(), Error> {
        let desk = &self.carrier.desk;
        desk.propose_now(self.shard, command).await.map(drop)
    }
}

async fn fetch(
    desk: &Desk,
    shard: ShardId,
    messages: Vec<Sequence>,
    bytes_max: usize,
) -> Result<Vec<Bytes>, Error> {
    let (responder, receiver) = oneshot::channel();
    desk.read_bodies(bodies::Job::Fetch {
        shard,
        messages,
        bytes_max,
        responder,
    })?;
    receiver.await.map_err(|_| Error::Unavailable)
}
