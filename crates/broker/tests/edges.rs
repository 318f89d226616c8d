//! Bounds and moments of a queue, each exactly at its edge.

use anser_broker::{
    attributes::{Acknowledge, DeadLetterAfter, DeadLetterPolicy, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Command, Reply, Seen},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    limits,
    shard::{Receivable, Shard},
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const QUEUE: QueueId = QueueId(1);
const SOURCE: QueueId = QueueId(2);
const START: u64 = 1_000_200;
const REWIND: u64 = 10_000;

struct World {
    shard: Shard,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            shard: Shard::new(ShardId(1), 2),
            now: START,
        };
        world.put(1, attributes());
        world
    }

    fn put(&mut self, revision: u64, attributes: QueueAttributes) {
        let queue = QUEUE;
        self.apply(&Command::PutQueue {
            queue,
            revision,
            attributes,
        });
    }

    fn apply(&mut self, command: &Command) -> Reply {
        let mut batch = BatchBuilder::new(Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now),
            ..Stamp::default()
        });
        batch.push(&codec::encode(command));
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let index = self.shard.applied() + 1;
        let payload = batch.finish();
        let applied = self
            .shard
            .apply(index, &payload, &mut replies, &mut effects);
        applied.unwrap();
        self.shard.check();
        replies.remove(0)
    }

    fn send(&mut self, bodies: Vec<Bytes>) -> Reply {
        self.apply(&Command::SendMessages {
            queue: QUEUE,
            delay: None,
            bodies,
        })
    }

    fn receive(&mut self, visibility: Millis) -> Result<Sequence, Error> {
        let receive = Command::ReceiveMessages {
            queue: QUEUE,
            max: 1,
            visibility: Some(visibility),
        };
        match self.apply(&receive) {
            Reply::Received { deliveries } => Ok(deliveries[0].receipt),
            Reply::Refused(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message and deletes it at once.
    fn retire_one(&mut self) {
        self.send(vec![body(1)]);
        let receipts = vec![self.receive(Millis(1)).unwrap()];
        self.apply(&Command::DeleteMessages {
            queue: QUEUE,
            receipts,
        });
        assert_eq!(self.shard.totals().retired, 1);
    }
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 100,
        wait: Millis(0),
        visibility: Millis(1_000),
        body_bytes_max: limits::BODY_BYTES_MAX,
        retention: Millis(86_400_000),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(REWIND),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 1,
        in_flight_max: 100,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

fn body(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

#[test]
fn the_bodies_of_a_send_may_have_so_many_bytes_together_and_no_more() {
    let mut world = World::new();
    let mut bodies = vec![body(limits::BODY_BYTES_MAX as usize); 4];
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    assert_eq!(bytes, limits::BATCH_BYTES_MAX);
    assert!(matches!(world.send(bodies.clone()), Reply::Sent { .. }));
    bodies.push(body(1));
    assert_eq!(world.send(bodies), Reply::Refused(Error::BatchSize));
}

#[test]
fn a_lease_may_run_for_so_long_and_no_longer() {
    let mut world = World::new();
    world.send(vec![body(1), body(1)]);
    let longest = limits::VISIBILITY_MAX;
    let longer = Millis(longest.0 + 1);
    let refused = Error::AttributeOutOfRange;
    assert_eq!(world.receive(longer), Err(refused));
    let receipt = world.receive(longest).unwrap();
    let change = |visibility| Command::ChangeVisibility {
        queue: QUEUE,
        receipts: vec![receipt],
        visibility,
    };
    assert_eq!(world.apply(&change(longer)), Reply::Refused(refused));
    assert_eq!(world.apply(&change(longest)), Reply::Each(vec![Ok(())]));
}

/// Also where more falls due than an entry settles.
#[test]
fn a_deleted_message_is_had_back_up_to_the_end_of_its_time_and_no_longer() {
    for (later, revived) in [(REWIND - 1, 1), (REWIND, 0)] {
        let mut world = World::new();
        world.retire_one();
        world.shard.set_settled_per_entry(0);
        world.now += later;
        let to = Timestamp(START);
        let rewound = world.apply(&Command::RewindQueue { queue: QUEUE, to });
        assert_eq!(rewound, Reply::Rewound { messages: revived });
        assert_eq!(world.shard.totals().retired, 0, "the other is forgotten");
    }
}

#[test]
fn with_a_shorter_time_for_rewinding_what_is_older_is_forgotten_at_once() {
    let mut world = World::new();
    world.retire_one();
    world.now += 1_000;
    let mut shorter = attributes();
    shorter.rewind = Millis(1_000);
    world.put(2, shorter);
    assert_eq!(world.shard.totals().retired, 0);
}

#[test]
fn who_knows_of_another_arrival_from_a_source_has_another_fingerprint() {
    let mut world = World::new();
    let arrived = Command::AcceptMoved {
        queue: QUEUE,
        source: SOURCE,
        seen: Seen {
            shard: ShardId(1),
            index: 1,
        },
        first: 1,
        bodies: vec![body(1)],
    };
    assert!(matches!(world.apply(&arrived), Reply::Accepted { .. }));
    let mut other = World {
        shard: world.shard.clone(),
        now: world.now,
    };
    assert!(other.shard.agree_on_arrival(QUEUE, SOURCE, Some(2)));
    let differ = (0..100).any(|_| {
        world.apply(&Command::Settle);
        other.apply(&Command::Settle);
        world.shard.fingerprint() != other.shard.fingerprint()
    });
    assert!(differ);
}

#[test]
fn a_message_can_be_received_up_to_its_end_and_no_longer() {
    let mut world = World::new();
    let receivable = |world: &World, later| {
        let now = Timestamp(world.now + later);
        world.shard.receivable(QUEUE, now)
    };
    assert_eq!(receivable(&world, 0), Receivable::Empty);
    world.send(vec![body(1), body(1)]);
    let retention = attributes().retention.0;
    assert_eq!(receivable(&world, 0), Receivable::Ready(2));
    assert_eq!(receivable(&world, retention - 1), Receivable::Ready(2));
    assert_eq!(receivable(&world, retention), Receivable::Empty);
}

#[test]
fn a_full_queue_has_room_for_a_receive_from_the_moment_at_which_a_lease_ends() {
    let mut world = World::new();
    let mut full = attributes();
    full.in_flight_max = 1;
    world.put(2, full);
    world.send(vec![body(1), body(1)]);
    world.receive(Millis(1_000)).unwrap();
    let after = |later| {
        let now = Timestamp(START + later);
        world.shard.receivable(QUEUE, now)
    };
    assert_eq!(after(0), Receivable::InFlightFull);
    assert_eq!(after(999), Receivable::InFlightFull);
    assert_eq!(after(1_000), Receivable::Ready(1));
    assert_eq!(after(1_001), Receivable::Ready(1));
}

#[test]
fn a_queue_is_named_for_carrying_while_it_has_something_to_carry_or_a_lane_to_end() {
    let mut world = World::new();
    let target = QueueId(3);
    let with_policy = |dead_letter| QueueAttributes {
        dead_letter,
        ..attributes()
    };
    let policy = DeadLetterPolicy {
        queue: target,
        after: DeadLetterAfter::Receives(1),
    };
    world.put(2, with_policy(Some(policy)));
    assert_eq!(world.shard.queues_with_moves(), []);
    world.send(vec![body(1)]);
    world.receive(Millis(1)).unwrap();
    world.now += 1;
    world.apply(&Command::Settle);
    assert_eq!(world.shard.queues_with_moves(), [QUEUE], "a dead letter");
    let through = 1;
    world.apply(&Command::MovesSettled {
        queue: QUEUE,
        target,
        through,
    });
    assert_eq!(world.shard.queues_with_moves(), [], "more may come");
    world.put(3, with_policy(None));
    assert_eq!(world.shard.queues_with_moves(), [QUEUE], "nothing more");
    world.apply(&Command::LaneEnded {
        queue: QUEUE,
        target,
        through,
    });
    assert_eq!(world.shard.queues_with_moves(), []);
}
