//! The thread that owns some of the shards: takes everything that waits, steps the replicas, then
//! carries out what they ask for. Batching happens here and in the log's writer, nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anser_broker::{
    codec,
    command::{Command, Delivery, Effect, Reply},
    error::Error,
    id::{QueueId, ShardId},
    time::{Millis, Timestamp},
};
use anser_host::{EntryCache, Job, ShardTime};
use anser_replica::{Input, Output, PeerMessage, Replica, Ticket};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use crate::{
    announcements::Announcements,
    bodies::{self, Deliver},
    clock::Clock,
    courier::Errand,
    event::{Event, Look, Request, Responder, Response},
    failure::Failed,
    member::Member,
    routes::Routes,
    status::{Counters, add},
    version::Versions,
};

mod member;
mod survey;

/// Events taken in before the replicas' turns end.
const EVENTS_PER_TURN: usize = 4096;

/// A sleep without an end that still fits every clock.
const NEVER: Millis = Millis(3_600_000);

/// The time between two ticks of consensus.
const TICK: Duration = Duration::from_millis(50);

pub(crate) struct Runner {
    pub(crate) hosted: BTreeMap<ShardId, Hosted>,
    pub(crate) inbox: mpsc::Receiver<Event>,
    pub(crate) itself: mpsc::Sender<Event>,
    pub(crate) writer: mpsc::Sender<Job>,
    /// A shard's body reader is the one at its number modulo their count.
    pub(crate) body_readers: Vec<mpsc::Sender<bodies::Job>>,
    pub(crate) errands: UnboundedSender<Errand>,
    pub(crate) cache: EntryCache<Bytes>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) announcements: Arc<Announcements>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    pub(crate) clock: Clock,
    pub(crate) pending: HashMap<Ticket, Pending>,
    /// `None`: a node for itself.
    pub(crate) member: Option<Member>,
    pub(crate) next_tick: Instant,
}

/// A replica and its time.
pub(crate) struct Hosted {
    pub(crate) replica: Replica,
    pub(crate) time: ShardTime,
}

/// A request that has no answer yet.
pub(crate) struct Pending {
    responder: Responder,
    /// Where a receive leases from.
    queue: Option<QueueId>,
}

impl Runner {
    pub(crate) fn run(mut self) {
        let itself = self.itself.clone();
        self.clock
            .on_advance(Box::new(move || drop(itself.send(Event::Wake))));
        let mut outputs = Vec::new();
        let mut touched: BTreeSet<ShardId> = self.hosted.keys().copied().collect();
        loop {
            self.tick(&mut touched, &mut outputs);
            self.end_turns(&mut touched, &mut outputs);
            let Some(event) = self.next_event() else {
                continue;
            };
            let mut next = Some(event);
            let mut taken = 0;
            while let Some(event) = next {
                if matches!(event, Event::Stop) {
                    self.end_turns(&mut touched, &mut outputs);
                    return;
                }
                self.take(event, &mut touched, &mut outputs);
                taken += 1;
                next = if taken < EVENTS_PER_TURN {
                    self.inbox.try_recv().ok()
                } else {
                    None
                };
            }
        }
    }

    /// The next event, or `None` when something is due by itself.
    fn next_event(&self) -> Option<Event> {
        let now = self.clock.now();
        let due = self.hosted.values().filter_map(|hosted| {
            let deadline = hosted.replica.next_deadline()?;
            Some(deadline - hosted.time.now(&now))
        });
        let sleep = match due.min() {
            Some(Millis(0)) => return self.inbox.try_recv().ok(),
            Some(sleep) => sleep.min(NEVER),
            None => NEVER,
        };
        let mut sleep = self.clock.sleep_for(sleep);
        if self.needs_ticks() {
            sleep = sleep.min(self.next_tick.saturating_duration_since(Instant::now()));
        }
        self.inbox.recv_timeout(sleep).ok()
    }

    fn needs_ticks(&self) -> bool {
        self.member.is_some()
            && self
                .hosted
                .values()
                .any(|hosted| hosted.replica.needs_ticks())
    }

    /// However long the thread was held up, one tick follows: nobody is to be thought dead for this
    /// node's own sleep.
    fn tick(&mut self, touched: &mut BTreeSet<ShardId>, outputs: &mut Vec<(ShardId, Output)>) {
        let now = Instant::now();
        if now < self.next_tick || !self.needs_ticks() {
            return;
        }
        self.next_tick = now + TICK;
        let shards: Vec<ShardId> = self.hosted.keys().copied().collect();
        for shard in shards {
            self.step(shard, Input::Tick, touched, outputs);
        }
    }

    fn take(
        &mut self,
        event: Event,
        touched: &mut BTreeSet<ShardId>,
        outputs: &mut Vec<(ShardId, Output)>,
    ) {
        let (shard, input) = match event {
            Event::Request {
                shard,
                ticket,
                request,
                responder,
            } => {
                if !self.hosted.contains_key(&shard) {
                    // Whoever asked may be gone.
                    responder.send(Err(Error::Unavailable));
                    return;
                }
                let queue = match &request {
                    Request::Receive(receive) => Some(receive.queue),
                    _ => None,
                };
                self.pending.insert(ticket, Pending { responder, queue });
                (shard, input_of(ticket, request))
            }
            Event::Cancel { shard, ticket } => (shard, Input::Cancel { ticket }),
            Event::GiveBack {
                shard,
                queue,
                receipts,
            } => {
                let command = codec::encode(&Command::ReturnLeases { queue, receipts });
                let ticket = None;
                (shard, Input::Propose { ticket, command })
            }
            Event::Durable { shard, number } => (shard, Input::Durable { number }),
            Event::Peer { shard, message } => match PeerMessage::decode(message) {
                Ok(message) => {
                    if message.is_from_leader() {
                        self.host(shard);
                    }
                    (shard, Input::Message(message))
                }
                Err(error) => {
                    return warn!(shard = shard.0, %error, "a peer's message is not usable");
                }
            },
            Event::Unreachable { node } => {
                let shards: Vec<ShardId> = self.hosted.keys().copied().collect();
                for shard in shards {
                    self.step(shard, Input::Unreachable { node }, touched, outputs);
                }
                return;
            }
            Event::Order(order) => {
                if let Some((shard, input)) = self.ordered(order) {
                    self.step(shard, input, touched, outputs);
                }
                return;
            }
            Event::Look { shard, look } => return self.look(shard, look),
            Event::Survey(sender) => return self.survey(&sender),
            Event::Forgot { shard } => return self.forgot(shard),
            Event::Wake | Event::Stop => return,
            of_a_copy => self.input_of_copy(of_a_copy),
        };
        self.step(shard, input, touched, outputs);
    }

    /// Steps the shard's replica, if there is one: it may have moved away a moment ago.
    fn step(
        &mut self,
        shard: ShardId,
        input: Input,
        touched: &mut BTreeSet<ShardId>,
        outputs: &mut Vec<(ShardId, Output)>,
    ) {
        let Some(hosted) = self.hosted.get_mut(&shard) else {
            return;
        };
        let mut stepped = Vec::new();
        let now = hosted.time.now(&self.clock.now());
        hosted.replica.step(now, input, &mut stepped);
        outputs.extend(stepped.into_iter().map(|output| (shard, output)));
        touched.insert(shard);
    }

    fn end_turns(&mut self, touched: &mut BTreeSet<ShardId>, outputs: &mut Vec<(ShardId, Output)>) {
        let mut turned = Vec::new();
        let now = self.clock.now();
        for (&shard, hosted) in &mut self.hosted {
            let due = || {
                let deadline = hosted.replica.next_deadline();
                deadline.is_some_and(|deadline| deadline <= hosted.time.now(&now))
            };
            if touched.contains(&shard) || due() {
                hosted.replica.turn(hosted.time.stamp(&now), &mut turned);
                outputs.extend(turned.drain(..).map(|output| (shard, output)));
                touched.insert(shard);
            }
        }
        for (shard, output) in outputs.drain(..) {
            self.carry_out(shard, output);
        }
        self.end_turns_among_peers(touched);
        touched.clear();
    }

    fn carry_out(&mut self, shard: ShardId, output: Output) {
        match output {
            Output::Append(append) => {
                // A writer that is gone has failed and said so; nothing is acknowledged any more.
                drop(self.writer.send(Job::Append { shard, append }));
            }
            Output::Applied { index, payload } => {
                self.applied(shard, index);
                if codec::body(&payload, 0).is_some() {
                    self.cache.put(shard, index, payload);
                }
            }
            Output::Effect(effect) => self.heed(shard, effect),
            Output::Reply { ticket, reply } => self.reply(shard, ticket, reply),
            Output::Answer { ticket, answer } => self.send(ticket, Ok(Response::Answer(answer))),
            Output::Refuse { ticket, error } => self.send(ticket, Err(error)),
            Output::LeadershipChanged { leads } => self.leadership(shard, leads),
            Output::Failed(reason) => {
                error!(shard = shard.0, %reason, "a replica cannot go on");
                self.failed.set(format!("shard {}: {reason}", shard.0));
            }
            among_peers => self.carry_out_among_peers(shard, among_peers),
        }
    }

    fn heed(&mut self, shard: ShardId, effect: Effect) {
        match effect {
            Effect::RouteChanged(placed) => {
                self.routes.change(&placed);
                self.announce_late(&placed);
            }
            Effect::MovesPending { queue } => {
                // The courier ends only with the node.
                drop(self.errands.send(Errand::Moves { shard, queue }));
            }
            Effect::Unsettled(placed) => drop(self.errands.send(Errand::Place(placed))),
            Effect::OutboxReady { subscription } => self.announcements.announce(subscription),
            Effect::NodesChanged => self.nodes_changed(shard),
            Effect::QueueReady { .. } | Effect::QueueGone { .. } => {}
        }
    }

    /// Who begins to lead finds what its predecessor left undone.
    fn leadership(&mut self, shard: ShardId, leads: bool) {
        info!(shard = shard.0, leads, "leadership");
        if leads {
            let hosted = self.hosted.get_mut(&shard).expect("it has just spoken");
            let stamp = stamp_of(&hosted.replica);
            hosted.time.lead(stamp, &self.clock.now());
        }
        // Before the announcements: a pusher that does not see this node lead leaves them to another.
        self.leads(shard, leads);
        if leads {
            let hosted = &self.hosted[&shard];
            let state = hosted.replica.shard();
            for queue in state.queues_with_moves() {
                drop(self.errands.send(Errand::Moves { shard, queue }));
            }
            for placed in state.unsettled() {
                drop(self.errands.send(Errand::Place(placed)));
            }
            for subscription in state.outboxes_ready() {
                self.announcements.announce(subscription);
            }
        }
    }

    fn reply(&mut self, shard: ShardId, ticket: Ticket, reply: Reply) {
        match reply {
            Reply::Received { deliveries } if deliveries.is_empty() => {
                self.send(ticket, Ok(Response::Messages(Vec::new())));
            }
            Reply::Received { deliveries } => self.deliver(shard, ticket, deliveries),
            Reply::Refused(error) => self.send(ticket, Err(error)),
            reply => self.send(ticket, Ok(Response::Reply(reply))),
        }
    }

    fn send(&mut self, ticket: Ticket, response: Result<Response, Error>) {
        let pending = self
            .pending
            .remove(&ticket)
            .expect("each ticket has one output");
        // Whoever asked may be gone, and then nobody wants the answer.
        pending.responder.send(response);
    }

    fn deliver(&mut self, shard: ShardId, ticket: Ticket, deliveries: Vec<Delivery>) {
        let pending = self
            .pending
            .remove(&ticket)
            .expect("each ticket has one output");
        let queue = pending
            .queue
            .expect("only a receive is answered with deliveries");
        let bodies: Option<Vec<Bytes>> = deliveries
            .iter()
            .map(|delivery| {
                let payload = self.cache.get(shard, delivery.message.index())?;
                codec::body(payload, delivery.message.ordinal())
            })
            .collect();
        let Some(bodies) = bodies else {
            add(&self.counters.cache_misses, deliveries.len() as u64);
            return self.read_and_deliver(shard, queue, deliveries, pending.responder);
        };
        add(&self.counters.cache_hits, deliveries.len() as u64);
        let messages = anser_host::messages(shard, &deliveries, bodies);
        if !pending.responder.send(Ok(Response::Messages(messages))) {
            bodies::give_back(&self.itself, shard, queue, &deliveries);
        }
    }

    fn read_and_deliver(
        &self,
        shard: ShardId,
        queue: QueueId,
        deliveries: Vec<Delivery>,
        responder: Responder,
    ) {
        let runner = self.itself.clone();
        let job = Deliver {
            shard,
            queue,
            deliveries,
            responder,
            runner,
        };
        self.read(shard, bodies::Job::Deliver(job));
    }

    fn read(&self, shard: ShardId, job: bodies::Job) {
        let reader = usize::from(shard.0) % self.body_readers.len();
        // Body readers end after the runners; a lease that nobody hears of ends by itself.
        drop(self.body_readers[reader].send(job));
    }

    /// Whoever looks for a replica that is not here hears so by the end of its channel.
    fn look(&self, shard: ShardId, look: Look) {
        let Some(Hosted { replica, .. }) = self.hosted.get(&shard) else {
            return;
        };
        // Whoever looks may have given up waiting.
        match look {
            Look::Image(sender) => drop(sender.send(replica.image())),
            // What this state has not seen may be a copy's that is just being installed.
            Look::AnyLive(ranges, sender) => {
                let alive = |&(first, last): &(u64, u64)| {
                    last > replica.applied().index || replica.shard().any_live_between(first, last)
                };
                drop(sender.send(ranges.iter().map(alive).collect()));
            }
            Look::Live(_, last, _) if last > replica.applied().index => {}
            Look::Live(first, last, sender) => {
                drop(sender.send(replica.shard().live_between(first, last)));
            }
            Look::Moves(queue, sender) if replica.serves() => {
                let moves = replica.shard().moves(queue, crate::courier::MOVES_AT_ONCE);
                drop(sender.send(moves));
            }
            Look::Moves(..) => {}
            Look::Followers(sender) => drop(sender.send(survey::followers(replica))),
            Look::Applied(sender) => drop(sender.send(replica.applied().index)),
        }
    }
}

fn input_of(ticket: Ticket, request: Request) -> Input {
    match request {
        Request::Propose(command) => Input::Propose {
            ticket: Some(ticket),
            command,
        },
        Request::Receive(request) => Input::Receive { ticket, request },
        Request::Read(query) => Input::Read { ticket, query },
    }
}

/// The latest stamp that the shard has seen.
fn stamp_of(replica: &Replica) -> Timestamp {
    replica.shard().now().now
}
