//! What a client does next.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec,
    command::{Command, CreateQueue, Query},
    id::{AccountId, QueueId, Sequence},
    name::QueueName,
    time::Millis,
};
use anser_check::{Body, SentBody};
use bytes::Bytes;

use super::{Clients, Lease, QUEUES_MAX, Queue};
use crate::{
    event::{Ask, MILLISECOND, Micros, SECOND},
    plan::Plan,
    random,
    world::Common,
};

const ACCOUNT: AccountId = AccountId(1);

#[derive(Debug, Clone)]
pub(super) enum Work {
    Create {
        name: String,
        attributes: Box<QueueAttributes>,
    },
    Send {
        queue: usize,
        delay: u64,
        bodies: Vec<Bytes>,
        sent: Vec<SentBody>,
        /// A repeat is the same send.
        once: bool,
    },
    Receive {
        queue: usize,
        max: u32,
        wait: u64,
    },
    Delete {
        queue: usize,
        receipts: Vec<Sequence>,
    },
    Extend {
        queue: usize,
        receipt: Sequence,
        visibility: u64,
    },
    Count {
        queue: usize,
    },
}

impl Work {
    pub(super) fn is_receive(&self) -> bool {
        matches!(self, Self::Receive { .. })
    }

    /// Whether doing it twice is like doing it once.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self, Self::Send { once: true, .. })
    }

    pub(super) fn sends_to(&self) -> Option<usize> {
        match self {
            Self::Send { queue, .. } => Some(*queue),
            _ => None,
        }
    }

    /// How long the answer may be waited for besides.
    pub(super) fn waits(&self) -> Micros {
        match self {
            Self::Receive { wait, .. } => wait * MILLISECOND,
            _ => 0,
        }
    }

    /// The shard and what it is asked.
    pub(super) fn ask(&self, queues: &[Queue]) -> (u16, Ask) {
        let propose = |command: Command| Ask::Propose(codec::encode(&command));
        match self {
            Self::Create { name, attributes } => {
                let command = Command::CreateQueue(CreateQueue {
                    account: ACCOUNT,
                    name: QueueName::new(name).expect("names are made of letters"),
                    attributes: (**attributes).clone(),
                    dead_letter: None,
                    queues_max: 1_000,
                    reuse_after: Millis(0),
                    avoid: Vec::new(),
                });
                (0, Ask::Change(Box::new(command)))
            }
            Self::Send {
                queue,
                delay,
                bodies,
                sent,
                once,
            } => {
                let Queue { id, shard, .. } = queues[*queue];
                let token = once.then(|| random::mix(sent[0].id));
                (shard, propose(send(id, Millis(*delay), bodies, token)))
            }
            Self::Receive { queue, max, wait } => {
                let ask = Ask::Receive {
                    queue: queues[*queue].id,
                    max: *max,
                    wait: Millis(*wait),
                };
                (queues[*queue].shard, ask)
            }
            Self::Delete { queue, receipts } => {
                let command = Command::DeleteMessages {
                    queue: queues[*queue].id,
                    receipts: receipts.clone(),
                };
                (queues[*queue].shard, propose(command))
            }
            Self::Extend {
                queue,
                receipt,
                visibility,
            } => {
                let command = Command::ChangeVisibility {
                    queue: queues[*queue].id,
                    receipts: vec![*receipt],
                    visibility: Millis(*visibility),
                };
                (queues[*queue].shard, propose(command))
            }
            Self::Count { queue } => {
                let query = Query::Counts {
                    queue: queues[*queue].id,
                };
                (queues[*queue].shard, Ask::Read(query))
            }
        }
    }
}

fn send(queue: QueueId, delay: Millis, bodies: &[Bytes], token: Option<u64>) -> Command {
    let (delay, bodies) = (Some(delay), bodies.to_vec());
    match token {
        Some(half) => Command::SendMessagesOnce {
            queue,
            token: u128::from(half).to_le_bytes(),
            delay,
            bodies,
        },
        None => Command::SendMessages {
            queue,
            delay,
            bodies,
        },
    }
}

impl Clients {
    /// `None`: nothing more to do, ever.
    pub(super) fn choose(&mut self, client: usize, common: &Common) -> Option<Work> {
        if self.healed.is_some() {
            return self.choose_at_the_end(client, common);
        }
        let names = self.all[client].names;
        let wants_more = self.queues.len() < QUEUES_MAX && self.random.permille(5);
        if names == 0 || self.queues.is_empty() || wants_more {
            return Some(self.create(client, &common.plan));
        }
        let queue = self.random.place(self.queues.len());
        let leases = self.all[client].leases.len();
        Some(match self.random.below(100) {
            0..36 => self.send(client, queue),
            36..58 if leases > 0 => self.delete(client),
            58..62 if leases > 0 => self.extend(client, &common.plan),
            62..70 => Work::Count { queue },
            _ => self.receive(queue),
        })
    }

    /// Every client sends once more; then every queue is emptied.
    fn choose_at_the_end(&mut self, client: usize, common: &Common) -> Option<Work> {
        let next = self.all[client].sent_last;
        if next < self.queues.len() {
            self.all[client].sent_last += 1;
            let mine = next % self.all.len() == client || next == 0;
            let queue = &self.queues[next];
            if mine && !queue.is_everywhere && !self.is_given_up(queue) {
                return Some(self.send_plain(client, next));
            }
            return self.choose_at_the_end(client, common);
        }
        let sending = self
            .all
            .iter()
            .any(|client| client.sent_last < self.queues.len());
        let sends = |client: &super::Client| {
            client
                .now
                .as_ref()
                .is_some_and(|doing| matches!(doing.work, Work::Send { .. }))
        };
        let Some(at_hand) = self
            .queues
            .iter()
            .position(|queue| !self.is_given_up(queue))
        else {
            return self
                .ruined
                .is_empty()
                .then(|| self.create(client, &common.plan));
        };
        if !self.all[client].leases.is_empty() {
            return Some(self.delete_newest(client));
        }
        if sending || self.all.iter().any(sends) {
            return Some(Work::Count { queue: at_hand });
        }
        let clients = self.all.len();
        let mine = (0..self.queues.len()).filter(|queue| queue % clients == client);
        let mine = mine.filter(|&queue| {
            let queue = &self.queues[queue];
            queue.drain.ended.is_none() && !self.is_given_up(queue)
        });
        let queue = mine.min_by_key(|&queue| self.queues[queue].drain.empty)?;
        self.queues[queue].drain.begun.get_or_insert(common.now);
        let wait = if self.queues[queue].drain.empty > 0 {
            400
        } else {
            0
        };
        Some(Work::Receive {
            queue,
            max: 16,
            wait,
        })
    }

    fn create(&mut self, client: usize, plan: &Plan) -> Work {
        self.all[client].names += 1;
        let number = self.all[client].names;
        let everywhere = self.random.permille(100);
        let attributes = QueueAttributes {
            backlog_max: 1_000_000,
            wait: Millis(0),
            visibility: Millis(plan.visibility),
            body_bytes_max: 64 << 10,
            retention: Millis::from_seconds(86_400),
            retention_from: RetentionFrom::Sent,
            rewind: Millis(0),
            delay: Millis(0),
            delay_max: Millis::from_seconds(3_600),
            delayed_max: 1_000_000,
            in_flight_max: 1_000_000,
            dead_letter: None,
            acknowledge: if everywhere {
                Acknowledge::All
            } else {
                Acknowledge::Majority
            },
        };
        Work::Create {
            name: format!("q{client}-{number}"),
            attributes: Box::new(attributes),
        }
    }

    fn send(&mut self, client: usize, queue: usize) -> Work {
        let count = if self.random.permille(250) {
            self.random.between(2, 6)
        } else {
            1
        };
        let delay = if self.random.permille(100) {
            self.random.between(1, 2_500)
        } else {
            0
        };
        let once = self.random.permille(300);
        self.bodies(client, queue, count, delay, once)
    }

    fn send_plain(&mut self, client: usize, queue: usize) -> Work {
        self.bodies(client, queue, 1, 0, true)
    }

    fn bodies(&mut self, client: usize, queue: usize, count: u64, delay: u64, once: bool) -> Work {
        let producer = u32::try_from(client).expect("few clients");
        let (mut bodies, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let body = Body::new(1, producer, self.all[client].bodies);
            self.all[client].bodies += 1;
            let bytes = 60 + self.random.place(200);
            let text = body.text(bytes);
            sent.push(body.sent(&text));
            bodies.push(Bytes::from(text));
        }
        self.queues[queue].is_used = true;
        Work::Send {
            queue,
            delay,
            bodies,
            sent,
            once,
        }
    }

    fn receive(&mut self, queue: usize) -> Work {
        let wait = if self.random.permille(300) {
            self.random.between(100, 3_000)
        } else {
            0
        };
        Work::Receive {
            queue,
            max: u32::try_from(self.random.between(1, 10)).expect("a small number"),
            wait,
        }
    }

    fn delete(&mut self, client: usize) -> Work {
        let leases = &mut self.all[client].leases;
        let place = self.random.place(leases.len());
        let Lease { queue, receipt } = leases.swap_remove(place);
        let mut receipts = vec![receipt];
        if self.random.permille(400) {
            let more = leases.extract_if(.., |lease| lease.queue == queue).take(7);
            receipts.extend(more.map(|lease| lease.receipt));
        }
        Work::Delete { queue, receipts }
    }

    fn delete_newest(&mut self, client: usize) -> Work {
        let leases = &mut self.all[client].leases;
        let queue = leases.last().expect("there are some").queue;
        let receipts = leases.extract_if(.., |lease| lease.queue == queue).take(16);
        let receipts = receipts.map(|lease| lease.receipt).collect();
        Work::Delete { queue, receipts }
    }

    fn extend(&mut self, client: usize, plan: &Plan) -> Work {
        let leases = &self.all[client].leases;
        let Lease { queue, receipt } = leases[self.random.place(leases.len())];
        let visibility = match self.random.below(3) {
            0 => 0,
            1 => self.random.between(1, plan.visibility),
            _ => self.random.between(plan.visibility, plan.visibility * 2),
        };
        Work::Extend {
            queue,
            receipt,
            visibility,
        }
    }
}

/// What is late by an outage is late by no more than the outages on its way: so they are short.
pub(super) const SLICE: Micros = SECOND;
