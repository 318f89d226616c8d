//! The shards that one thread owns: takes everything that waits, steps the replicas, then says what they
//! ask for. Batching happens here and in the log's writer, nowhere else.
//!
//! The shell takes events in with [`Runner::take`], ends the turn with [`Runner::end_turns`], carries out every
//! [`Runner::next_job`] in this order, and comes again with an event or at [`Runner::next_wake`], or [`Runner::next_tick`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use anser_broker::{
    codec,
    command::{Command, Delivery, Effect, Reply},
    error::Error,
    id::{QueueId, ShardId},
    shard::Shard,
    time::{Millis, Timestamp},
};
use anser_replica::{Failure, Image, Input, Output, Replica, Ticket, Tombstone};
use bytes::Bytes;

use crate::{
    bodies::messages,
    cache::EntryCache,
    clock::{Now, ShardTime},
    event::{Event, Request, Response},
    job::{CatalogNodes, Job, Leases},
    mending::Mending,
    writer,
};

mod member;
mod wounds;

/// The time between two ticks of consensus.
const TICK: Duration = Duration::from_millis(50);

/// What a runner begins with.
#[derive(Debug)]
pub struct Beginning {
    pub node: u64,
    /// Shards of the whole cluster.
    pub shards: u16,
    /// Names this start of the node: no other of it has the same.
    pub run: u64,
    /// Of applied entries at hand for receivers.
    pub cache_bytes: usize,
    /// At most so much of the time that the node was off counts for shards that it decides alone.
    pub time_off_max: Millis,
    pub replicas: Vec<(ShardId, Replica)>,
    /// Of which the disk has something damaged, and what.
    pub damaged: Vec<(ShardId, String)>,
    /// Shards that could not be opened.
    pub closed: Vec<Closed>,
}

/// A shard of which too much is damaged for a replica: it is here and takes part in nothing, until the others have let
/// go of it.
#[derive(Debug, Clone)]
pub struct Closed {
    pub shard: ShardId,
    pub tombstone: Tombstone,
    /// What is damaged.
    pub what: String,
}

/// `T` is what the shell keeps of whoever asked.
#[derive(Debug)]
pub struct Runner<T> {
    node: u64,
    shards: u16,
    run: u64,
    hosted: BTreeMap<ShardId, Hosted>,
    pending: Pending<T>,
    cache: EntryCache<Bytes>,
    /// Replicas that something happened to since their turn ended.
    touched: BTreeSet<ShardId>,
    /// Replicas whose turn has ended last.
    turned: Vec<ShardId>,
    outputs: VecDeque<(ShardId, Output)>,
    /// What is to be done before the outputs.
    jobs: VecDeque<Job<T>>,
    next_tick: Duration,
    /// Shards that are being taken off the disk, as they were last.
    forgetting: BTreeMap<ShardId, Image>,
    /// Of the replicas that were here.
    tombstones: BTreeMap<ShardId, Tombstone>,
    /// What was found first, of each shard of which the disk has something damaged.
    damaged: BTreeMap<ShardId, String>,
    /// What is being mended, and does not count as damaged meanwhile.
    mending: Mending,
    /// Of the damaged ones, those that could not be opened, with what is left of their replicas.
    closed: BTreeMap<ShardId, Tombstone>,
    failed_reads: BTreeMap<ShardId, member::FailedReads>,
    /// How many replicas began here.
    begun: u64,
    said_unreachable: BTreeMap<u64, Duration>,
    memory_bytes: Option<usize>,
}

/// A replica and its time.
#[derive(Debug)]
struct Hosted {
    replica: Replica,
    time: ShardTime,
}

impl Hosted {
    /// Until the replica leads, its time is what the entries of its leaders say. That is so before anything is done with
    /// what came of a step: the very next one, whenever it is, goes by this time.
    fn keep_time(&mut self, outputs: &[Output], now: &Now) {
        let stamp = stamp_of(&self.replica);
        for output in outputs {
            match output {
                Output::Applied { .. } if self.replica.serves() => self.time.made(stamp),
                Output::Applied { .. } => self.time.follow(stamp, now),
                Output::TimeTold(told) if told.stamp == stamp => self.time.hear(*told, now),
                Output::LeadershipChanged { leads: true } => self.time.lead(stamp, now),
                Output::LeadershipChanged { leads: false } => self.time.cease(),
                _ => {}
            }
        }
    }
}

/// Requests that have no answer yet.
#[expect(
    clippy::disallowed_types,
    reason = "looked up for every request, and never walked"
)]
type Pending<T> = std::collections::HashMap<Ticket, Waiting<T>>;

#[derive(Debug)]
struct Waiting<T> {
    asker: T,
    /// Where a receive leases from.
    queue: Option<QueueId>,
}

impl<T> Runner<T> {
    pub fn new(beginning: Beginning, now: &Now) -> Self {
        let closed = beginning.closed.iter();
        let of_closed = closed.clone().map(|it| (it.shard, it.what.clone()));
        let replicas = beginning.replicas.into_iter();
        let hosted: BTreeMap<ShardId, Hosted> = replicas
            .map(|(shard, replica)| {
                let time = ShardTime::of(&replica, now, beginning.time_off_max);
                (shard, Hosted { replica, time })
            })
            .collect();
        Self {
            node: beginning.node,
            shards: beginning.shards,
            run: beginning.run,
            pending: Pending::new(),
            cache: EntryCache::new(beginning.cache_bytes),
            touched: hosted.keys().copied().collect(),
            turned: Vec::new(),
            hosted,
            outputs: VecDeque::new(),
            jobs: VecDeque::new(),
            next_tick: now.beat,
            forgetting: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            damaged: of_closed.chain(beginning.damaged).collect(),
            failed_reads: BTreeMap::new(),
            mending: Mending::default(),
            closed: closed.map(|it| (it.shard, it.tombstone)).collect(),
            begun: 0,
            said_unreachable: BTreeMap::new(),
            memory_bytes: None,
        }
    }

    /// For the simulator: replicas keep fewer bytes of applied entries, so that followers soon need the log.
    #[doc(hidden)]
    pub fn set_memory_bytes(&mut self, bytes: usize) {
        self.memory_bytes = Some(bytes);
        for hosted in self.hosted.values_mut() {
            hosted.replica.set_memory_bytes(bytes);
        }
    }

    pub fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.hosted.get(&shard).map(|hosted| &hosted.replica)
    }

    /// The state of a shard, for maintenance. Of one that is being taken off the disk it is the last: until that is
    /// done, the log still has its entries, and what others wrote between them could not be recycled.
    pub fn image(&self, shard: ShardId) -> Option<Image> {
        let image = self.replica(shard).map(Replica::image);
        image.or_else(|| self.forgetting.get(&shard).cloned())
    }

    /// As [`Runner::image`], of all shards.
    pub fn images(&self) -> BTreeMap<ShardId, Image> {
        let left = self.forgetting.iter();
        let left = left.map(|(&shard, image)| (shard, image.clone()));
        let here = self
            .replicas()
            .map(|(shard, replica)| (shard, replica.image()));
        left.chain(here).collect()
    }

    pub fn replicas(&self) -> impl Iterator<Item = (ShardId, &Replica)> {
        let hosted = self.hosted.iter();
        hosted.map(|(&shard, hosted)| (shard, &hosted.replica))
    }

    /// The shards that could not be opened.
    pub fn closed(&self) -> impl Iterator<Item = ShardId> {
        self.closed.keys().copied()
    }

    /// The shards of which the disk has something damaged, each with what was found first.
    pub fn damaged(&self) -> impl Iterator<Item = (ShardId, &str)> {
        let damaged = self.damaged.iter();
        damaged.map(|(&shard, what)| (shard, what.as_str()))
    }

    /// The time of a shard, for whoever reads a trace.
    pub fn time_of(&self, shard: ShardId, now: &Now) -> Option<Timestamp> {
        self.hosted.get(&shard).map(|hosted| hosted.time.now(now))
    }

    /// The replicas whose turn has ended last.
    pub fn turned(&self) -> &[ShardId] {
        &self.turned
    }

    /// When to end a turn even if nothing happens, by the clock that never jumps.
    pub fn next_wake(&self) -> Option<Duration> {
        if !self.touched.is_empty() || !self.jobs.is_empty() || !self.outputs.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.hosted.values().filter_map(|hosted| {
            let deadline = hosted.replica.next_deadline()?;
            Some(hosted.time.moment_of(deadline))
        });
        due.min()
    }

    /// When consensus wants its next tick, by [`Now::beat`]: then too a turn is to be ended.
    pub fn next_tick(&self) -> Option<Duration> {
        self.needs_ticks().then_some(self.next_tick)
    }

    fn needs_ticks(&self) -> bool {
        let mut hosted = self.hosted.values();
        hosted.any(|hosted| hosted.replica.needs_ticks())
    }

    pub fn take(&mut self, now: &Now, event: Event<T>) {
        match event {
            Event::Request {
                shard,
                ticket,
                request,
                asker,
            } => self.request(now, shard, ticket, request, asker),
            Event::Cancel { shard, ticket } => self.step(now, shard, Input::Cancel { ticket }),
            Event::GiveBack {
                shard,
                queue,
                receipts,
            } => {
                let command = codec::encode(&Command::ReturnLeases { queue, receipts });
                let ticket = None;
                self.step(now, shard, Input::Propose { ticket, command });
            }
            Event::Durable { shard, number } => self.step(now, shard, Input::Durable { number }),
            of_a_member => self.take_as_member(now, of_a_member),
        }
    }

    fn request(&mut self, now: &Now, shard: ShardId, ticket: Ticket, request: Request, asker: T) {
        if !self.hosted.contains_key(&shard) {
            let response = Err(Error::Unavailable);
            return self.jobs.push_back(Job::Respond { asker, response });
        }
        let queue = match &request {
            Request::Receive(receive) => Some(receive.queue),
            Request::Propose(_) | Request::Read(_) => None,
        };
        self.pending.insert(ticket, Waiting { asker, queue });
        let input = match request {
            Request::Propose(command) => Input::Propose {
                ticket: Some(ticket),
                command,
            },
            Request::Receive(request) => Input::Receive { ticket, request },
            Request::Read(query) => Input::Read { ticket, query },
        };
        self.step(now, shard, input);
    }

    /// Steps the shard's replica, if there is one: it may have moved away a moment ago.
    fn step(&mut self, now: &Now, shard: ShardId, input: Input) {
        let Some(hosted) = self.hosted.get_mut(&shard) else {
            return;
        };
        let mut stepped = Vec::new();
        hosted
            .replica
            .step(hosted.time.now(now), input, &mut stepped);
        hosted.keep_time(&stepped, now);
        self.outputs
            .extend(stepped.into_iter().map(|output| (shard, output)));
        self.touched.insert(shard);
    }

    /// Steps every replica.
    fn step_all(&mut self, now: &Now, input: impl Fn() -> Input) {
        let shards: Vec<ShardId> = self.hosted.keys().copied().collect();
        for shard in shards {
            self.step(now, shard, input());
        }
    }

    /// However long the thread was held up, one tick follows: nobody is to be thought dead for this
    /// node's own sleep.
    fn tick(&mut self, now: &Now) {
        if now.beat >= self.next_tick && self.needs_ticks() {
            self.next_tick = now.beat + TICK;
            self.step_all(now, || Input::Tick);
        }
    }

    /// Ends the turns of all replicas that something happened to, or that have something due.
    pub fn end_turns(&mut self, now: &Now) {
        self.tick(now);
        self.turned.clear();
        let mut turned = Vec::new();
        for (&shard, hosted) in &mut self.hosted {
            let due = || {
                let deadline = hosted.replica.next_deadline();
                deadline.is_some_and(|deadline| deadline <= hosted.time.now(now))
            };
            if self.touched.contains(&shard) || due() {
                hosted.replica.turn(hosted.time.stamp(now), &mut turned);
                hosted.keep_time(&turned, now);
                let turned = turned.drain(..);
                self.outputs.extend(turned.map(|output| (shard, output)));
                self.turned.push(shard);
            }
        }
        self.touched.clear();
    }

    /// The next thing that is to be done, until there is nothing more.
    pub fn next_job(&mut self) -> Option<Job<T>> {
        loop {
            if let Some(job) = self.jobs.pop_front() {
                return Some(job);
            }
            let (shard, output) = self.outputs.pop_front()?;
            if let Some(job) = self.job_of(shard, output) {
                return Some(job);
            }
        }
    }

    fn job_of(&mut self, shard: ShardId, output: Output) -> Option<Job<T>> {
        Some(match output {
            Output::Append(append) => Job::Write(writer::Job::Append { shard, append }),
            Output::Applied { index, payload } => {
                if codec::body(&payload, 0).is_some() {
                    self.cache.put(shard, index, payload);
                }
                Job::Applied { shard, index }
            }
            Output::Effect(Effect::QueueReady { .. } | Effect::QueueGone { .. })
            | Output::TimeTold(_) => return None,
            Output::Effect(Effect::NodesChanged) => {
                Job::NodesChanged(catalog_nodes(self.state(shard)?))
            }
            Output::Effect(effect) => Job::Effect { shard, effect },
            Output::Reply { ticket, reply } => self.reply(shard, ticket, reply),
            Output::Answer { ticket, answer } => self.respond(ticket, Ok(Response::Answer(answer))),
            Output::Refuse { ticket, error } => self.respond(ticket, Err(error)),
            Output::LeadershipChanged { leads } => self.leadership(shard, leads)?,
            Output::Failed(Failure::LostEntries { committed, last }) => {
                Job::Write(writer::Job::Defer(writer::Deferred::Lose {
                    shard,
                    committed,
                    last,
                }))
            }
            Output::Failed(reason) => Job::Failed { shard, reason },
            among_peers => Self::job_among_peers(shard, among_peers),
        })
    }

    fn state(&self, shard: ShardId) -> Option<&Shard> {
        Some(self.hosted.get(&shard)?.replica.shard())
    }

    /// Who begins to lead finds what its predecessor left undone.
    fn leadership(&mut self, shard: ShardId, leads: bool) -> Option<Job<T>> {
        let hosted = self.hosted.get_mut(&shard)?;
        let (term, _) = hosted.replica.leader();
        if leads {
            let state = hosted.replica.shard();
            let moves = state.queues_with_moves().into_iter();
            let moves = moves.map(|queue| Effect::MovesPending { queue });
            let unsettled = state.unsettled().into_iter().map(Effect::Unsettled);
            let ready = state.outboxes_ready().into_iter();
            let ready = ready.map(|subscription| Effect::OutboxReady { subscription });
            let effects = moves.chain(unsettled).chain(ready);
            self.jobs
                .extend(effects.map(|effect| Job::Effect { shard, effect }));
        }
        Some(Job::Leadership { shard, term, leads })
    }

    fn reply(&mut self, shard: ShardId, ticket: Ticket, reply: Reply) -> Job<T> {
        match reply {
            Reply::Received { deliveries } if deliveries.is_empty() => {
                self.respond(ticket, Ok(Response::Messages(Vec::new())))
            }
            Reply::Received { deliveries } => self.deliver(shard, ticket, deliveries),
            Reply::Refused(error) => self.respond(ticket, Err(error)),
            reply => self.respond(ticket, Ok(Response::Reply(reply))),
        }
    }

    fn respond(&mut self, ticket: Ticket, response: Result<Response, Error>) -> Job<T> {
        let Waiting { asker, .. } = self.answered(ticket);
        Job::Respond { asker, response }
    }

    fn answered(&mut self, ticket: Ticket) -> Waiting<T> {
        let waiting = self.pending.remove(&ticket);
        waiting.expect("each ticket has one output")
    }

    fn deliver(&mut self, shard: ShardId, ticket: Ticket, deliveries: Vec<Delivery>) -> Job<T> {
        let Waiting { asker, queue } = self.answered(ticket);
        let queue = queue.expect("only a receive is answered with deliveries");
        let at_hand = deliveries.iter().map(|delivery| {
            let payload = self.cache.get(shard, delivery.message.index())?;
            codec::body(payload, delivery.message.ordinal())
        });
        let bodies: Option<Vec<Bytes>> = at_hand.collect();
        let messages = bodies.map(|bodies| messages(shard, &deliveries, bodies));
        let leases = Leases {
            shard,
            queue,
            deliveries,
        };
        match messages {
            Some(messages) => Job::HandOver {
                asker,
                leases,
                messages,
            },
            None => Job::Deliver { asker, leases },
        }
    }
}

/// The latest stamp that the shard has seen.
fn stamp_of(replica: &Replica) -> Timestamp {
    replica.shard().now().now
}

fn catalog_nodes(catalog: &Shard) -> CatalogNodes {
    CatalogNodes {
        nodes: catalog.nodes(),
        version: catalog.version(),
    }
}
