//! Cases of topics that went wrong once, each in as few commands as it takes.

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, QueueAttributes, RetentionFrom,
        SubscriptionAttributes, TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Answer, Command, CreateQueue, CreateTopic, Effect, Placed, Query, Reply, Subscribe},
    error::Error,
    id::{AccountId, QueueId, ShardId, SubscriptionId, TopicId},
    labels::{Labels, Published},
    limits,
    name::{QueueName, SubscriptionName, TopicName},
    op::EndpointName,
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};

const TOPIC: TopicId = TopicId(1);
const OUTBOX: SubscriptionId = SubscriptionId(2);
const TARGET: QueueId = QueueId(3);
const DEAD: QueueId = QueueId(4);
const START: u64 = 1_000_000;

fn apply(shard: &mut Shard, now: u64, command: &Command) -> Reply {
    apply_and_hear(shard, now, command).0
}

/// The reply, and whether the pusher of the outbox is told that it may find something.
fn apply_and_hear(shard: &mut Shard, now: u64, command: &Command) -> (Reply, bool) {
    let mut batch = BatchBuilder::new(Stamp {
        now: Timestamp(now),
        wall: Timestamp(now),
        ..Stamp::default()
    });
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    shard
        .apply(index, &batch.finish(), &mut replies, &mut effects)
        .unwrap();
    let ready = Effect::OutboxReady {
        subscription: OUTBOX,
    };
    (replies.remove(0), effects.contains(&ready))
}

/// A shard with a subscription over HTTP, one message at a time.
fn pushing(retention: u64) -> Shard {
    let mut shard = Shard::new(ShardId(1), 2);
    apply(&mut shard, START, &put_topic(1, retention));
    let Command::PutSubscription { mut attributes, .. } = put_subscription(1, None) else {
        unreachable!("it was made just now")
    };
    attributes.endpoint = Endpoint::Http {
        url: "http://h/".into(),
    };
    attributes.retry = RetryStrategy::BackOff;
    let put = Command::PutSubscription {
        subscription: OUTBOX,
        topic: TOPIC,
        revision: 1,
        attributes,
    };
    apply(&mut shard, START, &put);
    shard
}

fn take(visibility: u64) -> Command {
    Command::ReceiveMessages {
        queue: OUTBOX.outbox(),
        max: 1,
        visibility: Some(Millis(visibility)),
    }
}

/// The pusher was refused for want of room; when the lease ends with its message, there is room.
#[test]
fn a_pusher_hears_of_room_when_a_lease_ends_with_its_message() {
    let mut shard = pushing(60_000);
    apply(&mut shard, START, &publish());
    apply(&mut shard, START + 30_000, &publish());
    apply(&mut shard, START + 50_000, &take(20_000));
    let refused = apply(&mut shard, START + 50_000, &take(20_000));
    assert_eq!(refused, Reply::Refused(Error::TooManyInFlight));
    let (_, hears) = apply_and_hear(&mut shard, START + 60_000, &Command::Settle);
    assert_eq!(expired(&shard), 1);
    assert!(hears, "the second message would wait for ever");
}

/// A take that used up what it may settle has not seen what is behind.
#[test]
fn a_pusher_hears_again_after_a_take_that_did_not_get_through() {
    let mut shard = pushing(60_000);
    shard.set_settled_per_entry(2);
    for _ in 0..9 {
        apply(&mut shard, START, &publish());
    }
    apply(&mut shard, START + 30_000, &publish());
    for round in 0..3 {
        let (taken, hears) = apply_and_hear(&mut shard, START + 60_000, &take(1_000));
        let Reply::Received { deliveries } = taken else {
            panic!("{taken:?}")
        };
        assert_eq!(deliveries.len(), usize::from(round == 2));
        assert!(hears || round == 2, "nobody would look again");
    }
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

fn put_topic(revision: u64, retention: u64) -> Command {
    Command::PutTopic {
        topic: TOPIC,
        revision,
        attributes: topic_attributes(retention),
    }
}

fn topic_attributes(retention: u64) -> TopicAttributes {
    TopicAttributes {
        body_bytes_max: 10,
        retention: Millis(retention),
        filter: FilterKind::Tags,
    }
}

fn put_subscription(revision: u64, dead_letter: Option<QueueId>) -> Command {
    Command::PutSubscription {
        subscription: OUTBOX,
        topic: TOPIC,
        revision,
        attributes: SubscriptionAttributes {
            endpoint: Endpoint::Queue {
                name: QueueName::new("target").unwrap(),
                queue: Some(TARGET),
            },
            retry: RetryStrategy::ExponentialDecay,
            format: BodyFormat::Simplified,
            filter: Filter::Tags([].into()),
            dead_letter,
        },
    }
}

fn publish() -> Command {
    Command::Publish {
        topic: TOPIC,
        bodies: vec![Published::seal(&Labels::default(), b"body")],
    }
}

fn move_failed(wait: u64) -> Command {
    Command::MoveFailed {
        queue: OUTBOX.outbox(),
        target: TARGET,
        number: 1,
        wait_max: Millis(wait),
    }
}

fn forwarding(retention: u64, dead_letter: Option<QueueId>) -> Shard {
    let mut shard = Shard::new(ShardId(1), 2);
    apply(&mut shard, START, &put_topic(1, retention));
    apply(&mut shard, START, &put_subscription(1, dead_letter));
    apply(&mut shard, START, &publish());
    shard
}

fn expired(shard: &Shard) -> u64 {
    let query = Query::SubscriptionCounts {
        subscription: OUTBOX,
    };
    match shard.query(&query) {
        Answer::SubscriptionCounts(counts) => counts.totals.expired,
        other => panic!("{other:?}"),
    }
}

/// A dead letter comes back, as its queue is gone, to a subscription that delivers to a queue.
#[test]
fn what_comes_back_from_a_dead_letter_queue_goes_on_to_the_endpoint() {
    let mut shard = forwarding(1000, Some(DEAD));
    // The queue refuses the message when its time is up: it becomes a dead letter.
    let late = START + 1000;
    apply(&mut shard, late, &move_failed(1000));
    // The policy goes, the topic keeps messages for longer, and the dead-letter queue ends.
    apply(&mut shard, late, &put_subscription(2, None));
    apply(&mut shard, late, &put_topic(2, 60_000));
    apply(
        &mut shard,
        late,
        &Command::ReturnMoves {
            queue: OUTBOX.outbox(),
            target: DEAD,
        },
    );
    let lanes = shard.moves(OUTBOX.outbox(), 10);
    let targets: Vec<QueueId> = lanes.iter().map(|lane| lane.target).collect();
    assert_eq!(targets, [TARGET], "it waits where nobody looks");
}

/// A wait of nothing, in the millisecond of publishing.
#[test]
fn a_move_that_fails_is_tried_again_after_no_time() {
    let mut shard = forwarding(60_000, None);
    apply(&mut shard, START, &move_failed(0));
    assert!(Shard::restore(&save(&shard)).is_ok());
    apply(&mut shard, START + 1, &Command::Settle);
    assert_eq!(expired(&shard), 0, "it expired long before its time");
    assert_eq!(shard.moves(OUTBOX.outbox(), 10).len(), 1);
}

/// The longest wait beyond the end of time: what decides is how old the message is.
#[test]
fn a_move_that_fails_comes_again_when_it_is_twice_as_old() {
    let mut shard = forwarding(60_000, None);
    let lane_len = |shard: &Shard| shard.moves(OUTBOX.outbox(), 10).len();
    apply(&mut shard, START, &move_failed(u64::MAX));
    let bytes = save(&shard);
    assert_eq!(save(&Shard::restore(&bytes).unwrap()), bytes);
    apply(&mut shard, START + 999, &Command::Settle);
    assert_eq!(lane_len(&shard), 0);
    apply(&mut shard, START + 1_000, &Command::Settle);
    assert_eq!(shard.moves(OUTBOX.outbox(), 10)[0].moves[0].number, 2);
    let again = Command::MoveFailed {
        queue: OUTBOX.outbox(),
        target: TARGET,
        number: 2,
        wait_max: Millis(u64::MAX),
    };
    apply(&mut shard, START + 20_000, &again);
    apply(&mut shard, START + 39_999, &Command::Settle);
    assert_eq!(lane_len(&shard), 0);
    apply(&mut shard, START + 40_000, &Command::Settle);
    assert_eq!(lane_len(&shard), 1);
    assert_eq!(expired(&shard), 0);
}

/// Many subscriptions, each of as few bytes as there can be.
#[test]
fn a_catalog_of_short_names_is_restored() {
    let mut shard = Shard::new(ShardId(0), 2);
    let account = AccountId(1);
    let queue = QueueName::new("q").unwrap();
    let create = Command::CreateQueue(CreateQueue {
        account,
        name: queue.clone(),
        attributes: queue_attributes(),
        dead_letter: None,
        queues_max: 1,
        reuse_after: Millis(0),
    });
    assert!(matches!(
        apply(&mut shard, START, &create),
        Reply::Placed(_)
    ));
    let topic = TopicName::new("t").unwrap();
    let mut topics = vec![topic];
    topics.extend((0..100).map(|number| TopicName::new(&format!("t{number}")).unwrap()));
    for topic in topics {
        let create = Command::CreateTopic(CreateTopic {
            account,
            name: topic.clone(),
            attributes: topic_attributes(1000),
            topics_max: 1000,
            reuse_after: Millis(0),
        });
        let subscribe = Command::Subscribe(Box::new(Subscribe {
            account,
            topic,
            name: SubscriptionName::new("s").unwrap(),
            endpoint: EndpointName::Queue(queue.clone()),
            retry: RetryStrategy::BackOff,
            format: BodyFormat::Simplified,
            tags: Vec::new(),
            binding_keys: Vec::new(),
            dead_letter: None,
            subscriptions_max: 1,
        }));
        for command in [create, subscribe] {
            assert!(matches!(
                apply(&mut shard, START, &command),
                Reply::Placed(_)
            ));
        }
    }
    let delete = Command::DeleteQueue {
        account,
        name: queue,
    };
    apply(&mut shard, START, &delete);
    for placed in shard.unsettled() {
        let (number, revision) = (placed.number(), placed.revision());
        apply(&mut shard, START, &Command::Settled { number, revision });
    }
    let bytes = save(&shard);
    let copy = Shard::restore(&bytes).expect("a snapshot restores");
    let is_subscription = |placed: &Placed| matches!(placed, Placed::Subscription(_));
    assert_eq!(
        copy.routes()
            .iter()
            .filter(|one| is_subscription(one))
            .count(),
        101
    );
}

/// Numbers come from one counter. Should one ever name both a queue and a subscription, the shard
/// must not run into a loop.
#[test]
fn a_subscription_with_the_number_of_a_queue_does_no_harm() {
    let mut shard = Shard::new(ShardId(1), 2);
    let queue = OUTBOX.outbox();
    let put = Command::PutQueue {
        queue,
        revision: 1,
        attributes: queue_attributes(),
    };
    apply(&mut shard, START, &put);
    let send = Command::SendMessages {
        queue,
        delay: None,
        bodies: vec![b"body".as_slice().into()],
    };
    apply(&mut shard, START, &send);
    apply(&mut shard, START, &put_topic(1, 1000));
    apply(&mut shard, START, &put_subscription(1, None));
    shard.check();
}

fn queue_attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 10,
        wait: Millis(0),
        visibility: Millis(1),
        body_bytes_max: 10,
        retention: limits::RETENTION_MAX,
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 1,
        in_flight_max: 10,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}
