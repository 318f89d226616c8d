//! The clients: each does one thing after the other and writes down what it was told.

mod choice;
mod history;
mod queues;
mod topics;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    command::{Placed, PlacedQueue, Reply},
    error::Error,
    id::{AccountId, Sequence},
};

use crate::{
    coverage::sometimes,
    event::{Event, Happening, MILLISECOND, Micros, Request, Response, SECOND},
    plan::Plan,
    random::Random,
    world::Common,
};

use queues::{Fate, Gets, Queue};
use topics::Topics;
use work::Work;

const QUEUES_MAX: usize = 10;
/// How long messages are on their way to another queue at most, when nothing goes wrong any more.
const CARRIED_WITHIN: Micros = 15 * SECOND;

pub(crate) struct Clients {
    all: Vec<Client>,
    queues: Vec<Queue>,
    topics: Topics,
    events: Vec<anser_check::Event>,
    random: Random,
    /// About the most bytes of a body.
    body_bytes: usize,
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
    /// A queue that it has changed a moment ago, and changes again.
    changes_again: Option<usize>,
    /// Of queues that it has deleted.
    free_names: Vec<String>,
    bodies: u64,
    /// The node that answered last.
    door: Option<u64>,
    /// After the chaos: has sent to every queue.
    sent_last: usize,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    queue: usize,
    receipt: Sequence,
}

/// Two clients at a time use the same names, in two accounts.
fn account_of(client: usize) -> AccountId {
    AccountId(1 + (client % 2) as u64)
}

/// Something that has no result yet.
struct Doing {
    work: Work,
    invoked: Micros,
    /// The attempt that is under way.
    request: Option<u64>,
    door: u64,
    /// An earlier attempt had no answer: it may have happened, or be still on its way.
    is_unsure: bool,
}

impl Clients {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            all: (0..plan.clients).map(|_| Client::default()).collect(),
            queues: Vec::new(),
            topics: Topics::default(),
            events: Vec::new(),
            random: Random::new(plan.seed ^ 0x636c_6965_6e74),
            body_bytes: plan.body_bytes,
            counted: 0,
            asked: BTreeMap::new(),
            healed: None,
            ruined: BTreeSet::new(),
        }
    }

    /// Nothing is expected of these shards any more.
    pub(crate) fn give_up_shards(&mut self, shards: &BTreeSet<u16>) {
        self.ruined.extend(shards);
    }

    /// Its shard is gone, or the catalog is, which would have to know that it is deleted.
    fn is_given_up(&self, queue: &Queue) -> bool {
        let lives = queue.lives() || !self.ruined.contains(&0);
        self.ruined.contains(&queue.shard) || !lives
    }

    /// The queues that nothing is expected of any more.
    pub(crate) fn queues_given_up(&self) -> BTreeSet<String> {
        let given_up = self.queues.iter().filter(|queue| self.is_given_up(queue));
        given_up.map(Queue::title).collect()
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
            .all(|queue| queue.is_done() || self.is_given_up(queue))
            && (!self.queues.is_empty() || !self.ruined.is_empty())
            && self.all.iter().all(|client| client.now.is_none())
    }

    /// What is not done yet.
    pub(crate) fn complaint(&self) -> String {
        let queues = self.queues.iter().filter(|queue| !queue.is_done());
        let queues: Vec<String> = queues
            .map(|queue| {
                format!(
                    "{} of shard {} ({:?}, {:?})",
                    queue.title(),
                    queue.shard,
                    queue.fate,
                    queue.drain
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
            if let Work::End { queue, .. } = work {
                self.queues[queue].fate = Fate::Ends;
            }
            self.all[client].now = Some(Doing {
                work,
                invoked: common.now,
                request: None,
                door: 0,
                is_unsure: false,
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
        let (shard, ask) = doing.work.ask(&self.queues, &self.topics);
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
        let (shard, _) = doing.work.ask(&self.queues, &self.topics);
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
            doing.is_unsure |= matches!(response, Response::Refused(Error::Unknown));
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
        self.healed.is_some() && queue.is_some_and(Queue::is_everywhere)
    }

    /// What became of it.
    fn conclude(&mut self, client: usize, doing: Doing, response: &Response, common: &mut Common) {
        if matches!(response, Response::Refused(Error::Unknown)) {
            common.statistics.unknown += 1;
        }
        let Doing {
            work,
            invoked,
            is_unsure,
            ..
        } = doing;
        match (&work, response) {
            (Work::Create { .. }, Response::Reply(Reply::Placed(Placed::Queue(placed)))) => {
                self.begin_use(client, placed);
            }
            (Work::Create { name, .. }, Response::Refused(Error::QueueRecentlyDeleted)) => {
                self.all[client].free_names.push(name.clone());
            }
            (Work::End { queue }, Response::Reply(_)) => {
                let queue = &mut self.queues[*queue];
                queue.fate = Fate::Gone;
                // An attempt that is still on its way would end the next queue of this name.
                if !is_unsure {
                    self.all[client].free_names.push(queue.name.clone());
                }
            }
            (Work::End { queue }, Response::Refused(Error::NoSuchQueue)) if is_unsure => {
                self.queues[*queue].fate = Fate::Gone;
            }
            // It may be deleted, and without the catalog nobody can say.
            (Work::End { .. }, Response::Refused(Error::Unknown)) if self.ruined.contains(&0) => {}
            (Work::End { queue }, Response::Refused(_)) => {
                self.queues[*queue].fate = Fate::Lives;
            }
            (Work::Receive { queue, .. }, Response::Messages(messages)) => {
                let queue = *queue;
                let leases = messages.iter().map(|message| Lease {
                    queue,
                    receipt: message.receipt.sequence,
                });
                self.all[client].leases.extend(leases);
                if let Some(last) = messages.last() {
                    self.queues[queue].last_sent = Some(last.sent.seconds());
                }
                self.note_drain(queue, messages.is_empty(), invoked, common);
            }
            (Work::Change { queue, .. }, _) if self.random.permille(400) => {
                self.all[client].changes_again = Some(*queue);
            }
            (Work::Purge { queue }, Response::Reply(_))
                if self.queues[*queue].gets != Gets::Nothing =>
            {
                sometimes("a queue was purged that gets messages from others");
            }
            (Work::Topic(work), response) => self.conclude_topic(client, work, response),
            _ => {}
        }
        let unknown = Response::Refused(Error::Unknown);
        let is_refusal = matches!(response, Response::Refused(_));
        let response = if is_unsure && is_refusal {
            &unknown
        } else {
            response
        };
        self.record(client, &work, invoked, response, common);
    }

    fn begin_use(&mut self, client: usize, placed: &PlacedQueue) {
        // The first one stays, so that every run has something to drain.
        let is_fleeting = self.all[client].names > 1 && self.random.permille(300);
        self.queues.push(Queue::new(placed, client, is_fleeting));
    }

    /// A queue is drained when nothing can be hidden any more, nothing is carried to it, and nothing comes.
    fn note_drain(&mut self, place: usize, nothing: bool, invoked: Micros, common: &Common) {
        let Queue { id, gets, .. } = self.queues[place];
        let drain = &mut self.queues[place].drain;
        let Some(begun) = drain.begun.filter(|&begun| invoked >= begun) else {
            return;
        };
        drain.empty = if nothing { drain.empty + 1 } else { 0 };
        let hidden = (common.plan.visibility * 2 + 3_000) * MILLISECOND;
        let mut settled = self.settled();
        if gets != Gets::Nothing {
            let sources = self.queues.iter();
            let mut sources = sources.filter(|queue| queue.dead_letter() == Some(id));
            if !sources.all(Queue::is_done) {
                return;
            }
            let drain = &mut self.queues[place].drain;
            settled = CARRIED_WITHIN + settled.max(*drain.settled.get_or_insert(common.now));
        }
        let drain = &mut self.queues[place].drain;
        if drain.empty >= 2 && invoked > begun.max(settled) + hidden {
            drain.ended = Some(common.now);
        }
    }

    /// When every shard has a leader after the chaos.
    fn settled(&self) -> Micros {
        self.healed.unwrap_or(0) + 16 * SECOND
    }
}
