//! How long a shard's thread is held up by what is not a message: by the survey, by maintenance, by
//! counts for a client, and by publishes with many subscriptions.
//!
//! `cargo run --release -p anser-broker --example cliffs`

#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::{hint::black_box, time::Instant};

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, QueueAttributes, RetentionFrom,
        SubscriptionAttributes, TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Command, CreateQueue, Query, Reply},
    id::{AccountId, QueueId, ShardId, SubscriptionId, TopicId},
    labels::{Labels, Published},
    name::QueueName,
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use bytes::Bytes;

const QUEUE: QueueId = QueueId(1);
const TOPIC: TopicId = TopicId(1);
/// Segments that maintenance asks for in one look.
const RANGES: u64 = 32;
const TRIES: usize = 10;

fn main() {
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "microseconds", "image", "then send", "counts", "totals", "any live", "live"
    );
    waiting();
    many_queues();
    outboxes();
    catalog();
    fan_out();
    ends();
}

fn waiting() {
    let mut bench = Bench::with_queue();
    bench.fill(1_000_000 / 64, 64, |_| 3_600_000);
    bench.report("1,000,000 delayed alike");
    let mut bench = Bench::with_queue();
    bench.fill(1_000_000 / 16, 16, |entry| {
        1_000 + entry.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 86_400_000
    });
    bench.report("1,000,000 delayed at random");
    let mut bench = Bench::with_queue();
    bench.fill(100_000 / 16, 16, |_| 0);
    for _ in 0..100_000 / 16 {
        bench.apply(&[Command::ReceiveMessages {
            queue: QUEUE,
            max: 16,
            visibility: None,
        }]);
    }
    bench.report("100,000 leased");
    let mut bench = Bench::with_queue();
    bench.fill(10_000_000 / 64, 64, |_| 0);
    bench.report("10,000,000 waiting");
}

fn many_queues() {
    for (queues, messages) in [(6_250, 3), (100_000, 0), (100_000, 1)] {
        let mut bench = Bench::new(1);
        for queue in (1..=queues).map(QueueId) {
            bench.put(queue);
            if messages > 0 {
                bench.send(queue, 0, messages);
            }
        }
        bench.report(&format!("{queues} queues with {messages} messages"));
    }
}

fn outboxes() {
    for subscriptions in [500, 10_000] {
        let mut bench = Bench::with_topic(subscriptions);
        for _ in 0..32 {
            bench.apply(&[publish(64)]);
        }
        bench.report(&format!("{subscriptions} outboxes with 2,048 messages"));
    }
}

fn catalog() {
    let mut bench = Bench::new(0);
    for number in 0..100_000 {
        bench.create(number);
    }
    let mut number = 100_000;
    let (image, then) = bench.image_then(|bench| {
        number += 1;
        bench.create(number);
    });
    println!(
        "{:<44} {image:>9.1} {then:>9.1}",
        "catalog of 100,000 queues, then one more"
    );
}

/// What one entry costs on every replica when it is packed as full as its bytes allow.
fn fan_out() {
    for subscriptions in [500, 10_000] {
        let mut bench = Bench::with_topic(subscriptions);
        let commands = vec![publish(1); 1024];
        let took = timed(|| bench.apply(&commands));
        println!("1,024 publishes to {subscriptions} subscriptions in one entry: {took:.0}");
    }
}

/// The end of many messages at once.
fn ends() {
    let mut bench = Bench::with_queue();
    bench.fill(10_000_000 / 64, 64, |_| 0);
    let took = timed(|| bench.apply(&[Command::ClearQueue { queue: QUEUE }]));
    println!("clear of 10,000,000 that were sent 64 at a time: {took:.0}");
    let mut bench = Bench::with_queue();
    bench.fill(1_000_000, 1, |_| 0);
    let took = timed(|| bench.apply(&[Command::ClearQueue { queue: QUEUE }]));
    println!("clear of 1,000,000 that were sent one by one: {took:.0}");
}

/// The microseconds that it takes.
fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e6
}

/// The fewest microseconds that it takes: the machine may be doing other things as well.
fn best(mut run: impl FnMut()) -> f64 {
    let all = (0..TRIES).map(|_| timed(&mut run));
    all.fold(f64::INFINITY, f64::min)
}

struct Bench {
    shard: Shard,
    index: u64,
    now: u64,
}

impl Bench {
    fn new(shard: u16) -> Self {
        Self {
            shard: Shard::new(ShardId(shard), 16),
            index: 0,
            now: 1_000_000,
        }
    }

    fn with_queue() -> Self {
        let mut bench = Self::new(1);
        bench.put(QUEUE);
        bench
    }

    fn with_topic(subscriptions: u64) -> Self {
        let mut bench = Self::new(1);
        bench.apply(&[Command::PutTopic {
            topic: TOPIC,
            revision: 1,
            attributes: TopicAttributes {
                acknowledge: Acknowledge::Majority,
                body_bytes_max: 65_536,
                retention: Millis::from_seconds(86_400),
                filter: FilterKind::Tags,
            },
        }]);
        for number in 0..subscriptions {
            bench.apply(&[Command::PutSubscription {
                subscription: SubscriptionId(number + 2),
                topic: TOPIC,
                revision: 1,
                attributes: SubscriptionAttributes {
                    endpoint: Endpoint::Http {
                        url: "http://h/".into(),
                    },
                    retry: RetryStrategy::ExponentialDecay,
                    format: BodyFormat::Json,
                    filter: Filter::Tags([].into()),
                    dead_letter: None,
                },
            }]);
        }
        bench
    }

    fn apply(&mut self, commands: &[Command]) {
        self.index += 1;
        self.now += 1;
        let now = Timestamp(self.now);
        let mut batch = BatchBuilder::new(Stamp {
            now,
            wall: now,
            blur: Millis(0),
        });
        for command in commands {
            batch.push(&codec::encode(command));
        }
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        self.shard
            .apply(self.index, &batch.finish(), &mut replies, &mut effects)
            .expect("a batch that was packed here");
        let refused = replies
            .iter()
            .any(|reply| matches!(reply, Reply::Refused(_)));
        assert!(!refused, "{replies:?}");
    }

    fn put(&mut self, queue: QueueId) {
        let attributes = attributes();
        self.apply(&[Command::PutQueue {
            queue,
            revision: 1,
            attributes,
        }]);
    }

    fn send(&mut self, queue: QueueId, delay: u64, messages: usize) {
        self.apply(&[Command::SendMessages {
            queue,
            delay: Some(Millis(delay)),
            bodies: vec![Bytes::from_static(b"x"); messages],
        }]);
    }

    fn fill(&mut self, entries: u64, messages: usize, delay: impl Fn(u64) -> u64) {
        for entry in 0..entries {
            self.send(QUEUE, delay(entry), messages);
        }
    }

    fn create(&mut self, number: u64) {
        self.apply(&[Command::CreateQueue(CreateQueue {
            account: AccountId(1),
            name: QueueName::new(&format!("queue-{number}")).expect("a short name"),
            attributes: attributes(),
            dead_letter: None,
            queues_max: u64::MAX,
            reuse_after: Millis(0),
            avoid: Vec::new(),
        })]);
    }

    /// The fewest microseconds that an image takes, and what comes after it while it is being written.
    fn image_then(&mut self, mut then: impl FnMut(&mut Self)) -> (f64, f64) {
        let mut fewest = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TRIES {
            let mut image = None;
            let took = timed(|| image = Some(self.shard.clone()));
            let after = timed(|| then(self));
            drop(image);
            fewest = (fewest.0.min(took), fewest.1.min(after));
        }
        fewest
    }

    fn report(&mut self, what: &str) {
        let delay = u64::from(self.shard.totals().delayed > 0);
        let has_queue = self.shard.attributes(QUEUE).is_some();
        let (image, then) = self.image_then(|bench| {
            if has_queue {
                bench.send(QUEUE, delay, 1);
            } else {
                bench.apply(&[publish(1)]);
            }
        });
        let shard = &self.shard;
        let query = Query::Counts { queue: QUEUE };
        let counts = best(|| drop(black_box(shard.query(&query))));
        let totals = best(|| {
            black_box(shard.totals());
        });
        // Where nothing was sent yet: what a dead segment costs.
        let beyond = self.index + 1000;
        let any_live = best(|| {
            for range in 0..RANGES {
                let first = beyond + 100 * range;
                black_box(shard.any_live_between(first, first + 99));
            }
        });
        let live = best(|| drop(black_box(shard.live_between(1, 1000))));
        println!(
            "{what:<44} {image:>9.1} {then:>9.1} {counts:>9.1} {totals:>9.1} {any_live:>9.1} {live:>9.1}"
        );
    }
}

fn publish(messages: usize) -> Command {
    let body = Published::seal(&Labels::default(), b"x");
    Command::Publish {
        topic: TOPIC,
        bodies: vec![body; messages],
    }
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: u64::MAX,
        wait: Millis(0),
        visibility: Millis::from_seconds(40_000),
        body_bytes_max: 65_536,
        retention: Millis::from_seconds(4 * 86_400),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis::from_seconds(86_400 * 60),
        delayed_max: u64::MAX,
        in_flight_max: u64::MAX,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}
