//! A node as its errands see it, on a clock that jumps to what is due next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec,
    command::{Answer, Command, Lane, Move, Placed, PlacedQueue, Query, Reply, Room, Seen},
    error::Error,
    id::{AccountId, QueueId, Sequence, ShardId},
    name::QueueName,
    time::Millis,
};
use anser_host::{
    Answered, Known, Leaders, PeerError, PeerRequest, PeerResponse, Port, Request, Response, Retry,
    Routes, Signal,
};
use anser_replica::Ticket;
use bytes::Bytes;
use tokio::{sync::oneshot, task::LocalSet, time::Instant};

pub(super) const SOURCE: QueueId = QueueId(500);
/// Requests that wait for leaders at once.
pub(super) const WAITING_MAX: usize = 10;
const SHARDS: u16 = 3;

#[derive(Clone)]
pub(super) struct Node(Arc<Inner>);

struct Inner {
    leaders: Leaders,
    catalog: Signal<u64>,
    routes: Routes,
    begun: Instant,
    tickets: AtomicU64,
    tasks: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mute: BTreeSet<ShardId>,
    /// Requests that are never answered.
    unanswered: Vec<oneshot::Sender<Result<Response, Error>>>,
    lanes: BTreeMap<QueueId, Vec<Lane>>,
    looks: u64,
    holds_looks: bool,
    held_looks: Vec<oneshot::Sender<()>>,
    room: Option<(u64, u64)>,
    carried: BTreeMap<QueueId, u64>,
    asked: BTreeMap<ShardId, u64>,
    settled: u64,
    failed: u64,
    told: BTreeMap<QueueId, u64>,
    /// What a change of the catalog is answered with.
    changed: Option<Placed>,
    /// Messages whose bodies the disk does not give.
    unreadable: BTreeSet<Sequence>,
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    LocalSet::new().block_on(&runtime, test);
}

/// Messages with these numbers wait to be carried to a queue.
pub(super) fn lane(target: QueueId, numbers: &[u64]) -> Lane {
    let next = |&number| Move {
        number,
        message: Sequence::new(number, 0),
        is_overdue: false,
    };
    Lane {
        target,
        is_delivery: false,
        has_labels: false,
        seen: Seen {
            shard: ShardId(0),
            index: 1,
        },
        moves: numbers.iter().map(next).collect(),
        ends: None,
    }
}

fn name(text: &str) -> QueueName {
    QueueName::new(text).expect("letters and digits")
}

/// The catalog says that a queue is no more.
pub(super) fn placed(queue: QueueId, shard: ShardId, revision: u64) -> Placed {
    Placed::Queue(PlacedQueue {
        queue,
        shard,
        account: AccountId(1),
        name: name("a"),
        revision,
        attributes: None,
        floor: revision,
    })
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 100,
        wait: Millis(0),
        visibility: Millis(1_000),
        body_bytes_max: 1_000,
        retention: Millis(1_000),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 100,
        in_flight_max: 100,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

impl Node {
    /// It leads all shards.
    pub(super) fn new() -> Self {
        let leaders = Leaders::new(1, SHARDS);
        for shard in 0..SHARDS {
            leaders.serves(ShardId(shard), 1, true);
        }
        Self(Arc::new(Inner {
            leaders,
            catalog: Signal::default(),
            routes: Routes::default(),
            begun: Instant::now(),
            tickets: AtomicU64::new(0),
            tasks: Arc::default(),
            state: Mutex::default(),
        }))
    }

    pub(super) fn mute(&self, shard: ShardId) {
        self.state().mute.insert(shard);
    }

    pub(super) fn unmute(&self, shard: ShardId) {
        self.state().mute.remove(&shard);
    }

    /// Who waits for an answer hears that there is no leader.
    pub(super) fn refuse_unanswered(&self) {
        for sender in self.state().unanswered.drain(..) {
            // Whoever asked may have given up.
            sender.send(Err(Error::Unavailable)).ok();
        }
    }

    /// The next change of the catalog comes to this.
    pub(super) fn changes_to(&self, placed: Placed) {
        self.state().changed = Some(placed);
    }

    pub(super) fn route(&self, queue: QueueId, shard: ShardId) {
        let mut placed = placed(queue, shard, 1);
        if let Placed::Queue(queue) = &mut placed {
            queue.attributes = Some(attributes());
            queue.name = name(&format!("q{}", queue.queue.0));
        }
        self.0.routes.change(&placed);
    }

    pub(super) fn show(&self, source: QueueId, lanes: Vec<Lane>) {
        self.state().lanes.insert(source, lanes);
    }

    pub(super) fn hold_looks(&self) {
        self.state().holds_looks = true;
    }

    /// Those who look hear that nothing leads here; later ones see.
    pub(super) fn fail_held_looks(&self) {
        let mut state = self.state();
        state.holds_looks = false;
        state.held_looks.clear();
    }

    /// What the disk has of a message cannot be read until it is mended.
    pub(super) fn spoil(&self, message: Sequence) {
        self.state().unreadable.insert(message);
    }

    pub(super) fn mend(&self, message: Sequence) {
        self.state().unreadable.remove(&message);
    }

    pub(super) fn has_room(&self, messages: u64, accepted: u64) {
        self.state().room = Some((messages, accepted));
    }

    pub(super) fn looks(&self) -> u64 {
        self.state().looks
    }

    pub(super) fn carried(&self, target: QueueId) -> u64 {
        self.state().carried.get(&target).copied().unwrap_or(0)
    }

    pub(super) fn asked(&self, shard: ShardId) -> u64 {
        self.state().asked.get(&shard).copied().unwrap_or(0)
    }

    pub(super) fn settled_through(&self) -> u64 {
        self.state().settled
    }

    pub(super) fn failed_moves(&self) -> u64 {
        self.state().failed
    }

    /// The newest floor that a queue's home was told.
    pub(super) fn told(&self, queue: QueueId) -> Option<u64> {
        self.state().told.get(&queue).copied()
    }

    pub(super) fn tasks(&self) -> usize {
        self.0.tasks.load(Ordering::Relaxed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().expect("no test panics with it")
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Read(Query::Room { .. }) => {
                let (messages, accepted) = self.room.unwrap_or((100, 0));
                Response::Answer(Answer::Room(Room {
                    messages,
                    body_bytes_max: 1_000,
                    accepted,
                }))
            }
            Request::Propose(command) => Response::Reply(self.apply(&command.bytes)),
            Request::Receive(_) => Response::Messages(Vec::new()),
            Request::Read(other) => panic!("nobody asks this: {other:?}"),
        }
    }

    fn apply(&mut self, command: &Bytes) -> Reply {
        match codec::decode(command).expect("it was just encoded") {
            Command::AcceptMoved {
                queue,
                first,
                bodies,
                ..
            }
            | Command::AcceptPublished {
                queue,
                first,
                bodies,
                ..
            } => {
                let count = bodies.len() as u64;
                *self.carried.entry(queue).or_default() += count;
                return Reply::Accepted {
                    through: first + count - 1,
                    refused: None,
                };
            }
            Command::MovesSettled {
                queue,
                target,
                through,
            } => {
                self.settled = through;
                self.settle(queue, target, through);
            }
            Command::MoveFailed { .. } => self.failed += 1,
            Command::DeleteQueue { .. } => {
                return Reply::Placed(self.changed.clone().expect("it was said before"));
            }
            Command::DropQueue { queue, floor } => drop(self.told.insert(queue, floor)),
            _ => {}
        }
        Reply::Done
    }
}

impl State {
    fn settle(&mut self, source: QueueId, target: QueueId, through: u64) {
        let lanes = self.lanes.entry(source).or_default();
        for lane in lanes.iter_mut().filter(|lane| lane.target == target) {
            lane.moves.retain(|next| next.number > through);
        }
        lanes.retain(|lane| !lane.moves.is_empty());
    }
}

impl Port for Node {
    fn cluster(&self) -> Option<Known<'_>> {
        Some(Known {
            leaders: &self.0.leaders,
            catalog: &self.0.catalog,
        })
    }

    fn routes(&self) -> &Routes {
        &self.0.routes
    }

    fn permit(&self, _: &Request) -> Result<(), Error> {
        Ok(())
    }

    fn command_bytes_max(&self) -> usize {
        1 << 20
    }

    fn is_full(&self, _: ShardId) -> bool {
        false
    }

    fn may_wait(&self, waiting: usize) -> bool {
        waiting < WAITING_MAX
    }

    fn submit(&self, shard: ShardId, request: Request) -> Result<(Ticket, Answered), Error> {
        let (sender, answered) = oneshot::channel();
        let mut state = self.state();
        *state.asked.entry(shard).or_default() += 1;
        if state.mute.contains(&shard) {
            state.unanswered.push(sender);
        } else {
            let response = state.answer(request);
            sender.send(Ok(response)).expect("it is still here");
        }
        let ticket = self.0.tickets.fetch_add(1, Ordering::Relaxed);
        Ok((Ticket(ticket), answered))
    }

    fn cancel(&self, _: ShardId, _: Ticket) {}

    fn give_back(&self, _: ShardId, _: QueueId, _: Vec<Sequence>) {}

    async fn lanes(&self, _: ShardId, queue: QueueId, _: usize) -> Option<Vec<Lane>> {
        let held = {
            let mut state = self.state();
            state.looks += 1;
            if !state.holds_looks {
                return Some(state.lanes.get(&queue).cloned().unwrap_or_default());
            }
            let (sender, receiver) = oneshot::channel();
            state.held_looks.push(sender);
            receiver
        };
        held.await.ok()?;
        None
    }

    async fn applied(&self, _: ShardId) -> Option<u64> {
        None
    }

    async fn bodies(
        &self,
        _: ShardId,
        messages: Vec<Sequence>,
        _: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let state = self.state();
        let readable = |message: &&Sequence| !state.unreadable.contains(message);
        let bodies = messages.iter().take_while(readable);
        Ok(bodies.map(|_| Bytes::from_static(b"body")).collect())
    }

    async fn change_here(&self, _: Command) -> Result<Placed, Error> {
        Err(Error::Unavailable)
    }

    fn peers(&self) -> Vec<u64> {
        Vec::new()
    }

    async fn ask_peer(&self, _: u64, _: PeerRequest) -> Result<PeerResponse, PeerError> {
        Err(PeerError::NotSent)
    }

    fn retries(&self, _: Retry, _: Error) {}

    fn elapsed(&self) -> Duration {
        self.0.begun.elapsed()
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = Arc::clone(&self.0.tasks);
        tasks.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_local(async move {
            task.await;
            tasks.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
