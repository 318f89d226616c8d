//! Random changes of topics and subscriptions in the catalog, with queues that come and go, against
//! plain lists.

mod actions;
mod naive;

use anser_broker::{
    attributes::{BodyFormat, Endpoint, Filter, FilterKind},
    codec::{self, BatchBuilder},
    command::{Answer, Command, Effect, Placed, Query, Reply},
    error::Error,
    id::{AccountId, ShardId},
    shard::Shard,
    time::{Stamp, Timestamp},
};
use proptest::prelude::*;

use actions::{an_action, command, topic_name};
use naive::{Kind, Naive, Record, Subscription, is_topic};

const SHARDS: u16 = 3;
const ACCOUNT: AccountId = AccountId(1);
const TOPICS_MAX: u64 = 3;
const SUBSCRIPTIONS_MAX: u64 = 3;
const REUSE_AFTER: u64 = 1000;
/// The first and the last are the same name.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "A"];

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
