//! The clients: each does one thing after the other and writes down what it was told.

mod history;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::Acknowledge,
    command::{Placed, Reply},
    error::Error,
    id::{QueueId, Sequence},
};

use crate::{
    event::{Event, Happening, MILLISECOND, Micros, Request, Response, SECOND},
    plan::Plan,
    random::Random,
    world::Common,
};

use work::Work;

const QUEUES_MAX: usize = 10;

pub(crate) struct Clients {
    all: Vec<Client>,
    queues: Vec<Queue>,
    events: Vec<anser_check::Event>,
    random: Random,
    counted: u64,
    /// By request.
    asked: BTreeMap<u64, usize>,
    healed: Option<Micros>,
    /// Shards that have lost their quorum for good.
    ruined: BTreeSet<u16>,
}

#[derive(Default)]
struct Client {
    now: Option<Doing>,
    leases: Vec<Lease>,
    names: u64,
    bodies: u64,
    /// The node that answered last.
    door: Option<u64>,
    /// After the chaos: has sent to every queue.
    sent_last: usize,
}

/// A queue that is ready for use.
struct Queue {
    name: String,
    id: QueueId,
    shard: u16,
    is_used: bool,
    /// Every voter must have a message before its sender hears so.
    is_everywhere: bool,
    drain: Drain,
}

#[derive(Debug, Clone, Copy, Default)]
struct Drain {
    begun: Option<Micros>,
    empty: u32,
    ended: Option<Micros>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    queue: usize,
    receipt: Sequence,
}

/// Something that has no result yet.
struct Doing {
    work: Work,
    invoked: Micros,
    /// The attempt that is under way.
    request: Option<u64>,
    door: u64,
}

impl Clients {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            all: (0..plan.clients).map(|_| Client::default()).collect(),
            queues: Vec::new(),
            events: Vec::new(),
            random: Random::new(plan.seed ^ 0x636c_6965_6e74),
            counted: 0,
            asked: BTreeMap::new(),
            healed: None,
            ruined: BTreeSet::new(),
        }
    }

    /// Nothing is expected of these shards any more.
    pub(crate) fn give_up_shards(&mut self, shards: &BTreeSet<u16>) {
        self.ruined.clone_from(shards);
    }

    fn is_given_up(&self, queue: &Queue) -> bool {
        self.ruined.contains(&queue.shard)
    }

    /// The queues that nothing is expected of any more.
    pub(crate) fn queues_given_up(&self) -> BTreeSet<String> {
        let given_up = self.queues.iter().filter(|queue| self.is_given_up(queue));
        given_up.map(|queue| queue.name.clone()).collect()
    }

    pub(crate) fn end_chaos(&mut self, now: Micros) {
        self.healed = Some(now);
        let Self {
            all,
            queues,
            ruined,
            ..
        } = self;
        for client in all {
            client
                .leases
                .retain(|lease| !ruined.contains(&queues[lease.queue].shard));
        }
    }

    pub(crate) fn are_done(&self) -> bool {
        self.queues
            .iter()
            .all(|queue| !queue.is_used || queue.drain.ended.is_some() || self.is_given_up(queue))
            && (!self.queues.is_empty() || !self.ruined.is_empty())
            && self.all.iter().all(|client| client.now.is_none())
    }

    /// What is not done yet.
    pub(crate) fn complaint(&self) -> String {
        let queues = self
            .queues
            .iter()
            .filter(|queue| queue.drain.ended.is_none());
        let queues: Vec<String> = queues
            .map(|queue| {
                format!(
                    "{} of shard {} ({:?})",
                    queue.name, queue.shard, queue.drain
                )
            })
            .collect();
        let doing = self.all.iter().filter_map(|client| client.now.as_ref());
        let doing: Vec<String> = doing.map(|doing| format!("{:?}", doing.work)).collect();
        format!("these are not drained: {queues:?}; clients wait for {doing:?}")
    }

    /// The next attempt, or the next thing to do.
    pub(crate) fn act(&mut self, client: usize, common: &mut Common) {
        if self.all[client].now.is_none() {
            let Some(work) = self.choose(client, common) else {
                return;
            };
            self.all[client].now = Some(Doing {
                work,
                invoked: common.now,
                request: None,
                door: 0,
            });
        }
        self.attempt(client, common);
    }

    fn attempt(&mut self, client: usize, common: &mut Common) {
        let nodes: Vec<u64> = common.lives.keys().copied().collect();
        let known = self.all[client].door.filter(|door| nodes.contains(door));
        let known = known.filter(|_| !self.random.permille(100));
        let Some(door) = known.or_else(|| self.random.pick(&nodes)) else {
            return self.again(client, 100 * MILLISECOND, common);
        };
        let doing = self.all[client].now.as_mut().expect("it does something");
        if doing.request.is_some() {
            return;
        }
        self.counted += 1;
        let number = self.counted;
        doing.request = Some(number);
        doing.door = door;
        let (shard, ask) = doing.work.ask(&self.queues);
        let mut patience = self.random.between(4, 10) * SECOND + doing.work.waits();
        if doing.work.is_receive() && self.healed.is_none() && self.random.permille(80) {
            patience = self.random.between(1, 100) * MILLISECOND;
        }
        common.trace.say(common.now, || {
            format!(
                "client {client} request {number} at node {door}: {:?}",
                doing.work
            )
        });
        self.asked.insert(number, client);
        common.statistics.requests += 1;
        let request = Request { number, shard, ask };
        let life = common.lives[&door];
        let length = common.network.client_delay(&mut common.random);
        common.later(door, life, length, Happening::Request(request));
        let late = Event::Patience {
            client,
            request: number,
        };
        common.agenda.add(common.now + patience, late);
    }

    fn again(&mut self, client: usize, length: Micros, common: &mut Common) {
        let length = self.random.spread(length);
        common
            .agenda
            .add(common.now + length, Event::Client { client });
    }

    /// A client does not wait any longer.
    pub(crate) fn give_up(&mut self, client: usize, request: u64, common: &mut Common) {
        if self.asked.remove(&request).is_none() {
            return;
        }
        let door = self.all[client].now.as_ref().map_or(0, |doing| doing.door);
        self.all[client].door = None;
        // The node hears that the connection is gone.
        if let Some(&life) = common.lives.get(&door) {
            common.later(door, life, 500, Happening::Cancel { request });
        }
        self.finish(client, request, &Response::Refused(Error::Unknown), common);
    }

    pub(crate) fn hear(&mut self, request: u64, response: &Response, common: &mut Common) {
        if let Some(client) = self.asked.remove(&request) {
            let door = self.all[client].now.as_ref().map(|doing| doing.door);
            self.all[client].door = door;
            self.finish(client, request, response, common);
        }
    }

    fn finish(&mut self, client: usize, request: u64, response: &Response, common: &mut Common) {
        common.trace.say(common.now, || {
            format!("client {client} request {request} has {response:?}")
        });
        let now = &mut self.all[client].now;
        let Some(mut doing) = now.take_if(|doing| doing.request == Some(request)) else {
            return;
        };
        let (shard, _) = doing.work.ask(&self.queues);
        let retries = match response {
            _ if self.ruined.contains(&shard) => false,
            Response::Refused(Error::Unavailable | Error::Busy) => !doing.work.is_receive(),
            Response::Refused(Error::Unknown) => {
                doing.work.may_repeat() && !self.waits_for_the_lost(&doing.work)
            }
            _ => false,
        };
        if retries {
            doing.request = None;
            self.all[client].now = Some(doing);
            self.all[client].door = None;
            return self.again(client, 60 * MILLISECOND, common);
        }
        common.trace.numbers(&[5, client as u64, request]);
        let waits = matches!(doing.work, Work::Count { .. });
        self.conclude(client, doing, response, common);
        let pace = match (self.healed, waits) {
            (None, _) => common.plan.pace,
            (Some(_), true) => 200 * MILLISECOND,
            (Some(_), false) => 2 * MILLISECOND,
        };
        self.again(client, pace, common);
    }

    /// Some voters stay away for ever, and a queue that needs them all takes nothing any more.
    fn waits_for_the_lost(&self, work: &Work) -> bool {
        let queue = work.sends_to().map(|queue| &self.queues[queue]);
        self.healed.is_some() && queue.is_some_and(|queue| queue.is_everywhere)
    }

    /// What became of it.
    fn conclude(&mut self, client: usize, doing: Doing, response: &Response, common: &mut Common) {
        if matches!(response, Response::Refused(Error::Unknown)) {
            common.statistics.unknown += 1;
        }
        let Doing { work, invoked, .. } = doing;
        match (&work, response) {
            (Work::Create { .. }, Response::Reply(Reply::Placed(Placed::Queue(placed)))) => {
                self.queues.push(Queue {
                    name: placed.name.to_string(),
                    id: placed.queue,
                    shard: placed.shard.0,
                    is_used: false,
                    is_everywhere: placed
                        .attributes
                        .as_ref()
                        .is_some_and(|attributes| attributes.acknowledge == Acknowledge::All),
                    drain: Drain::default(),
                });
            }
            (Work::Receive { queue, .. }, Response::Messages(messages)) => {
                let queue = *queue;
                let leases = messages.iter().map(|message| Lease {
                    queue,
                    receipt: message.receipt.sequence,
                });
                self.all[client].leases.extend(leases);
                self.note_drain(queue, messages.is_empty(), invoked, common);
            }
            _ => {}
        }
        self.record(client, &work, invoked, response, common);
    }

    /// A queue is drained when nothing can be hidden any more and nothing comes.
    fn note_drain(&mut self, queue: usize, nothing: bool, invoked: Micros, common: &Common) {
        let plan = &common.plan;
        let drain = &mut self.queues[queue].drain;
        let Some(begun) = drain.begun.filter(|&begun| invoked >= begun) else {
            return;
        };
        let hidden = (plan.visibility * 2 + 3_000) * MILLISECOND;
        let settled = self.healed.unwrap_or(0) + 16 * SECOND;
        drain.empty = if nothing { drain.empty + 1 } else { 0 };
        if drain.empty >= 2 && invoked > begun.max(settled) + hidden {
            drain.ended = Some(common.now);
        }
    }
}
