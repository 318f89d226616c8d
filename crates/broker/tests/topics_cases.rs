//! Cases of topics that went wrong once, each in as few commands as it takes.

use std::ops::RangeInclusive;

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, QueueAttributes, RetentionFrom,
        SubscriptionAttributes, TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{
        Answer, Command, CreateQueue, CreateTopic, Effect, Placed, Query, Reply, Subscribe,
        SubscriptionCounts,
    },
    error::Error,
    id::{AccountId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{Labels, Published, Tag},
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
    apply(&mut shard, START, &put_pushed(OUTBOX, &[]));
    shard
}

/// A subscription over HTTP to messages with one of these tags, or to all.
fn put_pushed(subscription: SubscriptionId, tags: &[&str]) -> Command {
    let Command::PutSubscription { mut attributes, .. } = put_subscription(1, None) else {
        unreachable!("it was made just now")
    };
    attributes.endpoint = Endpoint::Http {
        url: "http://h/".into(),
    };
    attributes.retry = RetryStrategy::BackOff;
    attributes.filter = Filter::Tags(tags.iter().map(|tag| Tag::new(tag).unwrap()).collect());
    Command::PutSubscription {
        subscription,
        topic: TOPIC,
        revision: 1,
        attributes,
    }
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

/// A node that has just begun to lead has a pusher of its own, which is refused while the one before still has a message. When
/// that one says what became of it, nobody else tells of the room.
#[test]
fn a_pusher_hears_of_room_when_another_ends_the_lease() {
    let queue = OUTBOX.outbox();
    let ends: [fn(QueueId, Vec<Sequence>) -> Command; 2] = [
        |queue, receipts| Command::DeleteMessages { queue, receipts },
        |queue, receipts| Command::GiveUp { queue, receipts },
    ];
    for end in ends {
        let mut shard = pushing(60_000);
        apply(&mut shard, START, &publish());
        apply(&mut shard, START, &publish());
        let Reply::Received { deliveries } = apply(&mut shard, START, &take(20_000)) else {
            panic!("a message is ready")
        };
        let refused = apply(&mut shard, START, &take(20_000));
        assert_eq!(refused, Reply::Refused(Error::TooManyInFlight));
        let ended = end(queue, vec![deliveries[0].receipt]);
        let (_, hears) = apply_and_hear(&mut shard, START, &ended);
        assert!(hears, "the second message would wait for ever: {ended:?}");
    }
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
        acknowledge: Acknowledge::Majority,
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
    publish_with(&Labels::default(), 1)
}

/// Messages with the same labels.
fn publish_with(labels: &Labels, count: usize) -> Command {
    Command::Publish {
        topic: TOPIC,
        bodies: vec![Published::seal(labels, b"body"); count],
    }
}

fn publish_many(shard: &mut Shard, labels: &Labels, count: u64) {
    let mut left = usize::try_from(count).unwrap();
    while left > 0 {
        let batch = left.min(limits::BATCH_MESSAGES_MAX);
        let reply = apply(shard, START, &publish_with(labels, batch));
        assert!(matches!(reply, Reply::Sent { .. }), "{reply:?}");
        left -= batch;
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

fn subscription_counts(shard: &Shard) -> SubscriptionCounts {
    let query = Query::SubscriptionCounts {
        subscription: OUTBOX,
    };
    match shard.query(&query) {
        Answer::SubscriptionCounts(counts) => counts,
        other => panic!("{other:?}"),
    }
}

fn expired(shard: &Shard) -> u64 {
    subscription_counts(shard).totals.expired
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
    let lanes = lanes.iter().filter(|lane| lane.ends.is_none());
    let targets: Vec<QueueId> = lanes.map(|lane| lane.target).collect();
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

/// The numbers of the messages that are on their way to the target.
fn numbers_in_lane(shard: &Shard) -> Vec<u64> {
    let lanes = shard.moves(OUTBOX.outbox(), usize::MAX);
    let lane = lanes.iter().find(|lane| lane.target == TARGET);
    let moves = lane.into_iter().flat_map(|lane| &lane.moves);
    moves.map(|one| one.number).collect()
}

/// What does not fit into the lane waits behind it, and follows in its order when there is room again.
#[test]
fn a_lane_is_filled_up_to_its_bound() {
    let bound = limits::DELIVERY_LANE_MAX;
    let numbers = |range: RangeInclusive<u64>| range.collect::<Vec<u64>>();
    let mut shard = forwarding(60_000, None);
    let publish_more =
        |shard: &mut Shard, count: u64| publish_many(shard, &Labels::default(), count);
    publish_more(&mut shard, bound - 2);
    assert_eq!(numbers_in_lane(&shard), numbers(1..=bound - 1));
    publish_more(&mut shard, 1);
    assert_eq!(numbers_in_lane(&shard), numbers(1..=bound));
    publish_more(&mut shard, 3);
    assert_eq!(numbers_in_lane(&shard), numbers(1..=bound));
    assert_eq!(subscription_counts(&shard).waiting, bound + 3);
    // One is refused, so that it waits for a second; two arrive; then the rest.
    apply(&mut shard, START, &move_failed(60_000));
    assert_eq!(numbers_in_lane(&shard), numbers(2..=bound + 1));
    let mut shard = Shard::restore(&save(&shard)).unwrap();
    apply(&mut shard, START, &moves_settled(3));
    assert_eq!(numbers_in_lane(&shard), numbers(4..=bound + 3));
    apply(&mut shard, START, &moves_settled(bound + 3));
    assert_eq!(numbers_in_lane(&shard), []);
    apply(&mut shard, START + 1_000, &Command::Settle);
    assert_eq!(numbers_in_lane(&shard), [bound + 4]);
}

fn moves_settled(through: u64) -> Command {
    Command::MovesSettled {
        queue: OUTBOX.outbox(),
        target: TARGET,
        through,
    }
}

/// Up to the bound each message of a topic counts, whoever waits for it. Beyond it the topic says what the
/// subscription says that waits for the most.
#[test]
fn undelivered_messages_are_counted_one_by_one_up_to_a_bound() {
    let bound = limits::UNDELIVERED_COUNTED_MAX;
    let mut shard = Shard::new(ShardId(1), 2);
    apply(&mut shard, START, &put_topic(1, 60_000));
    apply(&mut shard, START, &put_pushed(OUTBOX, &["a", "both"]));
    apply(
        &mut shard,
        START,
        &put_pushed(SubscriptionId(5), &["b", "both"]),
    );
    let publish_tagged = |shard: &mut Shard, tag: &str, count: u64| {
        let labels = Labels {
            tags: vec![Tag::new(tag).unwrap()],
            routing_key: None,
        };
        publish_many(shard, &labels, count);
    };
    // Each of these waits twice.
    publish_tagged(&mut shard, "both", 100);
    publish_tagged(&mut shard, "b", 300);
    publish_tagged(&mut shard, "a", bound - 501);
    assert_eq!(waiting_in_topic(&shard), bound - 101);
    publish_tagged(&mut shard, "a", 1);
    assert_eq!(waiting_in_topic(&shard), bound - 100);
    publish_tagged(&mut shard, "b", 1);
    assert_eq!(waiting_in_topic(&shard), bound - 400);
    assert_eq!(subscription_counts(&shard).waiting, bound - 400);
}

fn waiting_in_topic(shard: &Shard) -> u64 {
    match shard.query(&Query::TopicCounts { topic: TOPIC }) {
        Answer::TopicCounts(counts) => counts.waiting,
        other => panic!("{other:?}"),
    }
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
        avoid: Vec::new(),
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
            avoid: Vec::new(),
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
