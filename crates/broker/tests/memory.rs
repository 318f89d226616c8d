//! How many bytes a message takes in each state: the numbers that bind.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Command, Reply},
    id::{QueueId, Sequence, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const QUEUE: QueueId = QueueId(1);

struct World {
    shard: Shard,
    now: u64,
    receipts: Vec<Sequence>,
}

impl World {
    fn new(rewind: Millis) -> Self {
        let mut world = Self {
            shard: Shard::new(ShardId(1), 2),
            now: 1_700_000_000_000,
            receipts: Vec::new(),
        };
        world.put(QUEUE, rewind);
        world
    }

    fn put(&mut self, queue: QueueId, rewind: Millis) {
        let attributes = QueueAttributes {
            backlog_max: u64::MAX,
            wait: Millis(0),
            visibility: Millis::from_seconds(30),
            body_bytes_max: 1024,
            retention: Millis::from_seconds(4 * 86_400),
            retention_from: RetentionFrom::Sent,
            rewind,
            delay: Millis(0),
            delay_max: Millis::from_seconds(86_400),
            delayed_max: u64::MAX,
            in_flight_max: u64::MAX,
            dead_letter: None,
            acknowledge: Acknowledge::Majority,
        };
        self.apply(&[Command::PutQueue {
            queue,
            revision: 1,
            attributes,
        }]);
    }

    /// Applies one entry; every third index is another shard's or nobody's.
    fn apply(&mut self, commands: &[Command]) {
        let index = self.shard.applied() + 1;
        let index = index + u64::from(index.is_multiple_of(3));
        let mut batch = BatchBuilder::new(Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now),
            ..Stamp::default()
        });
        for command in commands {
            batch.push(&codec::encode(command));
        }
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        self.shard
            .apply(index, &batch.finish(), &mut replies, &mut effects)
            .unwrap();
        for reply in replies {
            match reply {
                Reply::Refused(error) => panic!("{error}"),
                Reply::Received { deliveries } => {
                    self.receipts
                        .extend(deliveries.iter().map(|delivery| delivery.receipt));
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, entries: u64, messages: usize, delay: impl Fn(u64) -> u64) {
        for entry in 0..entries {
            self.now += 3;
            let bodies = vec![Bytes::from_static(b"x"); messages];
            let delay = Some(Millis(delay(entry)));
            self.apply(&[Command::SendMessages {
                queue: QUEUE,
                delay,
                bodies,
            }]);
        }
    }

    /// Hundredths of a byte for each of some things.
    fn hundredths_each(&self, things: u64) -> u64 {
        self.shard.memory_bytes() as u64 * 100 / things
    }
}

fn check(what: &str, hundredths: u64, bytes_max: u64) {
    let text = format!(
        "{what}: {}.{:02} bytes each",
        hundredths / 100,
        hundredths % 100
    );
    assert!(hundredths <= bytes_max * 100, "{text}, at most {bytes_max}");
    let least = bytes_max * 100 / 3;
    assert!(hundredths >= least, "{text}: something is not counted");
    #[expect(clippy::print_stdout, reason = "shown by --nocapture")]
    {
        println!("{text}");
    }
}

#[test]
fn a_waiting_message_takes_few_bytes() {
    let mut world = World::new(Millis(0));
    let empty = world.shard.memory_bytes() as u64;
    check("queue with nothing in it", empty * 100, 1023);
    world.send(512, 1, |_| 0);
    check(
        "waiting, hot",
        (world.shard.memory_bytes() as u64 - empty) * 100 / 512,
        17,
    );

    world.send(400_000, 1, |_| 0);
    check(
        "waiting, sent one by one",
        world.hundredths_each(400_000),
        3,
    );

    let mut world = World::new(Millis(0));
    world.send(30_000, 16, |_| 0);
    check(
        "waiting, sent in batches of 16",
        world.hundredths_each(480_000),
        1,
    );
}

#[test]
fn a_lease_takes_at_most_sixty_bytes() {
    let mut world = World::new(Millis(0));
    world.send(2000, 50, |_| 0);
    let receive = Command::ReceiveMessages {
        queue: QUEUE,
        max: 50,
        visibility: None,
    };
    for _ in 0..2000 {
        world.apply(std::slice::from_ref(&receive));
    }
    assert_eq!(world.receipts.len(), 100_000);
    check("leased", world.hundredths_each(100_000), 60);
}

#[test]
fn a_delayed_message_takes_at_most_forty_four_bytes() {
    let mut world = World::new(Millis(0));
    world.send(100_000, 1, |_| 900_000);
    check("delayed alike", world.hundredths_each(100_000), 36);

    let mut world = World::new(Millis(0));
    world.send(100_000, 1, |entry| {
        1 + entry.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 80_000_000
    });
    check("delayed at random", world.hundredths_each(100_000), 44);
}

#[test]
fn a_retired_message_takes_few_bytes() {
    let mut world = World::new(Millis::from_seconds(86_400));
    for _ in 0..4000 {
        world.send(1, 50, |_| 0);
        world.apply(&[Command::ReceiveMessages {
            queue: QUEUE,
            max: 50,
            visibility: None,
        }]);
        let mut receipts = std::mem::take(&mut world.receipts);
        receipts.reverse();
        world.apply(&[Command::DeleteMessages {
            queue: QUEUE,
            receipts,
        }]);
    }
    assert_eq!(world.shard.totals().retired, 200_000);
    check(
        "retired, from batches of 50",
        world.hundredths_each(200_000),
        1,
    );
}

#[test]
fn an_emptied_queue_is_small_again() {
    let mut world = World::new(Millis(0));
    world.send(10_000, 1, |_| 0);
    world.send(1000, 1, |_| 1000);
    world.now += 2000;
    while world.shard.totals().ready > 0 || world.shard.totals().delayed > 0 {
        world.apply(&[Command::ReceiveMessages {
            queue: QUEUE,
            max: 64,
            visibility: None,
        }]);
        let receipts = std::mem::take(&mut world.receipts);
        world.apply(&[Command::DeleteMessages {
            queue: QUEUE,
            receipts,
        }]);
    }
    assert_eq!(world.shard.totals().leased, 0);
    check(
        "queue that was emptied",
        world.shard.memory_bytes() as u64 * 100,
        1023,
    );
}
