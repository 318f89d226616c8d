//! Topics on a whole node: queues that subscribe, and outboxes that a pusher empties.

use anser_broker::{
    attributes::{Acknowledge, BodyFormat, FilterKind, TopicAttributes},
    error::Error,
    id::SubscriptionId,
    labels::{Labels, Tag},
    name::{SubscriptionName, TopicName},
    op::{
        CreateTopic, DeleteQueue, DescribeSubscription, DescribeTopic, EndpointName,
        PublishMessages, Subscribe, SubscriptionDescription, Unsubscribe,
    },
    outboxes::{Outboxes, PendingDelivery},
    retry::RetryStrategy,
    service::Service,
    time::Millis,
};
use bytes::Bytes;

use crate::house::{House, bodies, context, queue};

const DAY: Millis = Millis(86_400_000);

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("tests use valid names")
}

fn subscription(name: &str) -> SubscriptionName {
    SubscriptionName::new(name).expect("tests use valid names")
}

fn labels(tags: &[&str]) -> Labels {
    let tags = tags
        .iter()
        .map(|tag| Tag::new(tag).expect("a good tag"))
        .collect();
    Labels {
        tags,
        routing_key: None,
    }
}

fn http(url: &str) -> EndpointName {
    let url = url.to_owned();
    EndpointName::Http { url }
}

fn to_queue(name: &str) -> EndpointName {
    EndpointName::Queue(queue(name))
}

impl House {
    async fn create_topic(&self, name: &str) {
        let operation = CreateTopic {
            name: topic(name),
            attributes: TopicAttributes {
                body_bytes_max: 65_536,
                retention: DAY,
                filter: FilterKind::Tags,
                acknowledge: Acknowledge::Majority,
            },
            topics_max: 100,
            reuse_after: Millis(0),
        };
        let created = self.node.execute(context(), operation).await;
        created.expect("the topic is made");
    }

    async fn subscribe(
        &self,
        name: &str,
        endpoint: EndpointName,
        change: impl FnOnce(&mut Subscribe),
    ) -> SubscriptionId {
        let format = match endpoint {
            EndpointName::Http { .. } => BodyFormat::Json,
            EndpointName::Queue(_) => BodyFormat::Simplified,
        };
        let mut operation = Subscribe {
            topic: topic("news"),
            name: subscription(name),
            endpoint,
            retry: RetryStrategy::ExponentialDecay,
            format,
            tags: Vec::new(),
            binding_keys: Vec::new(),
            dead_letter: None,
            subscriptions_max: 500,
        };
        change(&mut operation);
        let subscribed = self.node.execute(context(), operation).await;
        subscribed.expect("it is made").subscription
    }

    async fn publish(&self, tags: &[&str], texts: &[&str]) -> Result<(), Error> {
        let bodies = texts.iter().map(|text| Bytes::from((*text).to_owned()));
        let operation = PublishMessages {
            topic: topic("news"),
            labels: labels(tags),
            bodies: bodies.collect(),
        };
        self.node.execute(context(), operation).await.map(drop)
    }

    async fn describe(&self, name: &str) -> SubscriptionDescription {
        let operation = DescribeSubscription {
            topic: topic("news"),
            name: subscription(name),
        };
        let described = self.node.execute(context(), operation).await;
        described.expect("it is there")
    }

    async fn until_subscription(
        &self,
        name: &str,
        done: impl Fn(&SubscriptionDescription) -> bool,
    ) {
        for _ in 0..2_000 {
            if done(&self.describe(name).await) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{:?} does not change", self.describe(name).await);
    }

    async fn take(&self, subscription: SubscriptionId, max: u32) -> Vec<PendingDelivery> {
        self.node
            .take(subscription, max, Millis(30_000))
            .await
            .expect("it is there")
    }
}

fn texts(deliveries: &[PendingDelivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| std::str::from_utf8(&delivery.body).expect("text"))
        .collect()
}

#[tokio::test]
async fn queues_on_every_shard_get_what_they_want_once() {
    let mut house = House::new();
    house.create_topic("news").await;
    for name in ["all-1", "all-2", "all-3", "all-4", "red"] {
        house.create(name).await;
        house
            .subscribe(name, to_queue(name), |subscribe| {
                if name == "red" {
                    subscribe.tags = vec![Tag::new("red").unwrap()];
                }
            })
            .await;
    }
    for number in 0..20 {
        let tags: &[&str] = if number % 2 == 0 { &["red"] } else { &[] };
        house.publish(tags, &[&number.to_string()]).await.unwrap();
        if number % 7 == 0 {
            house.restart();
        }
    }
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for name in ["all-1", "all-2", "all-3", "all-4"] {
        house.until(name, |counts| counts.ready == 20).await;
        house
            .until_subscription(name, |described| described.waiting == 0)
            .await;
        assert_eq!(house.describe(name).await.totals.delivered, 20);
        assert_eq!(bodies(&house.receive(name, 64).await), all, "{name}");
    }
    house.until("red", |counts| counts.ready == 10).await;
    let described = DescribeTopic {
        name: topic("news"),
    };
    let described = house.node.execute(context(), described).await.unwrap();
    assert_eq!((described.waiting, described.published), (0, 20));
}

#[tokio::test]
async fn what_a_queue_cannot_take_waits_for_it_and_lets_others_pass() {
    let house = House::new();
    house.create_topic("news").await;
    house
        .create_with("small", None, |attributes| attributes.body_bytes_max = 4)
        .await
        .unwrap();
    house.subscribe("small", to_queue("small"), |_| {}).await;
    house
        .publish(&[], &["one", "too large", "two"])
        .await
        .unwrap();
    house.until("small", |counts| counts.ready == 2).await;
    assert_eq!(bodies(&house.receive("small", 10).await), ["one", "two"]);
    assert_eq!(house.describe("small").await.waiting, 1);
    // A day later its time is up.
    house.clock.advance(DAY);
    house
        .until_subscription("small", |described| described.totals.expired == 1)
        .await;
}

#[tokio::test]
async fn a_queue_that_is_made_again_gets_what_waited_for_it() {
    let house = House::new();
    house.create_topic("news").await;
    house.create("inbox").await;
    house.subscribe("inbox", to_queue("inbox"), |_| {}).await;
    let delete = DeleteQueue {
        name: queue("inbox"),
    };
    house.node.execute(context(), delete).await.unwrap();
    house.publish(&[], &["later"]).await.unwrap();
    assert_eq!(house.describe("inbox").await.waiting, 1);
    house.create("inbox").await;
    house.until("inbox", |counts| counts.ready == 1).await;
    assert_eq!(bodies(&house.receive("inbox", 10).await), ["later"]);
}

#[tokio::test]
async fn a_pusher_hears_of_messages_takes_them_and_ends_them() {
    let mut house = House::new();
    house.create_topic("news").await;
    let pushed = house.subscribe("web", http("http://h/"), |_| {}).await;
    house.publish(&["red", "hot"], &["a", "b"]).await.unwrap();
    assert_eq!(house.node.next_pending().await, Some(pushed));
    let subscriber = house.node.subscriber(pushed).unwrap();
    assert_eq!(&*subscriber.url, "http://h/");
    let taken = house.take(pushed, 10).await;
    assert_eq!(texts(&taken), ["a", "b"]);
    assert_eq!(taken[0].labels, labels(&["red", "hot"]));
    assert_eq!(house.take(pushed, 10).await, []);
    house
        .node
        .delivered(pushed, vec![taken[0].receipt])
        .await
        .unwrap();
    house
        .node
        .retry_in(pushed, taken[1].receipt, Millis(2_000))
        .await
        .unwrap();
    // The lease ends with the wait, also over a restart, and that is announced.
    house.restart();
    house.clock.advance(Millis(2_000));
    assert_eq!(house.node.next_pending().await, Some(pushed));
    let again = house.take(pushed, 10).await;
    assert_eq!(texts(&again), ["b"]);
    assert_eq!((again[0].attempt, again[0].message), (2, taken[1].message));
    house.node.give_up(pushed, again[0].receipt).await.unwrap();
    let totals = house.describe("web").await.totals;
    assert_eq!(
        (totals.matched, totals.delivered, totals.given_up),
        (2, 1, 1)
    );
    let gone = Unsubscribe {
        topic: topic("news"),
        name: subscription("web"),
    };
    house.node.execute(context(), gone).await.unwrap();
    let refused = house.node.take(pushed, 1, Millis(1)).await;
    assert_eq!(refused, Err(Error::NoSuchSubscription));
    assert_eq!(house.publish(&[], &["c"]).await, Err(Error::NoSubscription));
}

#[tokio::test]
async fn what_is_given_up_goes_to_the_dead_letter_queue() {
    let house = House::new();
    house.create_topic("news").await;
    house
        .create_with("dead", None, |attributes| {
            attributes.retention = Millis(2 * DAY.0);
        })
        .await
        .unwrap();
    let pushed = house
        .subscribe("web", http("http://h/"), |subscribe| {
            subscribe.dead_letter = Some(queue("dead"));
            subscribe.retry = RetryStrategy::BackOff;
        })
        .await;
    house.publish(&["t"], &["a", "b", "c"]).await.unwrap();
    let taken = house.take(pushed, 10).await;
    assert_eq!(texts(&taken), ["a"], "one at a time");
    assert_eq!(house.take(pushed, 10).await, []);
    house.node.give_up(pushed, taken[0].receipt).await.unwrap();
    house.until("dead", |counts| counts.ready == 1).await;
    assert_eq!(texts(&house.take(pushed, 10).await), ["b"]);
    // The others' time is up, that of the one that was taken when its lease ends.
    house.clock.advance(DAY);
    house.until("dead", |counts| counts.ready == 3).await;
    let dead = house.receive("dead", 10).await;
    let mut found = bodies(&dead);
    found.sort_unstable();
    assert_eq!(found, ["a", "b", "c"], "without their labels");
    assert_eq!(house.describe("web").await.totals.dead_lettered, 3);
}

#[tokio::test]
async fn published_bodies_survive_the_recycling_of_the_log_with_their_labels() {
    let mut house = House::new();
    house.create_topic("news").await;
    house.create("filler").await;
    let first = house.subscribe("first", http("http://h/"), |_| {}).await;
    let second = house.subscribe("second", http("http://h/"), |_| {}).await;
    house.publish(&["kept"], &["a", "b"]).await.unwrap();
    let filler = "f".repeat(60_000);
    let snapshots = house.node.status().snapshots;
    for _ in 0..60 {
        house.send("filler", &filler).await.unwrap();
        let received = house.receive("filler", 1).await;
        house.delete("filler", &received).await;
    }
    house
        .until_status(|status| status.snapshots > snapshots)
        .await;
    house.restart();
    for pushed in [first, second] {
        let taken = house.take(pushed, 10).await;
        assert_eq!(texts(&taken), ["a", "b"]);
        assert_eq!(taken[0].labels, labels(&["kept"]));
    }
}
