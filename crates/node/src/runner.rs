//! The thread that owns some of the shards: takes everything that waits, steps the replicas, then
//! carries out what they ask for. Batching happens here and in the log's writer, nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, mpsc},
};

use anser_broker::{
    codec,
    command::{Command, Delivery, Effect, Reply},
    error::Error,
    id::{QueueId, ShardId},
    time::{Millis, Timestamp},
};
use anser_replica::{Input, Output, Replica, Ticket};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info};

use crate::{
    announcements::Announcements,
    bodies::{self, Deliver},
    cache::EntryCache,
    clock::{Clock, ShardTime},
    courier::Errand,
    event::{Event, Look, Request, Responder, Response},
    failure::Failed,
    routes::Routes,
    status::{Counters, ShardStatus, add},
    writer,
};

/// Events taken in before the replicas' turns end.
const EVENTS_PER_TURN: usize = 4096;

/// A sleep without an end that still fits every clock.
const NEVER: Millis = Millis(3_600_000);

pub(crate) struct Runner {
    pub(crate) replicas: BTreeMap<ShardId, Replica>,
    pub(crate) inbox: mpsc::Receiver<Event>,
    pub(crate) itself: mpsc::Sender<Event>,
    pub(crate) writer: mpsc::Sender<writer::Job>,
    /// A shard's body reader is the one at its number modulo their count.
    pub(crate) body_readers: Vec<mpsc::Sender<bodies::Job>>,
    pub(crate) errands: UnboundedSender<Errand>,
    pub(crate) cache: EntryCache<Bytes>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) announcements: Arc<Announcements>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    pub(crate) time: ShardTime,
    pub(crate) clock: Clock,
    pub(crate) pending: HashMap<Ticket, Pending>,
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
        let mut touched: BTreeSet<ShardId> = self.replicas.keys().copied().collect();
        loop {
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
        let now = self.time.now();
        let sleep = match self.next_deadline() {
            Some(deadline) if deadline <= now => return self.inbox.try_recv().ok(),
            Some(deadline) => (deadline - now).min(NEVER),
            None => NEVER,
        };
        self.inbox.recv_timeout(self.clock.sleep_for(sleep)).ok()
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.replicas
            .values()
            .filter_map(Replica::next_deadline)
            .min()
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
            Event::Look { shard, look } => return self.look(shard, look),
            Event::Wake | Event::Stop => return,
        };
        let replica = self
            .replicas
            .get_mut(&shard)
            .expect("requests go to the shard's runner");
        let now = self.time.now();
        let mut stepped = Vec::new();
        replica.step(now, input, &mut stepped);
        outputs.extend(stepped.into_iter().map(|output| (shard, output)));
        touched.insert(shard);
    }

    fn end_turns(&mut self, touched: &mut BTreeSet<ShardId>, outputs: &mut Vec<(ShardId, Output)>) {
        let stamp = self.time.stamp();
        let mut turned = Vec::new();
        for (&shard, replica) in &mut self.replicas {
            let due = replica
                .next_deadline()
                .is_some_and(|deadline| deadline <= stamp.now);
            if due || touched.contains(&shard) {
                replica.turn(stamp, &mut turned);
                outputs.extend(turned.drain(..).map(|output| (shard, output)));
            }
        }
        touched.clear();
        for (shard, output) in outputs.drain(..) {
            self.carry_out(shard, output);
        }
    }

    fn carry_out(&mut self, shard: ShardId, output: Output) {
        match output {
            Output::Append(append) => {
                let job = writer::Job {
                    shard,
                    append,
                    runner: self.itself.clone(),
                };
                // A writer that is gone has failed and said so; nothing is acknowledged any more.
                drop(self.writer.send(job));
            }
            Output::Applied { index, payload } => {
                if codec::body(&payload, 0).is_some() {
                    self.cache.put(shard, index, payload);
                }
            }
            Output::Effect(effect) => self.heed(shard, effect),
            Output::Reply { ticket, reply } => self.reply(shard, ticket, reply),
            Output::Answer { ticket, answer } => self.send(ticket, Ok(Response::Answer(answer))),
            Output::Refuse { ticket, error } => self.send(ticket, Err(error)),
            Output::LeadershipChanged { leads } => info!(shard = shard.0, leads, "leadership"),
            Output::Failed(reason) => {
                error!(shard = shard.0, %reason, "a replica cannot go on");
                self.failed.set(format!("shard {}: {reason}", shard.0));
            }
        }
    }

    fn heed(&mut self, shard: ShardId, effect: Effect) {
        match effect {
            Effect::RouteChanged(placed) => self.routes.change(&placed),
            Effect::MovesPending { queue } => {
                // The courier ends only with the node.
                drop(self.errands.send(Errand::Moves { shard, queue }));
            }
            Effect::Unsettled(placed) => drop(self.errands.send(Errand::Place(placed))),
            Effect::OutboxReady { subscription } => self.announcements.announce(subscription),
            Effect::QueueReady { .. } | Effect::QueueGone { .. } => {}
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
        let messages = bodies::messages(shard, &deliveries, bodies);
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
        let reader = usize::from(shard.0) % self.body_readers.len();
        // Body readers end after the runners; a lease that nobody hears of ends by itself.
        drop(self.body_readers[reader].send(bodies::Job::Deliver(job)));
    }

    fn look(&self, shard: ShardId, look: Look) {
        let replica = &self.replicas[&shard];
        // Whoever looks may have given up waiting.
        match look {
            Look::Image(sender) => drop(sender.send(replica.image())),
            Look::AnyLive(ranges, sender) => {
                let alive =
                    |&(first, last): &(u64, u64)| replica.shard().any_live_between(first, last);
                drop(sender.send(ranges.iter().map(alive).collect()));
            }
            Look::Live(first, last, sender) => {
                drop(sender.send(replica.shard().live_between(first, last)));
            }
            Look::Moves(queue, sender) => {
                let moves = replica.shard().moves(queue, crate::courier::MOVES_AT_ONCE);
                drop(sender.send(moves));
            }
            Look::Status(sender) => drop(sender.send(status(shard, replica))),
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

fn status(shard: ShardId, replica: &Replica) -> ShardStatus {
    ShardStatus {
        shard: shard.0,
        serves: replica.serves(),
        applied: replica.applied().index,
        totals: replica.shard().totals(),
    }
}
