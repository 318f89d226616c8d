//! How long applying a publish takes, by subscriptions that want it and that do not.
//!
//! `cargo run --release -p anser-broker --example publish`

#![expect(clippy::disallowed_types, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::time::Instant;

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, SubscriptionAttributes,
        TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Command, Reply},
    id::{ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey},
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};

const TOPIC: TopicId = TopicId(1);
const ENTRIES: u32 = 1_000;
const PER_ENTRY: u32 = 50;

fn main() {
    println!("{:<44} {:>12}", "subscriptions", "ns a publish");
    for (wanting, others) in [(1, 0), (10, 0), (100, 0), (500, 0), (1, 499)] {
        let mut shard = shard(wanting, others);
        let took = publish(&mut shard);
        println!(
            "{:<44} {took:>12}",
            format!("{wanting} that want it, {others} that do not")
        );
    }
}

/// A shard with a topic; each subscription has five binding keys.
fn shard(wanting: u64, others: u64) -> Shard {
    let mut shard = Shard::new(ShardId(1), 2);
    let put = Command::PutTopic {
        topic: TOPIC,
        revision: 1,
        attributes: TopicAttributes {
            acknowledge: Acknowledge::Majority,
            body_bytes_max: 65_536,
            retention: Millis(86_400_000),
            filter: FilterKind::RoutingKey,
        },
    };
    apply(&mut shard, &[put]);
    for number in 0..wanting + others {
        let last = if number < wanting {
            "orders.#"
        } else {
            "orders.*.none"
        };
        let mut keys: Vec<String> = (0..4)
            .map(|key| format!("shop{number}.*.item{key}.#"))
            .collect();
        keys.push(last.to_owned());
        let keys = keys
            .iter()
            .map(|key| BindingKey::new(key).expect("a good key"));
        let put = Command::PutSubscription {
            subscription: SubscriptionId(number + 2),
            topic: TOPIC,
            revision: 1,
            attributes: SubscriptionAttributes {
                endpoint: Endpoint::Http {
                    url: "http://h/".into(),
                },
                retry: RetryStrategy::ExponentialDecay,
                format: BodyFormat::Json,
                filter: Filter::BindingKeys(keys.collect()),
                dead_letter: None,
            },
        };
        apply(&mut shard, &[put]);
    }
    shard
}

fn publish(shard: &mut Shard) -> u128 {
    let labels = Labels {
        routing_key: Some(RoutingKey::new("orders.eu.paid").expect("a good key")),
        ..Labels::default()
    };
    let body = Published::seal(&labels, &[b'b'; 1024]);
    let command = Command::Publish {
        topic: TOPIC,
        bodies: vec![body],
    };
    let commands: Vec<Command> = (0..PER_ENTRY).map(|_| command.clone()).collect();
    let took: u128 = (0..ENTRIES).map(|_| apply(shard, &commands)).sum();
    took / u128::from(ENTRIES * PER_ENTRY)
}

/// Applies commands as one entry, and gives the nanoseconds that took.
fn apply(shard: &mut Shard, commands: &[Command]) -> u128 {
    let index = shard.applied() + 1;
    let now = Timestamp(1_000_000 + index);
    let mut batch = BatchBuilder::new(Stamp {
        now,
        wall: now,
        blur: Millis(0),
    });
    for command in commands {
        batch.push(&codec::encode(command));
    }
    let (payload, mut replies, mut effects) = (batch.finish(), Vec::new(), Vec::new());
    let start = Instant::now();
    shard
        .apply(index, &payload, &mut replies, &mut effects)
        .expect("what was packed just now");
    let took = start.elapsed().as_nanos();
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
    assert!(!replies.iter().any(refused), "{replies:?}");
    took
}
