//! Random changes of topics on their home shard against a naive model: every message of every
//! subscription has one state there, and every question is answered by looking at all of them.
//!
//! A courier carries what is to be carried, and loses answers or repeats itself at random. Queues at
//! the end of a lane may be full, may take small bodies only, or be gone.

mod actions;
mod checks;
mod courier;

use std::collections::BTreeMap;

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, QueueAttributes, RetentionFrom,
        SubscriptionAttributes, TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Command, Lane, Reply},
    id::{QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey, Tag},
    limits,
    name::QueueName,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::naive_topics::{Naive, Number, Outbox};
use actions::{Action, PusherAnswer, Step, Wish, WishedEndpoint, a_step, a_wish};

const START: u64 = 1_000_000;
const SLOTS: usize = 4;
const TAGS: [&str; 3] = ["a", "b", "c"];
const ROUTING_KEYS: [&str; 5] = ["x", "x.y", "y.z.w", "x..y", "y.w"];
const BINDING_KEYS: [&str; 5] = ["#", "x.*", "*.#.*", "y.#.w", "x"];

struct World {
    shard: Shard,
    naive: Naive,
    now: u64,
    /// The next number of a queue, topic or subscription.
    next: Number,
    revision: u64,
    topics: [Number; 2],
    slots: [Option<Number>; SLOTS],
    dead_letter_queues: [Number; 2],
    receipts: Vec<Sequence>,
    /// Answers to the courier that are still on their way, by the outbox.
    late: BTreeMap<Number, Vec<(Lane, Reply)>>,
    /// Sealed bodies by where they were published, and bare ones by where they were accepted.
    bodies: BTreeMap<Sequence, Bytes>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            shard: Shard::new(ShardId(1), 2),
            naive: Naive::default(),
            now: START,
            next: 1,
            revision: 0,
            topics: [0; 2],
            slots: [None; SLOTS],
            dead_letter_queues: [0; 2],
            receipts: Vec::new(),
            late: BTreeMap::new(),
            bodies: BTreeMap::new(),
        };
        for which in 0..2 {
            // One that takes little at a time.
            let backlog_max = [1000, 3][which];
            world.dead_letter_queues[which] = world.new_queue((9, backlog_max));
            world.put_topic(which, 4000, false);
        }
        world
    }

    fn new_number(&mut self) -> Number {
        self.next += 1;
        self.next
    }

    fn new_revision(&mut self, is_stale: bool) -> u64 {
        if is_stale {
            return self.revision.saturating_sub(3);
        }
        self.revision += 1;
        self.revision
    }

    fn new_queue(&mut self, limits: (u32, u64)) -> Number {
        let queue = self.new_number();
        self.put_queue(queue, limits);
        queue
    }

    fn put_queue(&mut self, queue: Number, limits: (u32, u64)) {
        let revision = self.new_revision(false);
        self.apply(&Command::PutQueue {
            queue: QueueId(queue),
            revision,
            attributes: queue_attributes(limits),
        });
    }

    fn put_topic(&mut self, which: usize, retention: u64, is_stale: bool) {
        let old = self.topics[which];
        // A late word of one that ended, or a new one.
        if old == 0 || (!self.naive.topics.contains_key(&old) && !is_stale) {
            self.topics[which] = self.new_number();
        }
        let revision = self.new_revision(is_stale);
        self.apply(&Command::PutTopic {
            topic: TopicId(self.topics[which]),
            revision,
            attributes: TopicAttributes {
                acknowledge: Acknowledge::Majority,
                body_bytes_max: 9,
                retention: Millis(retention),
                filter: [FilterKind::Tags, FilterKind::RoutingKey][which],
            },
        });
    }

    fn put_subscription(&mut self, slot: usize, wish: &Wish, is_stale: bool) {
        let known = self.slots[slot].filter(|id| is_stale || self.naive.outboxes.contains_key(id));
        let id = known.unwrap_or_else(|| self.new_number());
        self.slots[slot] = Some(id);
        let outbox = self.naive.outboxes.get(&id);
        let same = outbox.and_then(Outbox::target);
        let queue = match wish.endpoint {
            WishedEndpoint::NewQueue => Some(self.new_queue(wish.limits)),
            WishedEndpoint::SameQueue => same,
            WishedEndpoint::Http | WishedEndpoint::MissingQueue => None,
        };
        let endpoint = match wish.endpoint {
            WishedEndpoint::Http => Endpoint::Http {
                url: "http://a".into(),
            },
            _ => Endpoint::Queue {
                name: QueueName::new("target").unwrap(),
                queue: queue.map(QueueId),
            },
        };
        let dead_letter = wish.dead_letter.map(|which| self.dead_letter_queues[which]);
        let revision = self.new_revision(is_stale);
        self.apply(&Command::PutSubscription {
            subscription: SubscriptionId(id),
            topic: TopicId(self.topics[slot % 2]),
            revision,
            attributes: SubscriptionAttributes {
                endpoint,
                retry: wish.strategy,
                format: BodyFormat::Simplified,
                filter: filter(slot % 2, wish.filter),
                dead_letter: dead_letter.map(QueueId),
            },
        });
    }

    fn step(&mut self, step: &Step) {
        self.now += step.later;
        self.act(&step.action);
        self.check();
        if step.restore {
            self.restore();
        }
    }

    fn act(&mut self, action: &Action) {
        let outbox_of = |world: &Self, slot: usize| world.slots[slot].unwrap_or(999);
        let target_of = |world: &Self, slot: usize| {
            let outbox = world.naive.outboxes.get(&outbox_of(world, slot));
            let target = outbox.and_then(Outbox::target);
            target.filter(|target| world.naive.targets.contains_key(target))
        };
        match *action {
            Action::PutTopic {
                which,
                retention,
                is_stale,
            } => self.put_topic(which, retention, is_stale),
            Action::DropTopic(which) => {
                let topic = TopicId(self.topics[which]);
                self.apply(&Command::DropTopic { topic, floor: 0 });
            }
            Action::PutSubscription {
                slot,
                ref wish,
                is_stale,
            } => self.put_subscription(slot, wish, is_stale),
            Action::DropSubscription(slot) => {
                let subscription = SubscriptionId(outbox_of(self, slot));
                self.apply(&Command::DropSubscription {
                    subscription,
                    floor: 0,
                });
            }
            Action::Publish { which, ref bodies } => self.publish(which, bodies),
            Action::Receive {
                slot,
                max,
                visibility,
            } => self.receive(outbox_of(self, slot), max, visibility),
            Action::Answer {
                slot,
                ref receipts,
                answer,
            } => self.answer(outbox_of(self, slot), receipts, answer),
            Action::Carry {
                slot,
                max,
                wait,
                fate,
            } => self.carry(outbox_of(self, slot), max, wait, fate),
            Action::Drain { slot, max } => {
                // The dead letters' queues have to be emptied, too.
                let dead = self.dead_letter_queues[slot % 2];
                self.drain(target_of(self, slot).unwrap_or(dead), max);
            }
            Action::SetLimits { slot, limits } => {
                if let Some(target) = target_of(self, slot) {
                    self.put_queue(target, limits);
                }
            }
            Action::DropTarget(slot) => {
                if let Some(target) = target_of(self, slot) {
                    let queue = QueueId(target);
                    self.apply(&Command::DropQueue { queue, floor: 0 });
                }
            }
            Action::ReplaceDeadLetterQueue(which) => self.replace_dead_letter_queue(which),
            Action::Settle => {
                self.apply(&Command::Settle);
            }
        }
    }

    fn publish(&mut self, which: usize, bodies: &[(usize, usize)]) {
        // Neighbours often have the same labels.
        let sealed = bodies.iter().map(|(number, length)| {
            Published::seal(&labels(which, number / 2), &vec![b'x'; *length])
        });
        let sealed: Vec<Bytes> = sealed.collect();
        let reply = self.apply(&Command::Publish {
            topic: TopicId(self.topics[which]),
            bodies: sealed.clone(),
        });
        if let Reply::Sent { messages } = reply {
            self.bodies.extend(messages.into_iter().zip(sealed));
        }
    }

    /// Only pushers take from an outbox.
    fn receive(&mut self, outbox: Number, max: u32, visibility: u64) {
        let is_pushed = self.naive.outboxes.get(&outbox);
        if !is_pushed.is_none_or(Outbox::is_pushed) {
            return;
        }
        let reply = self.apply(&Command::ReceiveMessages {
            queue: QueueId(outbox),
            max,
            visibility: Some(Millis(visibility)),
        });
        if let Reply::Received { deliveries } = reply {
            let receipts = deliveries.iter().map(|delivery| delivery.receipt);
            self.receipts.extend(receipts);
        }
    }

    fn answer(&mut self, outbox: Number, back: &[usize], answer: PusherAnswer) {
        let queue = QueueId(outbox);
        let receipts = back
            .iter()
            .filter_map(|back| self.receipts.iter().rev().nth(*back));
        let receipts: Vec<Sequence> = receipts.copied().collect();
        let command = match answer {
            PusherAnswer::Delivered => Command::DeleteMessages { queue, receipts },
            PusherAnswer::RetryIn(wait) => Command::ChangeVisibility {
                queue,
                receipts,
                visibility: Millis(wait),
            },
            PusherAnswer::GivenUp => Command::GiveUp { queue, receipts },
            PusherAnswer::NeverTaken => Command::ReturnLeases { queue, receipts },
        };
        self.apply(&command);
    }

    fn replace_dead_letter_queue(&mut self, which: usize) {
        let old = self.dead_letter_queues[which];
        let mut outboxes = self.naive.outboxes.values();
        if outboxes.any(|outbox| outbox.dead_letter() == Some(old)) {
            return;
        }
        let queue = QueueId(old);
        self.apply(&Command::DropQueue { queue, floor: 0 });
        self.dead_letter_queues[which] = self.new_queue((9, 3));
    }

    /// Applies one command to both.
    fn apply(&mut self, command: &Command) -> Reply {
        let stamp = Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now),
            ..Stamp::default()
        };
        let mut batch = BatchBuilder::new(stamp);
        batch.push(&codec::encode(command));
        let index = self.shard.applied() + 1 + self.now % 3;
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        self.shard
            .apply(index, &batch.finish(), &mut replies, &mut effects)
            .unwrap();
        let waited = self.announced();
        let expected = self.naive.apply(index, Timestamp(self.now), command);
        assert_eq!(replies, [expected], "the reply to {command:?}");
        self.check_announcements(&waited, &effects);
        replies.remove(0)
    }
}

fn queue_attributes((body_bytes_max, backlog_max): (u32, u64)) -> QueueAttributes {
    QueueAttributes {
        backlog_max,
        wait: Millis(0),
        visibility: Millis(1),
        body_bytes_max,
        retention: limits::RETENTION_MAX,
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 1,
        in_flight_max: 1000,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

/// Some of the tags or binding keys, by the bits of a number.
fn filter(which: usize, number: usize) -> Filter {
    let chosen = |place: &usize| number >> place & 1 == 1;
    if which == 0 {
        let tags = (0..TAGS.len()).filter(chosen);
        return Filter::Tags(tags.map(|place| Tag::new(TAGS[place]).unwrap()).collect());
    }
    let keys = (0..BINDING_KEYS.len()).filter(chosen);
    let mut keys: Vec<&str> = keys.map(|place| BINDING_KEYS[place]).collect();
    if keys.is_empty() {
        keys.push("nobody.has.this");
    }
    let keys = keys.into_iter().map(|key| BindingKey::new(key).unwrap());
    Filter::BindingKeys(keys.collect())
}

fn labels(which: usize, number: usize) -> Labels {
    if which == 0 {
        let tags = (0..TAGS.len()).filter(|place| number >> place & 1 == 1);
        return Labels {
            tags: tags.map(|place| Tag::new(TAGS[place]).unwrap()).collect(),
            routing_key: None,
        };
    }
    let key = ROUTING_KEYS.get(number * 2 % 7);
    Labels {
        tags: Vec::new(),
        routing_key: key.map(|key| RoutingKey::new(key).unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn topics_do_what_the_naive_model_does(
        wishes in prop::collection::vec(a_wish(), SLOTS),
        steps in prop::collection::vec(a_step(), 1..50),
    ) {
        let mut world = World::new();
        for (slot, wish) in wishes.iter().enumerate() {
            world.put_subscription(slot, wish, false);
        }
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
