//! A queue's acknowledgement policy, from its creation in the catalog to its home.

use anser_broker::{
    attributes::{Acknowledge, AttributeChanges, QueueAttributes, RetentionFrom},
    codec::{self, BatchBuilder},
    command::{Answer, Command, CreateQueue, DeadLetterUpdate, Destination, Placed, Query, Reply},
    id::{AccountId, QueueId, ShardId},
    name::QueueName,
    shard::Shard,
    time::{Millis, Stamp},
};

const ACCOUNT: AccountId = AccountId(1);

fn apply(shard: &mut Shard, command: &Command) -> Reply {
    let mut batch = BatchBuilder::new(Stamp::default());
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    shard
        .apply(index, &batch.finish(), &mut replies, &mut effects)
        .unwrap();
    replies.remove(0)
}

fn restored(shard: &Shard) -> Shard {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    Shard::restore(&bytes).unwrap()
}

fn name() -> QueueName {
    QueueName::new("orders").unwrap()
}

fn create(acknowledge: Acknowledge) -> Command {
    Command::CreateQueue(CreateQueue {
        account: ACCOUNT,
        name: name(),
        attributes: QueueAttributes {
            backlog_max: 10,
            wait: Millis(0),
            visibility: Millis(1000),
            body_bytes_max: 10,
            retention: Millis(10_000),
            retention_from: RetentionFrom::Sent,
            rewind: Millis(0),
            delay: Millis(0),
            delay_max: Millis(0),
            delayed_max: 10,
            in_flight_max: 10,
            dead_letter: None,
            acknowledge,
        },
        dead_letter: None,
        queues_max: 10,
        reuse_after: Millis(0),
        avoid: Vec::new(),
    })
}

fn set(acknowledge: Option<Acknowledge>) -> Command {
    Command::SetQueueAttributes {
        account: ACCOUNT,
        name: name(),
        changes: AttributeChanges {
            wait: Some(Millis(5)),
            acknowledge,
            ..AttributeChanges::default()
        },
        dead_letter: DeadLetterUpdate::Keep,
    }
}

/// Applies a change and tells the home; the policy by the catalog, after a restart too.
fn change(shard: &mut Shard, command: &Command) -> Acknowledge {
    let Reply::Placed(Placed::Queue(placed)) = apply(shard, command) else {
        panic!("refused");
    };
    let put = Command::PutQueue {
        queue: placed.queue,
        revision: placed.revision,
        attributes: placed.attributes.unwrap(),
    };
    assert_eq!(apply(shard, &put), Reply::Done);
    *shard = restored(shard);
    let query = Query::Queue {
        account: ACCOUNT,
        name: name(),
    };
    let Answer::Queue(record) = shard.query(&query) else {
        panic!("no record");
    };
    let acknowledge = record.attributes.acknowledge;
    let queue = Destination::Queue(placed.queue);
    assert_eq!(shard.acknowledge(queue), acknowledge);
    acknowledge
}

#[test]
fn a_policy_is_kept_until_it_is_changed() {
    for first in [Acknowledge::Majority, Acknowledge::All] {
        let mut shard = Shard::new(ShardId(0), 1);
        assert_eq!(change(&mut shard, &create(first)), first);
        assert_eq!(change(&mut shard, &set(None)), first);
        for next in [Acknowledge::All, Acknowledge::Majority, Acknowledge::All] {
            assert_eq!(change(&mut shard, &set(Some(next))), next);
            assert_eq!(change(&mut shard, &set(None)), next);
        }
    }
}

#[test]
fn a_queue_that_is_not_there_has_the_usual_policy() {
    let shard = Shard::new(ShardId(1), 2);
    assert_eq!(
        shard.acknowledge(Destination::Queue(QueueId(1))),
        Acknowledge::Majority
    );
    assert_eq!(Acknowledge::default(), Acknowledge::Majority);
}
