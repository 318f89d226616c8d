//! Random changes of topics and subscriptions in the catalog, with queues that come and go, against
//! plain lists.

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, QueueAttributes, RetentionFrom,
        TopicAttributes, TopicChanges,
    },
    codec::{self, BatchBuilder},
    command::{Answer, Command, CreateQueue, CreateTopic, Effect, Placed, Query, Reply, Subscribe},
    error::Error,
    id::{AccountId, ShardId},
    labels::{BindingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use proptest::prelude::*;

const SHARDS: u16 = 3;
const ACCOUNT: AccountId = AccountId(1);
const TOPICS_MAX: u64 = 3;
const SUBSCRIPTIONS_MAX: u64 = 3;
const REUSE_AFTER: u64 = 1000;
/// The first and the last are the same name.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "A"];

#[derive(Debug, Clone)]
enum Action {
    CreateQueue(usize),
    DeleteQueue(usize),
    CreateTopic {
        name: usize,
        by_tags: bool,
    },
    DeleteTopic(usize),
    SetTopic {
        name: usize,
        retention: u64,
    },
    Subscribe(Wish),
    SetSubscription(Wish),
    Unsubscribe {
        topic: usize,
        name: usize,
    },
    /// Confirms the latest revision of something, or the one before.
    Settle {
        number: u64,
        back: u64,
    },
}

#[derive(Debug, Clone)]
struct Wish {
    topic: usize,
    name: usize,
    /// None: over HTTP.
    endpoint: Option<usize>,
    is_json: bool,
    /// How many tags or binding keys.
    filters: usize,
    dead_letter: Option<usize>,
}

fn an_action() -> impl Strategy<Value = Action> {
    let name = || 0..NAMES.len();
    let wish = || {
        let names = (
            name(),
            name(),
            prop::option::of(name()),
            prop::option::of(name()),
        );
        let bits = (
            prop::bool::weighted(0.2),
            prop_oneof![9 => 1usize..3, 1 => 0usize..12],
        );
        (names, bits).prop_map(
            |((topic, name, endpoint, dead_letter), (is_json, filters))| Wish {
                topic,
                name,
                endpoint,
                is_json,
                filters,
                dead_letter,
            },
        )
    };
    prop_oneof![
        4 => name().prop_map(Action::CreateQueue),
        2 => name().prop_map(Action::DeleteQueue),
        4 => (name(), any::<bool>()).prop_map(|(name, by_tags)| Action::CreateTopic { name, by_tags }),
        2 => name().prop_map(Action::DeleteTopic),
        1 => (name(), 0u64..3).prop_map(|(name, retention)| Action::SetTopic { name, retention }),
        8 => wish().prop_map(Action::Subscribe),
        4 => wish().prop_map(Action::SetSubscription),
        2 => (name(), name()).prop_map(|(topic, name)| Action::Unsubscribe { topic, name }),
        4 => (1u64..40, 0u64..2).prop_map(|(number, back)| Action::Settle { number, back }),
    ]
}

/// A queue, a topic or a subscription; it stays in the list when it ends.
#[derive(Debug, Clone)]
struct Record {
    kind: Kind,
    name: String,
    shard: u16,
    revision: u64,
    is_settled: bool,
    /// When it ended.
    ended: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Queue,
    Topic { by_tags: bool, retention: u64 },
    Subscription(Subscription),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscription {
    topic: u64,
    /// The queue's name, and its number if there is one.
    endpoint: Option<(String, Option<u64>)>,
    is_json: bool,
    filters: usize,
    dead_letter: Option<u64>,
}

/// What is new, number and revision, and whom the catalog tells beside.
type Outcome = (Option<(u64, u64)>, Vec<u64>);

/// Each with the number that is its place, from 1.
#[derive(Debug, Default)]
struct Naive {
    now: u64,
    records: Vec<Record>,
}

impl Naive {
    fn living(&self) -> impl Iterator<Item = (u64, &Record)> {
        (1..)
            .zip(&self.records)
            .filter(|(_, record)| record.ended.is_none())
    }

    fn find(&self, name: usize, is_kind: impl Fn(&Kind) -> bool) -> Option<u64> {
        let mut living = self.living();
        let found = living.find(|(_, record)| {
            is_kind(&record.kind) && record.name.eq_ignore_ascii_case(NAMES[name])
        });
        found.map(|(number, _)| number)
    }

    fn queue(&self, name: usize) -> Option<u64> {
        self.find(name, |kind| *kind == Kind::Queue)
    }

    fn topic(&self, name: usize) -> Result<u64, Error> {
        self.find(name, is_topic).ok_or(Error::NoSuchTopic)
    }

    fn subscription(&self, topic: usize, name: usize) -> Result<u64, Error> {
        let topic = self.topic(topic)?;
        self.find(name, |kind| is_subscription_of(kind, topic))
            .ok_or(Error::NoSuchSubscription)
    }

    fn subscriptions(&self, topic: u64) -> Vec<u64> {
        let living = self.living();
        let its = living.filter(|(_, record)| is_subscription_of(&record.kind, topic));
        its.map(|(number, _)| number).collect()
    }

    fn record(&mut self, number: u64) -> &mut Record {
        &mut self.records[usize::try_from(number - 1).unwrap()]
    }

    fn shard_of(&self, topic: u64) -> u16 {
        self.records[usize::try_from(topic - 1).unwrap()].shard
    }

    fn add(&mut self, kind: Kind, name: usize) -> (u64, u64) {
        let load = |shard| {
            let living = self.living();
            let homes = living.filter(|(_, record)| !matches!(record.kind, Kind::Subscription(_)));
            homes.filter(|(_, record)| record.shard == shard).count()
        };
        let shard = match &kind {
            Kind::Subscription(subscription) => self.shard_of(subscription.topic),
            _ => (0..SHARDS).min_by_key(|shard| load(*shard)).unwrap(),
        };
        self.records.push(Record {
            kind,
            name: NAMES[name].to_owned(),
            shard,
            revision: 1,
            is_settled: false,
            ended: None,
        });
        (self.records.len() as u64, 1)
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Record)) -> (u64, u64) {
        let record = self.record(number);
        change(record);
        record.revision += 1;
        record.is_settled = false;
        (number, record.revision)
    }

    fn end(&mut self, number: u64) -> (u64, u64) {
        let now = self.now;
        self.change(number, |record| record.ended = Some(now))
    }

    /// Tells the subscriptions that deliver to queues of a name; gives their numbers.
    fn retarget(&mut self, name: usize, target: Option<u64>) -> Vec<u64> {
        let mut told = Vec::new();
        for number in 1..=self.records.len() as u64 {
            let record = self.record(number);
            let Kind::Subscription(Subscription {
                endpoint: Some((queue_name, queue)),
                ..
            }) = &mut record.kind
            else {
                continue;
            };
            if record.ended.is_none() && queue_name.eq_ignore_ascii_case(NAMES[name]) {
                *queue = target;
                self.change(number, |_| {});
                told.push(number);
            }
        }
        told
    }

    fn apply(&mut self, action: &Action) -> Result<Outcome, Error> {
        let mut told = Vec::new();
        let placed = match *action {
            Action::CreateQueue(name) => {
                if self.queue(name).is_some() {
                    return Err(Error::QueueExists);
                }
                let placed = self.add(Kind::Queue, name);
                told = self.retarget(name, Some(placed.0));
                placed
            }
            Action::DeleteQueue(name) => {
                let queue = self.queue(name).ok_or(Error::NoSuchQueue)?;
                let is_needed = self
                    .living()
                    .any(|(_, record)| has_dead_letter_queue(&record.kind, queue));
                if is_needed {
                    return Err(Error::IsDeadLetterQueue);
                }
                let placed = self.end(queue);
                told = self.retarget(name, None);
                placed
            }
            Action::CreateTopic { name, by_tags } => self.create_topic(name, by_tags)?,
            Action::DeleteTopic(name) => {
                let topic = self.topic(name)?;
                if !self.subscriptions(topic).is_empty() {
                    return Err(Error::TopicHasSubscriptions);
                }
                self.end(topic)
            }
            Action::SetTopic { name, retention } => {
                let topic = self.topic(name)?;
                if retention == 0 {
                    return Err(Error::AttributeOutOfRange);
                }
                let new = retention;
                self.change(topic, |record| {
                    if let Kind::Topic { retention, .. } = &mut record.kind {
                        *retention = new;
                    }
                })
            }
            Action::Subscribe(ref wish) => {
                let subscription = self.check_subscribe(wish)?;
                self.add(Kind::Subscription(subscription), wish.name)
            }
            Action::SetSubscription(ref wish) => {
                let number = self.subscription(wish.topic, wish.name)?;
                let changed = self.check_changes(number, wish)?;
                self.change(number, |record| record.kind = Kind::Subscription(changed))
            }
            Action::Unsubscribe { topic, name } => {
                let number = self.subscription(topic, name)?;
                self.end(number)
            }
            Action::Settle { number, back } => {
                if number <= self.records.len() as u64 && back == 0 {
                    self.record(number).is_settled = true;
                }
                return Ok((None, told));
            }
        };
        Ok((Some(placed), told))
    }

    fn create_topic(&mut self, name: usize, by_tags: bool) -> Result<(u64, u64), Error> {
        if self.topic(name).is_ok() {
            return Err(Error::TopicExists);
        }
        let is_recent = |record: &Record| {
            is_topic(&record.kind)
                && record.name.eq_ignore_ascii_case(NAMES[name])
                && record
                    .ended
                    .is_some_and(|ended| self.now < ended + REUSE_AFTER)
        };
        if self.records.iter().any(is_recent) {
            return Err(Error::TopicRecentlyDeleted);
        }
        let topics = self.living().filter(|(_, record)| is_topic(&record.kind));
        if topics.count() as u64 >= TOPICS_MAX {
            return Err(Error::TooManyTopics);
        }
        let retention = 1;
        Ok(self.add(Kind::Topic { by_tags, retention }, name))
    }

    fn check_subscribe(&self, wish: &Wish) -> Result<Subscription, Error> {
        let topic = self.topic(wish.topic)?;
        let endpoint = wish.endpoint;
        let endpoint = endpoint.map(|name| (NAMES[name].to_owned(), self.queue(name)));
        let mut subscription = Subscription {
            topic,
            endpoint,
            is_json: wish.is_json,
            filters: wish.filters,
            dead_letter: None,
        };
        self.check(&subscription)?;
        if self.subscription(wish.topic, wish.name).is_ok() {
            return Err(Error::SubscriptionExists);
        }
        if self.subscriptions(topic).len() as u64 >= SUBSCRIPTIONS_MAX {
            return Err(Error::TooManySubscriptions);
        }
        if let Some((_, None)) = subscription.endpoint {
            return Err(Error::NoSuchEndpointQueue);
        }
        if let Some(name) = wish.dead_letter {
            subscription.dead_letter = Some(self.dead_letter(&subscription, name)?);
        }
        Ok(subscription)
    }

    fn check_changes(&self, number: u64, wish: &Wish) -> Result<Subscription, Error> {
        let record = &self.records[usize::try_from(number - 1).unwrap()];
        let Kind::Subscription(mut changed) = record.kind.clone() else {
            panic!("{record:?} is no subscription")
        };
        (changed.is_json, changed.filters) = (wish.is_json, wish.filters);
        self.check(&changed)?;
        changed.dead_letter = match wish.dead_letter {
            Some(name) => Some(self.dead_letter(&changed, name)?),
            None => None,
        };
        Ok(changed)
    }

    fn check(&self, subscription: &Subscription) -> Result<(), Error> {
        if subscription.endpoint.is_some() && subscription.is_json {
            return Err(Error::FormatNotForQueues);
        }
        let record = &self.records[usize::try_from(subscription.topic - 1).unwrap()];
        let by_keys = matches!(record.kind, Kind::Topic { by_tags: false, .. });
        match subscription.filters {
            0 if by_keys => Err(Error::BindingKeyMissing),
            11.. => Err(Error::AttributeOutOfRange),
            _ => Ok(()),
        }
    }

    fn dead_letter(&self, subscription: &Subscription, name: usize) -> Result<u64, Error> {
        let endpoint = subscription.endpoint.as_ref();
        if endpoint.is_some_and(|(endpoint, _)| endpoint.eq_ignore_ascii_case(NAMES[name])) {
            return Err(Error::DeadLetterNested);
        }
        self.queue(name).ok_or(Error::NoSuchDeadLetterQueue)
    }
}

fn is_topic(kind: &Kind) -> bool {
    matches!(kind, Kind::Topic { .. })
}

fn is_subscription_of(kind: &Kind, topic: u64) -> bool {
    matches!(kind, Kind::Subscription(subscription) if subscription.topic == topic)
}

fn has_dead_letter_queue(kind: &Kind, queue: u64) -> bool {
    matches!(kind, Kind::Subscription(subscription) if subscription.dead_letter == Some(queue))
}

fn command(action: &Action, naive: &Naive) -> Command {
    let (account, reuse_after) = (ACCOUNT, Millis(REUSE_AFTER));
    match *action {
        Action::CreateQueue(name) => Command::CreateQueue(CreateQueue {
            account,
            name: queue_name(name),
            attributes: queue_attributes(),
            dead_letter: None,
            queues_max: 100,
            reuse_after: Millis(0),
        }),
        Action::DeleteQueue(name) => Command::DeleteQueue {
            account,
            name: queue_name(name),
        },
        Action::CreateTopic { name, by_tags } => Command::CreateTopic(CreateTopic {
            account,
            name: topic_name(name),
            attributes: TopicAttributes {
                body_bytes_max: 1,
                retention: Millis(1),
                filter: if by_tags {
                    FilterKind::Tags
                } else {
                    FilterKind::RoutingKey
                },
            },
            topics_max: TOPICS_MAX,
            reuse_after,
        }),
        Action::DeleteTopic(name) => Command::DeleteTopic {
            account,
            name: topic_name(name),
        },
        Action::SetTopic { name, retention } => Command::SetTopicAttributes {
            account,
            name: topic_name(name),
            changes: TopicChanges {
                body_bytes_max: None,
                retention: Some(Millis(retention)),
            },
        },
        Action::Subscribe(ref wish) => Command::Subscribe(Box::new(subscribe(wish))),
        Action::SetSubscription(ref wish) => Command::SetSubscriptionAttributes {
            account,
            topic: topic_name(wish.topic),
            name: subscription_name(wish.name),
            changes: SubscriptionChanges {
                retry: None,
                format: Some(format(wish.is_json)),
                tags: Some(tags(wish.filters)),
                binding_keys: Some(binding_keys(wish.filters)),
                dead_letter: match wish.dead_letter {
                    Some(name) => DeadLetterQueueChange::Set(queue_name(name)),
                    None => DeadLetterQueueChange::Remove,
                },
            },
        },
        Action::Unsubscribe { topic, name } => Command::Unsubscribe {
            account,
            topic: topic_name(topic),
            name: subscription_name(name),
        },
        Action::Settle { number, back } => {
            let record = naive.records.get(usize::try_from(number - 1).unwrap());
            let revision = record.map_or(1, |record| record.revision) - back;
            Command::Settled { number, revision }
        }
    }
}

fn subscribe(wish: &Wish) -> Subscribe {
    Subscribe {
        account: ACCOUNT,
        topic: topic_name(wish.topic),
        name: subscription_name(wish.name),
        endpoint: match wish.endpoint {
            Some(name) => EndpointName::Queue(queue_name(name)),
            None => EndpointName::Http {
                url: "http://a".to_owned(),
            },
        },
        retry: RetryStrategy::BackOff,
        format: format(wish.is_json),
        tags: tags(wish.filters),
        binding_keys: binding_keys(wish.filters),
        dead_letter: wish.dead_letter.map(queue_name),
        subscriptions_max: SUBSCRIPTIONS_MAX,
    }
}

fn queue_name(name: usize) -> QueueName {
    QueueName::new(NAMES[name]).unwrap()
}

fn topic_name(name: usize) -> TopicName {
    TopicName::new(NAMES[name]).unwrap()
}

fn subscription_name(name: usize) -> SubscriptionName {
    SubscriptionName::new(NAMES[name]).unwrap()
}

fn format(is_json: bool) -> BodyFormat {
    if is_json {
        BodyFormat::Json
    } else {
        BodyFormat::Simplified
    }
}

fn tags(count: usize) -> Vec<Tag> {
    vec![Tag::new("tag").unwrap(); count]
}

fn binding_keys(count: usize) -> Vec<BindingKey> {
    vec![BindingKey::new("key.#").unwrap(); count]
}

fn queue_attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1,
        wait: Millis(0),
        visibility: Millis(1),
        body_bytes_max: 1,
        retention: Millis(1),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 1,
        in_flight_max: 1,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

fn apply(shard: &mut Shard, now: u64, command: &Command) -> (Reply, Vec<Effect>) {
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
    (replies.remove(0), effects)
}

/// What a catalog says of something, as the list has it.
fn record_of(placed: Placed) -> (u64, Record) {
    let (number, shard, revision) = (placed.number(), placed.shard().0, placed.revision());
    let (name, kind) = match placed {
        Placed::Queue(queue) => (queue.name.as_str().to_owned(), Kind::Queue),
        Placed::Topic(topic) => {
            let attributes = topic.attributes.unwrap();
            let kind = Kind::Topic {
                by_tags: attributes.filter == FilterKind::Tags,
                retention: attributes.retention.0,
            };
            (topic.name.as_str().to_owned(), kind)
        }
        Placed::Subscription(subscription) => {
            let attributes = subscription.attributes.unwrap();
            let endpoint = match attributes.endpoint {
                Endpoint::Http { .. } => None,
                Endpoint::Queue { name, queue } => {
                    Some((name.as_str().to_owned(), queue.map(|queue| queue.0)))
                }
            };
            let kind = Kind::Subscription(Subscription {
                topic: subscription.topic.0,
                endpoint,
                is_json: attributes.format == BodyFormat::Json,
                filters: match attributes.filter {
                    Filter::Tags(tags) => tags.len(),
                    Filter::BindingKeys(keys) => keys.len(),
                },
                dead_letter: attributes.dead_letter.map(|queue| queue.0),
            });
            (subscription.name.as_str().to_owned(), kind)
        }
    };
    let record = Record {
        kind,
        name,
        shard,
        revision,
        is_settled: false,
        ended: None,
    };
    (number, record)
}

fn check(shard: &Shard, naive: &Naive) {
    let unsettled = shard.unsettled().into_iter();
    let mut unsettled: Vec<_> = unsettled
        .map(|placed| (placed.number(), placed.revision(), placed.shard().0))
        .collect();
    unsettled.sort_unstable();
    let expected = (1..).zip(&naive.records).filter(|(_, one)| !one.is_settled);
    let expected = expected.map(|(number, one)| (number, one.revision, one.shard));
    assert_eq!(unsettled, expected.collect::<Vec<_>>());
    let mut routes: Vec<_> = shard.routes().into_iter().map(record_of).collect();
    routes.sort_unstable_by_key(|(number, _)| *number);
    let seen = |(number, one): (u64, &Record)| {
        (
            number,
            one.kind.clone(),
            one.name.clone(),
            one.shard,
            one.revision,
        )
    };
    let routes = routes.iter().map(|(number, one)| seen((*number, one)));
    assert_eq!(
        routes.collect::<Vec<_>>(),
        naive.living().map(seen).collect::<Vec<_>>()
    );
    check_pages(shard, naive);
}

fn check_pages(shard: &Shard, naive: &Naive) {
    let page = |numbers: &[u64]| numbers.iter().skip(1).take(1).copied().collect::<Vec<_>>();
    let answer = shard.query(&Query::Topics {
        account: ACCOUNT,
        search: String::new(),
        offset: 1,
        limit: 1,
    });
    let Answer::Topics { total, topics } = answer else {
        panic!("no list of topics")
    };
    let expected = naive.living().filter(|(_, record)| is_topic(&record.kind));
    let expected: Vec<u64> = expected.map(|(number, _)| number).collect();
    assert_eq!(total, expected.len() as u64);
    let found: Vec<u64> = topics.iter().map(|one| one.topic.0).collect();
    assert_eq!(found, page(&expected));
    for name in 0..NAMES.len() {
        let answer = shard.query(&Query::Subscriptions {
            account: ACCOUNT,
            topic: topic_name(name),
            search: "A".to_owned(),
            offset: 0,
            limit: 9,
        });
        match (answer, naive.topic(name)) {
            (
                Answer::Subscriptions {
                    total,
                    subscriptions,
                },
                Ok(topic),
            ) => {
                let its = naive.subscriptions(topic).into_iter();
                let named = its.filter(|number| {
                    let record = &naive.records[usize::try_from(number - 1).unwrap()];
                    record.name.eq_ignore_ascii_case("a")
                });
                let expected: Vec<u64> = named.collect();
                let found: Vec<u64> = subscriptions.iter().map(|one| one.subscription.0).collect();
                assert_eq!((total, found), (expected.len() as u64, expected));
            }
            (Answer::Refused(Error::NoSuchTopic), Err(_)) => {}
            (answer, _) => panic!("{answer:?}"),
        }
        let query = Query::Topic {
            account: ACCOUNT,
            name: topic_name(name),
        };
        if let Answer::Topic(record) = shard.query(&query) {
            let its = naive.subscriptions(record.topic.0);
            assert_eq!(record.subscriptions, its.len() as u64);
        }
    }
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn the_catalog_has_lists_of_topics_and_subscriptions(
        actions in prop::collection::vec((an_action(), 0u64..400, prop::bool::weighted(0.05)), 1..70),
    ) {
        let mut shard = Shard::new(ShardId(0), SHARDS);
        let mut naive = Naive::default();
        for (action, later, restore) in actions {
            naive.now += later;
            let command = command(&action, &naive);
            let (reply, effects) = apply(&mut shard, naive.now, &command);
            let reply = match reply {
                Reply::Placed(placed) => Ok(Some((placed.number(), placed.revision()))),
                Reply::Done => Ok(None),
                Reply::Refused(error) => Err(error),
                other => panic!("{other:?}"),
            };
            let expected = naive.apply(&action);
            let told = expected.as_ref().map_or(Vec::new(), |(_, told)| told.clone());
            prop_assert_eq!(reply, expected.map(|(placed, _)| placed), "reply to {:?}", action);
            let unsettled = effects.iter().filter_map(|effect| match effect {
                Effect::Unsettled(placed) => Some(placed.number()),
                _ => None,
            });
            prop_assert_eq!(unsettled.collect::<Vec<_>>(), told);
            if restore {
                let bytes = save(&shard);
                crate::model::restore_damaged(&bytes, usize::try_from(naive.now).unwrap() % 61, 61);
                shard = Shard::restore(&bytes).unwrap();
                prop_assert_eq!(save(&shard), bytes);
            }
            check(&shard, &naive);
        }
    }
}
