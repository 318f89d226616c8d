//! Random changes of topics on their home shard against a naive model: every message of every
//! subscription has one state there, and every question is answered by looking at all of them.
//!
//! A courier carries what is to be carried, and loses answers or repeats itself at random. Queues at
//! the end of a lane may be full, may take small bodies only, or be gone.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, QueueAttributes, RetentionFrom,
        SubscriptionAttributes, TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Answer, Command, Effect, Lane, Query, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey, Tag},
    limits,
    name::QueueName,
    op::SubscriptionTotals,
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::naive_topics::{Naive, Number, Outbox, State};

const START: u64 = 1_000_000;
const SLOTS: usize = 4;
const TAGS: [&str; 3] = ["a", "b", "c"];
const ROUTING_KEYS: [&str; 5] = ["x", "x.y", "y.z.w", "x..y", "y.w"];
const BINDING_KEYS: [&str; 5] = ["#", "x.*", "*.#.*", "y.#.w", "x"];

/// Topics are told apart by `which`: the first filters by tags, the second by routing keys. Slots are
/// places for subscriptions, the even ones of the first topic.
#[derive(Debug, Clone)]
enum Action {
    PutTopic {
        which: usize,
        retention: u64,
        is_stale: bool,
    },
    DropTopic(usize),
    PutSubscription {
        slot: usize,
        wish: Wish,
        is_stale: bool,
    },
    DropSubscription(usize),
    /// Each body with the numbers of its labels.
    Publish {
        which: usize,
        bodies: Vec<(usize, usize)>,
    },
    Receive {
        slot: usize,
        max: u32,
        visibility: u64,
    },
    /// Receipts by how many receipts ago they were given.
    Answer {
        slot: usize,
        receipts: Vec<usize>,
        answer: PusherAnswer,
    },
    Carry {
        slot: usize,
        max: usize,
        wait: u64,
        fate: Fate,
    },
    /// Takes messages out of the queue that a slot delivers to.
    Drain {
        slot: usize,
        max: u32,
    },
    SetLimits {
        slot: usize,
        limits: (u32, u64),
    },
    /// Ends the queue that a slot delivers to; the subscription hears of it later.
    DropTarget(usize),
    /// Ends a dead-letter queue that no subscription uses any more, and makes another.
    ReplaceDeadLetterQueue(usize),
    Settle,
}

#[derive(Debug, Clone)]
struct Wish {
    endpoint: WishedEndpoint,
    strategy: RetryStrategy,
    filter: usize,
    dead_letter: Option<usize>,
    /// Body bytes and messages of a queue that is made for it.
    limits: (u32, u64),
}

#[derive(Debug, Clone, Copy)]
enum WishedEndpoint {
    Http,
    /// The queue as it is, if the slot has one.
    SameQueue,
    NewQueue,
    MissingQueue,
}

#[derive(Debug, Clone, Copy)]
enum PusherAnswer {
    Delivered,
    RetryIn(u64),
    GivenUp,
    NeverTaken,
}

/// What becomes of the courier's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Heard,
    /// The messages arrive and nobody hears of it.
    AnswerLost,
    /// The messages are sent once more after they arrived.
    Repeated,
    /// The answer comes when other things have happened, before the next carrying of this outbox.
    HeardLater,
}

#[derive(Debug, Clone)]
struct Step {
    /// Milliseconds since the last one.
    later: u64,
    action: Action,
    restore: bool,
}

fn some_limits() -> impl Strategy<Value = (u32, u64)> {
    (
        prop_oneof![2 => Just(9u32), 1 => 1u32..8],
        prop_oneof![2 => Just(100u64), 1 => 1u64..4],
    )
}

fn a_wish() -> impl Strategy<Value = Wish> {
    let endpoint = prop_oneof![
        5 => Just(WishedEndpoint::Http),
        3 => Just(WishedEndpoint::SameQueue),
        3 => Just(WishedEndpoint::NewQueue),
        2 => Just(WishedEndpoint::MissingQueue),
    ];
    let strategy = prop_oneof![
        Just(RetryStrategy::BackOff),
        Just(RetryStrategy::ExponentialDecay)
    ];
    let dead_letter = prop::option::of(0usize..2);
    (endpoint, strategy, 0usize..32, dead_letter, some_limits()).prop_map(
        |(endpoint, strategy, filter, dead_letter, limits)| Wish {
            endpoint,
            strategy,
            filter,
            dead_letter,
            limits,
        },
    )
}

fn some_millis() -> impl Strategy<Value = u64> {
    // Mostly whole seconds, so that things fall due at the same moment.
    prop_oneof![1 => 1u64..50, 6 => (1u64..6).prop_map(|seconds| seconds * 1000)]
}

fn an_action() -> impl Strategy<Value = Action> {
    let slot = || 0..SLOTS;
    let rarely = || prop::bool::weighted(0.1);
    let receipts = || prop::collection::vec(0usize..6, 1..4);
    let answer = prop_oneof![
        3 => Just(PusherAnswer::Delivered),
        2 => prop_oneof![Just(0), some_millis()].prop_map(PusherAnswer::RetryIn),
        2 => Just(PusherAnswer::GivenUp),
        1 => Just(PusherAnswer::NeverTaken),
    ];
    let fate = prop_oneof![3 => Just(Fate::Heard), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::Repeated), 1 => Just(Fate::HeardLater)];
    prop_oneof![
        1 => (0usize..2, some_millis(), rarely())
            .prop_map(|(which, retention, is_stale)| Action::PutTopic { which, retention, is_stale }),
        5 => (slot(), a_wish(), rarely())
            .prop_map(|(slot, wish, is_stale)| Action::PutSubscription { slot, wish, is_stale }),
        1 => prop_oneof![
            1 => (0usize..2).prop_map(Action::DropTopic),
            3 => slot().prop_map(Action::DropSubscription),
            2 => (0usize..2).prop_map(Action::ReplaceDeadLetterQueue),
        ],
        1 => slot().prop_map(Action::DropTarget),
        10 => (0usize..2, prop::collection::vec((0usize..8, prop_oneof![30 => 1usize..9, 1 => 0usize..12]), 1..5))
            .prop_map(|(which, bodies)| Action::Publish { which, bodies }),
        7 => (slot(), prop_oneof![20 => 1u32..5, 1 => 0u32..2, 1 => 64u32..66], prop_oneof![Just(0), some_millis()])
            .prop_map(|(slot, max, visibility)| Action::Receive { slot, max, visibility }),
        8 => (slot(), receipts(), answer)
            .prop_map(|(slot, receipts, answer)| Action::Answer { slot, receipts, answer }),
        9 => (slot(), 1usize..5, some_millis(), fate)
            .prop_map(|(slot, max, wait, fate)| Action::Carry { slot, max, wait, fate }),
        2 => (slot(), 1u32..4).prop_map(|(slot, max)| Action::Drain { slot, max }),
        1 => (slot(), some_limits()).prop_map(|(slot, limits)| Action::SetLimits { slot, limits }),
        1 => Just(Action::Settle),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let later =
        prop_oneof![40 => Just(0u64), 30 => some_millis(), 1 => Just(limits::VISIBILITY_MAX.0)];
    (later, an_action(), prop::bool::weighted(0.08)).prop_map(|(later, action, restore)| Step {
        later,
        action,
        restore,
    })
}

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
                self.apply(&Command::DropTopic { topic });
            }
            Action::PutSubscription {
                slot,
                ref wish,
                is_stale,
            } => self.put_subscription(slot, wish, is_stale),
            Action::DropSubscription(slot) => {
                let subscription = SubscriptionId(outbox_of(self, slot));
                self.apply(&Command::DropSubscription { subscription });
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
                    self.apply(&Command::DropQueue { queue });
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

    fn carry(&mut self, outbox: Number, max: usize, wait: u64, fate: Fate) {
        for (lane, reply) in self.late.remove(&outbox).unwrap_or_default() {
            self.hear(outbox, &lane, &reply, wait);
        }
        for lane in self.shard.moves(QueueId(outbox), max) {
            assert!(lane.has_labels);
            let accept = self.accept_command(outbox, &lane);
            let mut reply = self.apply(&accept);
            if fate == Fate::Repeated {
                reply = self.apply(&accept);
            }
            match fate {
                Fate::Heard | Fate::Repeated => self.hear(outbox, &lane, &reply, wait),
                Fate::AnswerLost => {}
                Fate::HeardLater => self.late.entry(outbox).or_default().push((lane, reply)),
            }
        }
    }

    fn accept_command(&self, outbox: Number, lane: &Lane) -> Command {
        let body = |message: Sequence| Published::open(&self.bodies[&message]).unwrap().body;
        let bodies = lane.moves.iter().map(|one| body(one.message)).collect();
        let (queue, source, first) = (lane.target, QueueId(outbox), lane.moves[0].number);
        if lane.is_delivery {
            Command::AcceptPublished {
                queue,
                source,
                first,
                bodies,
            }
        } else {
            Command::AcceptMoved {
                queue,
                source,
                first,
                bodies,
            }
        }
    }

    /// What the courier does when it has an answer.
    fn hear(&mut self, outbox: Number, lane: &Lane, reply: &Reply, wait: u64) {
        let (queue, target) = (QueueId(outbox), lane.target);
        match *reply {
            Reply::Accepted { through, refused } => {
                self.apply(&Command::MovesSettled {
                    queue,
                    target,
                    through,
                });
                if lane.is_delivery && refused.is_some() {
                    self.apply(&Command::MoveFailed {
                        queue,
                        target,
                        number: through + 1,
                        wait_max: Millis(wait),
                    });
                }
            }
            Reply::Refused(Error::NoSuchQueue) if lane.is_delivery => {
                // Nothing comes of this: the catalog says where they go instead.
                self.apply(&Command::ReturnMoves { queue, target });
                if lane.moves[0].is_overdue {
                    let number = lane.moves[0].number;
                    self.apply(&Command::MoveFailed {
                        queue,
                        target,
                        number,
                        wait_max: Millis(wait),
                    });
                }
            }
            Reply::Refused(Error::NoSuchQueue) => {
                self.apply(&Command::ReturnMoves { queue, target });
            }
            ref other => panic!("{other:?} is no answer for a courier"),
        }
    }

    fn drain(&mut self, target: Number, max: u32) {
        let queue = QueueId(target);
        let reply = self.apply(&Command::ReceiveMessages {
            queue,
            max,
            visibility: Some(Millis(1)),
        });
        let Reply::Received { deliveries } = reply else {
            return;
        };
        let receipts: Vec<Sequence> = deliveries.iter().map(|one| one.receipt).collect();
        if !receipts.is_empty() {
            self.apply(&Command::DeleteMessages { queue, receipts });
        }
    }

    fn replace_dead_letter_queue(&mut self, which: usize) {
        let old = self.dead_letter_queues[which];
        let mut outboxes = self.naive.outboxes.values();
        if outboxes.any(|outbox| outbox.dead_letter() == Some(old)) {
            return;
        }
        let queue = QueueId(old);
        self.apply(&Command::DropQueue { queue });
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

    /// How much each outbox has ready for its pusher, and in lanes by the last number given.
    fn announced(&self) -> BTreeMap<Number, (BTreeSet<Sequence>, u64)> {
        let outboxes = self.naive.outboxes.iter();
        outboxes
            .map(|(id, outbox)| (*id, (outbox.ready_for_pusher(), outbox.moves_started())))
            .collect()
    }

    /// Whoever has something new to do hears of it.
    fn check_announcements(
        &self,
        before: &BTreeMap<Number, (BTreeSet<Sequence>, u64)>,
        effects: &[Effect],
    ) {
        for (id, (ready, moves)) in self.announced() {
            let nothing = (BTreeSet::new(), 0);
            let (ready_before, moves_before) = before.get(&id).unwrap_or(&nothing);
            let subscription = SubscriptionId(id);
            if !ready.is_subset(ready_before) {
                assert!(effects.contains(&Effect::OutboxReady { subscription }));
            }
            let queue = QueueId(id);
            let pending = self.naive.outboxes[&id].has_moves();
            if moves > *moves_before && pending {
                assert!(effects.contains(&Effect::MovesPending { queue }));
            }
        }
    }

    fn check(&self) {
        self.shard.check();
        assert_eq!(self.shard.next_deadline(), self.naive.next_deadline());
        let live = self.shard.live_between(0, u64::MAX);
        assert_eq!(live, self.naive.live(), "what is alive");
        let middle = self.shard.applied() / 2;
        let late = live.iter().filter(|message| message.index() >= middle);
        let late: Vec<Sequence> = late.copied().collect();
        assert_eq!(self.shard.live_between(middle, u64::MAX), late);
        assert_eq!(
            self.shard.any_live_between(middle, u64::MAX),
            !late.is_empty()
        );
        self.check_topics();
        for id in self.slots.into_iter().flatten() {
            self.check_subscription(id);
        }
        let ready: Vec<u64> = self.shard.outboxes_ready().iter().map(|id| id.0).collect();
        let expected = self.naive.outboxes.iter();
        let expected = expected.filter(|(_, outbox)| !outbox.ready_for_pusher().is_empty());
        assert_eq!(ready, expected.map(|(id, _)| *id).collect::<Vec<_>>());
    }

    fn check_topics(&self) {
        for topic in self.topics {
            let query = Query::TopicCounts {
                topic: TopicId(topic),
            };
            let counts = match self.shard.query(&query) {
                Answer::TopicCounts(counts) => Ok((counts.waiting, counts.published)),
                Answer::Refused(error) => Err(error),
                other => panic!("{other:?}"),
            };
            assert_eq!(counts, self.naive.topic_counts(topic));
        }
    }

    fn check_subscription(&self, id: Number) {
        let query = Query::SubscriptionCounts {
            subscription: SubscriptionId(id),
        };
        let lanes = self.shard.moves(QueueId(id), usize::MAX);
        let moves = lanes.iter().flat_map(|lane| {
            let moves = lane.moves.iter();
            moves.map(|one| {
                (
                    lane.target.0,
                    one.number,
                    one.message,
                    lane.is_delivery,
                    one.is_overdue,
                )
            })
        });
        let moves: Vec<_> = moves.collect();
        let Some(outbox) = self.naive.outboxes.get(&id) else {
            assert_eq!(
                self.shard.query(&query),
                Answer::Refused(Error::NoSuchSubscription)
            );
            assert_eq!(moves, []);
            return;
        };
        let Answer::SubscriptionCounts(counts) = self.shard.query(&query) else {
            panic!("no counts of {id}")
        };
        assert_eq!(counts.totals, outbox.totals, "totals of {id}");
        assert_eq!(counts.waiting, outbox.waiting(), "waiting in {id}");
        assert_eq!(moves, self.naive.moves(id), "moves of {id}");
        let dead = moves
            .iter()
            .filter(|(_, _, _, is_delivery, _)| !is_delivery);
        let SubscriptionTotals {
            matched,
            delivered,
            expired,
            given_up,
            dead_lettered,
        } = counts.totals;
        assert_eq!(
            matched,
            counts.waiting + delivered + expired + given_up + dead_lettered + dead.count() as u64,
            "each message is in one place"
        );
    }

    fn restore(&mut self) {
        let bytes = save(&self.shard);
        crate::model::restore_damaged(&bytes, usize::try_from(self.now).unwrap() % 97, 97);
        self.shard = Shard::restore(&bytes).unwrap();
        assert_eq!(
            save(&self.shard),
            bytes,
            "a restored shard saves to other bytes"
        );
        self.check();
    }

    /// Makes room everywhere and carries until nothing is left to carry.
    fn finish(&mut self) {
        let targets: Vec<Number> = self.naive.targets.keys().copied().collect();
        for target in targets {
            self.put_queue(target, (9, 1000));
        }
        for _ in 0..8 {
            for id in self.slots.into_iter().flatten() {
                self.carry(id, 64, 1, Fate::Heard);
            }
            // No wait is longer.
            self.now += 2500;
            self.apply(&Command::Settle);
            self.check();
        }
        self.naive.check_arrivals();
        for outbox in self.naive.outboxes.values() {
            let target = outbox.target();
            let is_there = target.is_some_and(|id| self.naive.targets.contains_key(&id));
            let mut messages = outbox.messages.iter();
            assert!(!is_there || !messages.any(|message| message.state == State::Ready));
            assert!(!is_there || !outbox.has_moves_to(target));
        }
    }
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
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
