//! What nodes say to each other: every word survives `postcard`, and hostile bytes give a value that
//! keeps the rules of its type, or an error.

use std::fmt::Debug;

use anser_broker::{
    attributes::DeadLetterPolicy,
    command::{
        Answer, Delivery, NodeRecord, NodeStart, NodeState, Placed, PlacedQueue,
        PlacedSubscription, PlacedTopic, Query, QueueRecord, Reply, Room, SubscriptionCounts,
        SubscriptionRecord, TopicCounts, TopicRecord,
    },
    error::Error,
    id::{AccountId, MessageId, NodeId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, RoutingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::{
        DeliveryFailure, QueueCounts, QueueListing, QueueTotals, ReceivedMessage,
        SubscriptionListing, SubscriptionTotals, TopicListing,
    },
    time::{Millis, Stamp, Timestamp},
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::codec::arbitrary::{
    a_name, a_sequence, a_subscription_name, a_topic_name, an_after, some_attributes, some_bodies,
    some_receipts, some_subscription_attributes, some_tags, some_topic_attributes,
};

fn write(word: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(word).unwrap()
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    word: &T,
) -> Result<(), TestCaseError> {
    let bytes = write(word);
    prop_assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), word);
    for length in 0..bytes.len() {
        prop_assert!(postcard::from_bytes::<T>(&bytes[..length]).is_err());
    }
    Ok(())
}

/// Every refusal, in the order in which nodes number them.
fn every_error() -> Vec<Error> {
    (0..u8::MAX)
        .map_while(|number| postcard::from_bytes(&[number]).ok())
        .collect()
}

fn an_error() -> impl Strategy<Value = Error> {
    prop::sample::select(every_error())
}

fn a_time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn an_account() -> impl Strategy<Value = AccountId> {
    any::<u64>().prop_map(AccountId)
}

fn a_queue() -> impl Strategy<Value = QueueId> {
    any::<u64>().prop_map(QueueId)
}

fn a_topic() -> impl Strategy<Value = TopicId> {
    any::<u64>().prop_map(TopicId)
}

fn a_subscription() -> impl Strategy<Value = SubscriptionId> {
    any::<u64>().prop_map(SubscriptionId)
}

fn a_shard() -> impl Strategy<Value = ShardId> {
    (0..=ShardId::LAST.0).prop_map(ShardId)
}

fn a_message() -> impl Strategy<Value = MessageId> {
    (a_shard(), a_sequence()).prop_map(|(shard, sequence)| MessageId { shard, sequence })
}

fn a_placed() -> impl Strategy<Value = Placed> {
    let place = || (an_account(), a_shard(), any::<u64>());
    let queue = (
        place(),
        a_name(),
        a_queue(),
        prop::option::of(some_attributes()),
    );
    let topic = (
        place(),
        a_topic_name(),
        a_topic(),
        prop::option::of(some_topic_attributes()),
    );
    let subscription = (
        (place(), a_topic(), a_topic_name()),
        a_subscription(),
        a_subscription_name(),
        prop::option::of(some_subscription_attributes()),
    );
    prop_oneof![
        queue.prop_map(|((account, shard, revision), name, queue, attributes)| {
            Placed::Queue(PlacedQueue {
                account,
                name,
                queue,
                shard,
                revision,
                attributes,
                floor: revision,
            })
        }),
        topic.prop_map(|((account, shard, revision), name, topic, attributes)| {
            Placed::Topic(PlacedTopic {
                account,
                name,
                topic,
                shard,
                revision,
                attributes,
                floor: revision,
            })
        }),
        subscription.prop_map(|(place, subscription, name, attributes)| {
            let ((account, shard, revision), topic, topic_name) = place;
            Placed::Subscription(Box::new(PlacedSubscription {
                account,
                topic,
                topic_name,
                subscription,
                name,
                shard,
                revision,
                attributes,
                floor: revision,
            }))
        }),
    ]
}

fn a_delivery() -> impl Strategy<Value = Delivery> {
    let times = (a_time(), a_time(), a_time());
    (a_sequence(), a_sequence(), times, any::<u32>()).prop_map(
        |(message, receipt, (sent, first_received, visible_again), deliveries)| Delivery {
            message,
            receipt,
            sent,
            first_received,
            visible_again,
            deliveries,
        },
    )
}

fn a_node() -> impl Strategy<Value = NodeRecord> {
    let texts = ("[a-zé.:]{0,20}", "[a-z]{0,20}", "[a-z]{0,20}");
    let state = prop::sample::select(vec![
        NodeState::Active,
        NodeState::Draining,
        NodeState::Removed,
    ]);
    let start =
        (any::<u64>(), any::<[u8; 16]>()).prop_map(|(number, mark)| NodeStart { number, mark });
    (
        any::<u64>(),
        any::<[u8; 16]>(),
        texts,
        (state, start),
        a_time(),
    )
        .prop_map(
            |(node, incarnation, (address, host, zone), (state, start), added)| NodeRecord {
                node: NodeId(node),
                incarnation,
                address,
                host,
                zone,
                state,
                start,
                added,
            },
        )
}

fn a_reply() -> impl Strategy<Value = Reply> {
    let result = prop_oneof![Just(Ok(())), an_error().prop_map(Err)];
    prop_oneof![
        Just(Reply::Done),
        a_node().prop_map(Reply::Node),
        a_placed().prop_map(Reply::Placed),
        some_receipts().prop_map(|messages| Reply::Sent { messages }),
        prop::collection::vec(a_delivery(), 0..4)
            .prop_map(|deliveries| Reply::Received { deliveries }),
        prop::collection::vec(result, 0..4).prop_map(Reply::Each),
        (any::<u64>(), prop::option::of(an_error()))
            .prop_map(|(through, refused)| Reply::Accepted { through, refused }),
        any::<u64>().prop_map(|messages| Reply::Rewound { messages }),
        an_error().prop_map(Reply::Refused),
    ]
}

fn a_query() -> impl Strategy<Value = Query> {
    let page = || ("[a-zé]{0,9}", any::<u64>(), any::<u64>());
    prop_oneof![
        (an_account(), a_name()).prop_map(|(account, name)| Query::Queue { account, name }),
        (an_account(), page()).prop_map(|(account, (search, offset, limit))| Query::Queues {
            account,
            search,
            offset,
            limit
        }),
        (an_account(), a_name(), page()).prop_map(|(account, name, (search, offset, limit))| {
            Query::DeadLetterSources {
                account,
                name,
                search,
                offset,
                limit,
            }
        }),
        a_queue().prop_map(|queue| Query::Counts { queue }),
        (an_account(), a_topic_name()).prop_map(|(account, name)| Query::Topic { account, name }),
        (an_account(), page()).prop_map(|(account, (search, offset, limit))| Query::Topics {
            account,
            search,
            offset,
            limit
        }),
        (an_account(), a_topic_name(), a_subscription_name()).prop_map(|(account, topic, name)| {
            Query::Subscription {
                account,
                topic,
                name,
            }
        }),
        (an_account(), a_topic_name(), page()).prop_map(
            |(account, topic, (search, offset, limit))| Query::Subscriptions {
                account,
                topic,
                search,
                offset,
                limit
            }
        ),
        (a_queue(), a_queue()).prop_map(|(queue, source)| Query::Room { queue, source }),
        a_topic().prop_map(|topic| Query::TopicCounts { topic }),
        a_subscription().prop_map(|subscription| Query::SubscriptionCounts { subscription }),
        Just(Query::Nodes),
    ]
}

fn some_counts() -> impl Strategy<Value = QueueCounts> {
    (any::<[u64; 12]>(), prop::option::of(a_time())).prop_map(|(numbers, oldest)| {
        let [ready, leased, delayed, retired, moving, totals @ ..] = numbers;
        let [
            sent,
            received,
            deleted,
            expired,
            dead_lettered,
            cleared,
            rewound,
        ] = totals;
        QueueCounts {
            ready,
            leased,
            delayed,
            retired,
            moving,
            oldest,
            totals: QueueTotals {
                sent,
                received,
                deleted,
                expired,
                dead_lettered,
                cleared,
                rewound,
            },
        }
    })
}

/// The answers about one thing.
fn a_record() -> impl Strategy<Value = Answer> {
    let times = || (a_time(), a_time());
    let policy = (a_name(), a_queue(), an_after())
        .prop_map(|(name, queue, after)| (name, DeadLetterPolicy { queue, after }));
    let queue = (
        (a_queue(), a_shard(), a_name()),
        some_attributes(),
        prop::option::of(policy),
        times(),
    );
    let topic = (
        (a_topic(), a_shard(), a_topic_name()),
        some_topic_attributes(),
        any::<u64>(),
        times(),
    );
    let subscription = (
        (a_subscription(), a_shard()),
        (a_topic_name(), a_subscription_name()),
        some_subscription_attributes(),
        prop::option::of(a_name()),
        times(),
    );
    prop_oneof![
        queue.prop_map(|((queue, shard, name), attributes, dead_letter, times)| {
            Answer::Queue(Box::new(QueueRecord {
                queue,
                shard,
                name,
                attributes,
                dead_letter,
                created: times.0,
                modified: times.1,
            }))
        }),
        topic.prop_map(|((topic, shard, name), attributes, subscriptions, times)| {
            Answer::Topic(Box::new(TopicRecord {
                topic,
                shard,
                name,
                attributes,
                subscriptions,
                created: times.0,
                modified: times.1,
            }))
        }),
        subscription.prop_map(|(ids, names, attributes, dead_letter, times)| {
            Answer::Subscription(Box::new(SubscriptionRecord {
                subscription: ids.0,
                shard: ids.1,
                topic: names.0,
                name: names.1,
                attributes,
                dead_letter,
                created: times.0,
                modified: times.1,
            }))
        }),
    ]
}

/// The answers that are lists or counts.
fn a_list() -> impl Strategy<Value = Answer> {
    let queue = (a_queue(), a_name()).prop_map(|(queue, name)| QueueListing { queue, name });
    let topic = (a_topic(), a_topic_name()).prop_map(|(topic, name)| TopicListing { topic, name });
    let subscription = (
        a_subscription(),
        a_subscription_name(),
        some_subscription_attributes(),
    )
        .prop_map(|(subscription, name, attributes)| SubscriptionListing {
            subscription,
            name,
            endpoint: attributes.endpoint,
        });
    prop_oneof![
        (any::<u64>(), prop::collection::vec(queue, 0..4))
            .prop_map(|(total, queues)| Answer::Queues { total, queues }),
        (any::<u64>(), prop::collection::vec(topic, 0..4))
            .prop_map(|(total, topics)| Answer::Topics { total, topics }),
        (any::<u64>(), prop::collection::vec(subscription, 0..4)).prop_map(
            |(total, subscriptions)| Answer::Subscriptions {
                total,
                subscriptions
            }
        ),
        some_counts().prop_map(Answer::Counts),
        (any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
            |(messages, body_bytes_max, accepted)| Answer::Room(Room {
                messages,
                body_bytes_max,
                accepted
            })
        ),
        (any::<u64>(), any::<u64>()).prop_map(|(waiting, published)| Answer::TopicCounts(
            TopicCounts { waiting, published }
        )),
        any::<[u64; 6]>().prop_map(|[waiting, a, b, c, d, e]| Answer::SubscriptionCounts(
            SubscriptionCounts {
                waiting,
                totals: SubscriptionTotals {
                    matched: a,
                    delivered: b,
                    expired: c,
                    given_up: d,
                    dead_lettered: e,
                },
            }
        )),
        (
            prop::option::of(any::<[u8; 16]>()),
            prop::collection::vec(a_node(), 0..4)
        )
            .prop_map(|(cluster, nodes)| Answer::Nodes { cluster, nodes }),
        an_error().prop_map(Answer::Refused),
    ]
}

fn an_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![a_record(), a_list()]
}

fn some_received() -> impl Strategy<Value = Vec<ReceivedMessage>> {
    let received = (a_message(), a_message(), some_bodies(), a_delivery());
    let received = received.prop_map(|(message, receipt, bodies, delivery)| ReceivedMessage {
        message,
        receipt,
        body: bodies.into_iter().next().unwrap_or_default(),
        sent: delivery.sent,
        first_received: delivery.first_received,
        visible_again: delivery.visible_again,
        deliveries: delivery.deliveries,
    });
    prop::collection::vec(received, 0..4)
}

fn some_labels() -> impl Strategy<Value = Labels> {
    let key = "[a-z.]{1,15}".prop_map(|text| RoutingKey::new(&text).unwrap());
    (some_tags(), prop::option::of(key))
        .prop_map(|(tags, routing_key)| Labels { tags, routing_key })
}

/// Reads the bytes as every word there is; a word that is read can be written and read again.
fn read_everything(bytes: &[u8]) {
    read::<Query>(bytes);
    read::<Answer>(bytes);
    read::<Reply>(bytes);
    read::<Error>(bytes);
    read::<Vec<ReceivedMessage>>(bytes);
    read::<Vec<DeliveryFailure>>(bytes);
    read::<Labels>(bytes);
    read::<MessageId>(bytes);
    read::<Stamp>(bytes);
    read::<Millis>(bytes);
}

fn read<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(word) = postcard::from_bytes::<T>(bytes) {
        assert_eq!(postcard::from_bytes::<T>(&write(&word)), Ok(word));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn words_survive(
        query in a_query(),
        answer in an_answer(),
        reply in a_reply(),
        received in some_received(),
        labels in some_labels(),
    ) {
        survives(&query)?;
        survives(&answer)?;
        survives(&reply)?;
        survives(&received)?;
        survives(&labels)?;
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..20) {
        let mut bytes = bytes;
        read_everything(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        read_everything(&bytes);
    }

    #[test]
    fn damaged_words_are_read_without_panic(
        answer in an_answer(),
        reply in a_reply(),
        received in some_received(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for mut bytes in [write(&answer), write(&reply), write(&received)] {
            for (place, byte) in &damages {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read_everything(&bytes);
        }
    }
}

#[test]
fn every_refusal_survives() {
    let errors = every_error();
    assert_eq!(errors[0], Error::NoSuchQueue);
    for error in &errors {
        survives(error).unwrap();
    }
    let texts: std::collections::BTreeSet<_> = errors.iter().map(Error::to_string).collect();
    assert_eq!(texts.len(), errors.len(), "each is another one");
}

/// A length that the bytes cannot pay for is refused before anything of that size is made: it would
/// not fit any memory.
#[test]
fn a_length_beyond_the_bytes_is_refused() {
    let lengths = [
        vec![0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    for length in lengths {
        assert!(postcard::from_bytes::<Vec<ReceivedMessage>>(&length).is_err());
        assert!(postcard::from_bytes::<bytes::Bytes>(&length).is_err());
        assert!(postcard::from_bytes::<QueueName>(&length).is_err());
        assert!(postcard::from_bytes::<Labels>(&length).is_err());
        for kind in 0u8..20 {
            let word: Vec<u8> = [&[kind], &length[..]].concat();
            read_everything(&word);
        }
    }
}

/// What has rules is made by the constructor that knows them.
#[test]
fn no_word_breaks_the_rules_of_its_type() {
    fn is_refused<T: DeserializeOwned>(word: &impl Serialize) -> bool {
        postcard::from_bytes::<T>(&write(word)).is_err()
    }
    for text in ["", "1a", "a b", &"a".repeat(81)] {
        assert!(is_refused::<QueueName>(&text), "{text}");
        assert!(is_refused::<TopicName>(&text), "{text}");
        assert!(is_refused::<SubscriptionName>(&text), "{text}");
    }
    for text in ["", "a\n", &"é".repeat(65)] {
        assert!(is_refused::<Tag>(&text), "{text}");
        assert!(is_refused::<RoutingKey>(&text), "{text}");
        assert!(is_refused::<BindingKey>(&text), "{text}");
    }
    assert!(is_refused::<ShardId>(&(ShardId::LAST.0 + 1)));
    assert!(is_refused::<Sequence>(&(1u64 << 53)));
}
