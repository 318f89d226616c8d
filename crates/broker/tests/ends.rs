//! What ended does not come back, however late a word of it is and however much has ended since.

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, SubscriptionAttributes,
        TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Answer, Command, CreateTopic, Placed, PlacedSubscription, Query, Reply, Subscribe},
    error::Error,
    id::{AccountId, QueueId, ShardId, SubscriptionId, TopicId},
    name::{SubscriptionName, TopicName},
    op::EndpointName,
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp},
};

const ACCOUNT: AccountId = AccountId(1);
const TOPIC: TopicId = TopicId(1);

fn apply(shard: &mut Shard, command: &Command) -> Reply {
    let mut batch = BatchBuilder::new(Stamp::default());
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    let payload = batch.finish();
    let applied = shard.apply(index, &payload, &mut replies, &mut effects);
    applied.unwrap();
    replies.remove(0)
}

fn topic_attributes() -> TopicAttributes {
    TopicAttributes {
        acknowledge: Acknowledge::Majority,
        body_bytes_max: 9,
        retention: Millis(1_000),
        filter: FilterKind::Tags,
    }
}

fn put_topic() -> Command {
    Command::PutTopic {
        topic: TOPIC,
        revision: 1,
        attributes: topic_attributes(),
    }
}

fn put(subscription: SubscriptionId, revision: u64) -> Command {
    Command::PutSubscription {
        subscription,
        topic: TOPIC,
        revision,
        attributes: SubscriptionAttributes {
            endpoint: Endpoint::Http {
                url: "http://a/".into(),
            },
            retry: RetryStrategy::BackOff,
            format: BodyFormat::Json,
            filter: Filter::Tags([].into()),
            dead_letter: None,
        },
    }
}

fn is_there(shard: &Shard, subscription: SubscriptionId) -> bool {
    let query = Query::SubscriptionCounts { subscription };
    match shard.query(&query) {
        Answer::SubscriptionCounts(_) => true,
        Answer::Refused(Error::NoSuchSubscription) => false,
        other => panic!("{other:?}"),
    }
}

/// Core review, finding 22: only the last ten thousand ends were remembered.
#[test]
fn a_late_word_revives_no_subscription_after_ten_thousand_other_ends() {
    let mut shard = Shard::new(ShardId(1), 2);
    let ended = SubscriptionId(2);
    apply(&mut shard, &put_topic());
    apply(&mut shard, &put(ended, 1));
    let drop = Command::DropSubscription {
        subscription: ended,
        floor: 3,
    };
    assert_eq!(apply(&mut shard, &drop), Reply::Done);
    for number in 3..10_004 {
        let drop = Command::DropQueue {
            queue: QueueId(number),
            floor: number + 1,
        };
        assert_eq!(apply(&mut shard, &drop), Reply::Done);
    }
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    let mut shard = Shard::restore(&bytes).unwrap();
    assert_eq!(apply(&mut shard, &put(ended, 1)), Reply::Done);
    assert!(!is_there(&shard, ended));
}

#[test]
fn what_is_below_the_floor_and_lives_is_still_told() {
    let mut shard = Shard::new(ShardId(1), 2);
    let (living, new) = (SubscriptionId(2), SubscriptionId(9));
    apply(&mut shard, &put_topic());
    apply(&mut shard, &put(living, 1));
    let queue = QueueId(7);
    apply(&mut shard, &Command::DropQueue { queue, floor: 8 });
    assert_eq!(apply(&mut shard, &put(living, 2)), Reply::Done);
    assert_eq!(apply(&mut shard, &put(new, 1)), Reply::Done);
    assert!(is_there(&shard, living) && is_there(&shard, new));
    assert_eq!(apply(&mut shard, &put(SubscriptionId(5), 1)), Reply::Done);
    assert!(!is_there(&shard, SubscriptionId(5)));
}

#[test]
fn ends_wait_when_too_many_are_above_the_floor() {
    let mut shard = Shard::new(ShardId(1), 2);
    let drop = |number, floor| Command::DropQueue {
        queue: QueueId(number),
        floor,
    };
    for number in 2..10_002 {
        assert_eq!(apply(&mut shard, &drop(number, 1)), Reply::Done);
    }
    let refused = Reply::Refused(Error::Busy);
    assert_eq!(apply(&mut shard, &drop(10_002, 1)), refused);
    assert_eq!(apply(&mut shard, &drop(10_002, 3)), Reply::Done);
}

fn subscribe(catalog: &mut Shard, name: &str) -> PlacedSubscription {
    let subscribe = Command::Subscribe(Box::new(Subscribe {
        account: ACCOUNT,
        topic: TopicName::new("news").unwrap(),
        name: SubscriptionName::new(name).unwrap(),
        endpoint: EndpointName::Http {
            url: "http://a/".into(),
        },
        retry: RetryStrategy::BackOff,
        format: BodyFormat::Json,
        tags: Vec::new(),
        binding_keys: Vec::new(),
        dead_letter: None,
        subscriptions_max: 9,
    }));
    subscription(apply(catalog, &subscribe))
}

fn unsubscribe(catalog: &mut Shard, name: &str) -> PlacedSubscription {
    let unsubscribe = Command::Unsubscribe {
        account: ACCOUNT,
        topic: TopicName::new("news").unwrap(),
        name: SubscriptionName::new(name).unwrap(),
    };
    subscription(apply(catalog, &unsubscribe))
}

fn subscription(reply: Reply) -> PlacedSubscription {
    match reply {
        Reply::Placed(Placed::Subscription(placed)) => *placed,
        other => panic!("{other:?}"),
    }
}

/// Core review, finding 22: what a shard may forget of ends is what no late word can name any more.
#[test]
fn the_floor_is_the_first_number_that_the_shard_may_still_have_to_hear_of() {
    let mut catalog = Shard::new(ShardId::CATALOG, 1);
    let create = Command::CreateTopic(CreateTopic {
        account: ACCOUNT,
        name: TopicName::new("news").unwrap(),
        attributes: topic_attributes(),
        topics_max: 9,
        reuse_after: Millis(0),
        avoid: Vec::new(),
    });
    apply(&mut catalog, &create);
    let settled = |number| Command::Settled {
        number,
        revision: 1,
    };
    apply(&mut catalog, &settled(1));
    let [one, two, three] = ["one", "two", "three"].map(|name| subscribe(&mut catalog, name));
    assert_eq!([one.floor, two.floor, three.floor], [0, 0, 0]);
    apply(&mut catalog, &settled(one.subscription.0));
    assert_eq!(unsubscribe(&mut catalog, "one").floor, two.subscription.0);
    let ends = unsubscribe(&mut catalog, "two");
    assert_eq!(
        ends.floor, three.subscription.0,
        "what ended is not awaited"
    );
    apply(&mut catalog, &settled(three.subscription.0));
    let again = catalog
        .unsettled()
        .into_iter()
        .find_map(|placed| match placed {
            Placed::Subscription(placed) if placed.subscription == ends.subscription => {
                Some(placed)
            }
            _ => None,
        });
    assert_eq!(again.unwrap().floor, three.subscription.0 + 1);
}
