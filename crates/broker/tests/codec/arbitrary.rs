//! Any command there can be, and what commands are made of.

use anser_broker::{
    attributes::{
        Acknowledge, AttributeChanges, BodyFormat, DeadLetterAfter, DeadLetterPolicy, Endpoint,
        Filter, FilterKind, QueueAttributes, RetentionFrom, SubscriptionAttributes,
        TopicAttributes, TopicChanges,
    },
    command::{
        Command, CreateQueue, CreateTopic, DeadLetterUpdate, NodeStart, NodeState, Seen, Subscribe,
    },
    id::{AccountId, NodeId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey, Tag},
    limits,
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    time::{Millis, Timestamp},
    version::ClusterVersion,
};
use bytes::Bytes;
use proptest::prelude::*;

pub(crate) fn a_name() -> impl Strategy<Value = QueueName> {
    "[A-Za-z][A-Za-z0-9_-]{0,79}".prop_map(|name| QueueName::new(&name).unwrap())
}

pub(crate) fn an_after() -> impl Strategy<Value = DeadLetterAfter> {
    prop_oneof![
        any::<u32>().prop_map(DeadLetterAfter::Receives),
        any::<u64>().prop_map(|age| DeadLetterAfter::Age(Millis(age))),
    ]
}

pub(crate) fn some_attributes() -> impl Strategy<Value = QueueAttributes> {
    let policy = prop::option::of((any::<u64>(), an_after()));
    let bools = (any::<bool>(), any::<bool>());
    (any::<[u64; 9]>(), any::<u32>(), bools, policy).prop_map(
        |([a, b, c, d, e, f, g, h, i], body_bytes_max, (visible, all), policy)| QueueAttributes {
            backlog_max: a,
            wait: Millis(b),
            visibility: Millis(c),
            body_bytes_max,
            retention: Millis(d),
            retention_from: if visible {
                RetentionFrom::Visible
            } else {
                RetentionFrom::Sent
            },
            rewind: Millis(e),
            delay: Millis(f),
            delay_max: Millis(g),
            delayed_max: h,
            in_flight_max: i,
            dead_letter: policy.map(|(queue, after)| DeadLetterPolicy {
                queue: QueueId(queue),
                after,
            }),
            acknowledge: acknowledge(all),
        },
    )
}

pub(super) fn acknowledge(all: bool) -> Acknowledge {
    if all {
        Acknowledge::All
    } else {
        Acknowledge::Majority
    }
}

fn some_changes() -> impl Strategy<Value = AttributeChanges> {
    let millis = || prop::option::of(any::<u64>().prop_map(Millis));
    let times = [millis(), millis(), millis(), millis(), millis(), millis()];
    (
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u32>()),
        prop::option::of(any::<bool>().prop_map(acknowledge)),
        times,
    )
        .prop_map(
            |(
                backlog_max,
                body_bytes_max,
                acknowledge,
                [wait, visibility, retention, rewind, delay, delay_max],
            )| {
                AttributeChanges {
                    backlog_max,
                    wait,
                    visibility,
                    body_bytes_max,
                    retention,
                    rewind,
                    delay,
                    delay_max,
                    acknowledge,
                }
            },
        )
}

fn an_update() -> impl Strategy<Value = DeadLetterUpdate> {
    prop_oneof![
        Just(DeadLetterUpdate::Keep),
        Just(DeadLetterUpdate::Remove),
        (a_name(), an_after()).prop_map(|(name, after)| DeadLetterUpdate::Set(name, after)),
    ]
}

pub(crate) fn some_bodies() -> impl Strategy<Value = Vec<Bytes>> {
    let body = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    prop::collection::vec(body, 0..6)
}

fn some_seen() -> impl Strategy<Value = Seen> {
    (0..=ShardId::LAST.0, any::<u64>()).prop_map(|(shard, index)| Seen {
        shard: ShardId(shard),
        index,
    })
}

pub(crate) fn a_sequence() -> impl Strategy<Value = Sequence> {
    let place = (0..=Sequence::INDEX_LAST, 0..Sequence::PER_ENTRY);
    place.prop_map(|(index, ordinal)| Sequence::new(index, ordinal))
}

pub(crate) fn some_receipts() -> impl Strategy<Value = Vec<Sequence>> {
    prop::collection::vec(a_sequence(), 0..6)
}

pub(crate) fn a_topic_name() -> impl Strategy<Value = TopicName> {
    a_name().prop_map(|name| TopicName::new(name.as_str()).unwrap())
}

pub(crate) fn a_subscription_name() -> impl Strategy<Value = SubscriptionName> {
    a_name().prop_map(|name| SubscriptionName::new(name.as_str()).unwrap())
}

pub(crate) fn some_topic_attributes() -> impl Strategy<Value = TopicAttributes> {
    (any::<u32>(), any::<u64>(), any::<[bool; 2]>()).prop_map(
        |(body_bytes_max, retention, [by_tags, all])| TopicAttributes {
            body_bytes_max,
            retention: Millis(retention),
            filter: if by_tags {
                FilterKind::Tags
            } else {
                FilterKind::RoutingKey
            },
            acknowledge: acknowledge(all),
        },
    )
}

fn a_retry() -> impl Strategy<Value = RetryStrategy> {
    prop_oneof![
        Just(RetryStrategy::BackOff),
        Just(RetryStrategy::ExponentialDecay)
    ]
}

fn a_format() -> impl Strategy<Value = BodyFormat> {
    prop_oneof![Just(BodyFormat::Json), Just(BodyFormat::Simplified)]
}

pub(crate) fn some_tags() -> impl Strategy<Value = Vec<Tag>> {
    let tag = "[a-zé, ]{1,64}".prop_map(|text| Tag::new(&text).unwrap());
    prop::collection::vec(tag, 0..12)
}

pub(crate) fn some_binding_keys() -> impl Strategy<Value = Vec<BindingKey>> {
    let key = "[a-z*#.]{1,15}".prop_map(|text| BindingKey::new(&text).unwrap());
    prop::collection::vec(key, 0..12)
}

fn a_url() -> impl Strategy<Value = String> {
    "http://[a-zé/]{0,40}"
}

pub(crate) fn some_subscription_attributes() -> impl Strategy<Value = SubscriptionAttributes> {
    let queue = || prop::option::of(any::<u64>().prop_map(QueueId));
    let endpoint = prop_oneof![
        a_url().prop_map(|url| Endpoint::Http { url: url.into() }),
        (a_name(), queue()).prop_map(|(name, queue)| Endpoint::Queue { name, queue }),
    ];
    let filter = prop_oneof![
        some_tags().prop_map(|tags| Filter::Tags(tags.into())),
        some_binding_keys().prop_map(|keys| Filter::BindingKeys(keys.into())),
    ];
    (endpoint, a_retry(), a_format(), filter, queue()).prop_map(
        |(endpoint, retry, format, filter, dead_letter)| SubscriptionAttributes {
            endpoint,
            retry,
            format,
            filter,
            dead_letter,
        },
    )
}

fn some_subscription_changes() -> impl Strategy<Value = SubscriptionChanges> {
    let dead_letter = prop_oneof![
        Just(DeadLetterQueueChange::Keep),
        Just(DeadLetterQueueChange::Remove),
        a_name().prop_map(DeadLetterQueueChange::Set),
    ];
    let (tags, keys) = (
        prop::option::of(some_tags()),
        prop::option::of(some_binding_keys()),
    );
    let (retry, format) = (prop::option::of(a_retry()), prop::option::of(a_format()));
    (retry, format, tags, keys, dead_letter).prop_map(
        |(retry, format, tags, binding_keys, dead_letter)| SubscriptionChanges {
            retry,
            format,
            tags,
            binding_keys,
            dead_letter,
        },
    )
}

fn a_subscribe() -> impl Strategy<Value = Subscribe> {
    let endpoint = prop_oneof![
        a_url().prop_map(|url| EndpointName::Http { url }),
        a_name().prop_map(EndpointName::Queue),
    ];
    (
        (
            any::<u64>(),
            a_topic_name(),
            a_subscription_name(),
            endpoint,
        ),
        (a_retry(), a_format(), some_tags(), some_binding_keys()),
        (prop::option::of(a_name()), any::<u64>()),
    )
        .prop_map(
            |(
                (account, topic, name, endpoint),
                (retry, format, tags, binding_keys),
                (dead_letter, subscriptions_max),
            )| Subscribe {
                account: AccountId(account),
                topic,
                name,
                endpoint,
                retry,
                format,
                tags,
                binding_keys,
                dead_letter,
                subscriptions_max,
            },
        )
}

/// The commands on topics that are for the catalog.
fn a_catalog_command() -> impl Strategy<Value = Command> {
    let account = || any::<u64>().prop_map(AccountId);
    let millis = || any::<u64>().prop_map(Millis);
    let changes = (
        prop::option::of(any::<u32>()),
        prop::option::of(millis()),
        prop::option::of(any::<bool>().prop_map(acknowledge)),
    );
    prop_oneof![
        (
            account(),
            a_topic_name(),
            some_topic_attributes(),
            any::<u64>(),
            millis(),
            some_shards()
        )
            .prop_map(
                |(account, name, attributes, topics_max, reuse_after, avoid)| {
                    Command::CreateTopic(CreateTopic {
                        account,
                        name,
                        attributes,
                        topics_max,
                        reuse_after,
                        avoid,
                    })
                }
            ),
        (account(), a_topic_name())
            .prop_map(|(account, name)| Command::DeleteTopic { account, name }),
        (account(), a_topic_name(), changes).prop_map(
            |(account, name, (body_bytes_max, retention, acknowledge))| {
                Command::SetTopicAttributes {
                    account,
                    name,
                    changes: TopicChanges {
                        body_bytes_max,
                        retention,
                        acknowledge,
                    },
                }
            }
        ),
        a_subscribe().prop_map(|subscribe| Command::Subscribe(Box::new(subscribe))),
        (
            account(),
            a_topic_name(),
            a_subscription_name(),
            some_subscription_changes()
        )
            .prop_map(|(account, topic, name, changes)| {
                Command::SetSubscriptionAttributes {
                    account,
                    topic,
                    name,
                    changes,
                }
            }),
        (account(), a_topic_name(), a_subscription_name()).prop_map(|(account, topic, name)| {
            Command::Unsubscribe {
                account,
                topic,
                name,
            }
        }),
    ]
}

/// The commands on topics that are for their home.
fn a_topic_command() -> impl Strategy<Value = Command> {
    let queue = || any::<u64>().prop_map(QueueId);
    // Few numbers, so that one command finds what another one made.
    let topic = || (100u64..102).prop_map(TopicId);
    let subscription = || (200u64..203).prop_map(SubscriptionId);
    let outbox = || (200u64..203).prop_map(QueueId);
    let labels = (some_tags(), prop::option::of("[a-z.]{1,15}")).prop_map(|(mut tags, key)| {
        tags.truncate(limits::TAGS_MAX);
        let routing_key = key.map(|key| RoutingKey::new(&key).unwrap());
        Labels { tags, routing_key }
    });
    let sealed = (labels, some_bodies()).prop_map(|(labels, bodies)| {
        let sealed = bodies.iter().map(|body| Published::seal(&labels, body));
        sealed.collect::<Vec<_>>()
    });
    let bodies = prop_oneof![4 => sealed, 1 => some_bodies()];
    prop_oneof![
        (topic(), any::<u64>(), some_topic_attributes()).prop_map(
            |(topic, revision, attributes)| Command::PutTopic {
                topic,
                revision,
                attributes
            }
        ),
        (topic(), any::<u64>()).prop_map(|(topic, floor)| Command::DropTopic { topic, floor }),
        (
            subscription(),
            topic(),
            any::<u64>(),
            some_subscription_attributes()
        )
            .prop_map(|(subscription, topic, revision, attributes)| {
                Command::PutSubscription {
                    subscription,
                    topic,
                    revision,
                    attributes,
                }
            }),
        (subscription(), any::<u64>()).prop_map(|(subscription, floor)| {
            Command::DropSubscription {
                subscription,
                floor,
            }
        }),
        (topic(), bodies).prop_map(|(topic, bodies)| Command::Publish { topic, bodies }),
        (queue(), outbox(), some_seen(), any::<u64>(), some_bodies()).prop_map(
            |(queue, source, seen, first, bodies)| Command::AcceptPublished {
                queue,
                source,
                seen,
                first,
                bodies
            }
        ),
        (outbox(), queue(), any::<u64>(), any::<u64>()).prop_map(
            |(queue, target, number, wait)| Command::MoveFailed {
                queue,
                target,
                number,
                wait_max: Millis(wait)
            }
        ),
        (outbox(), some_receipts())
            .prop_map(|(queue, receipts)| Command::GiveUp { queue, receipts }),
    ]
}

pub(super) fn a_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        17 => a_queue_command(),
        6 => a_catalog_command(),
        8 => a_topic_command(),
        4 => a_cluster_command(),
        1 => a_send_once(),
    ]
}

/// The commands on the cluster and its nodes.
fn a_cluster_command() -> impl Strategy<Value = Command> {
    let id = || prop_oneof![Just([7; 16]), any::<[u8; 16]>()];
    let text = || prop_oneof![9 => "[a-zé.:]{0,20}", 1 => "a{60,70}", 1 => "a{250,260}"];
    let state = prop::sample::select(vec![
        NodeState::Active,
        NodeState::Draining,
        NodeState::Removed,
    ]);
    let node = prop_oneof![1u64..3, any::<u64>()].prop_map(NodeId);
    prop_oneof![
        (id(), (0u64..3, id()), text(), text(), text()).prop_map(
            |(incarnation, (number, mark), address, host, zone)| Command::AddNode {
                incarnation,
                start: NodeStart { number, mark },
                address,
                host,
                zone,
            }
        ),
        (node, state, 0u64..3).prop_map(|(node, state, removed)| Command::SetNodeState {
            node,
            state,
            removed,
        }),
        id().prop_map(|cluster| Command::ClusterFormed { cluster }),
        (1u32.., 0u64..3).prop_map(|(version, nodes)| Command::SetClusterVersion {
            version: ClusterVersion(version),
            nodes,
        }),
    ]
}

fn a_send_once() -> impl Strategy<Value = Command> {
    let token = prop_oneof![Just([7; 16]), any::<[u8; 16]>()];
    let delay = prop::option::of(any::<u64>().prop_map(Millis));
    (any::<u64>(), token, delay, some_bodies()).prop_map(|(queue, token, delay, bodies)| {
        Command::SendMessagesOnce {
            queue: QueueId(queue),
            token,
            delay,
            bodies,
        }
    })
}

fn some_shards() -> impl Strategy<Value = Vec<ShardId>> {
    let shard = 0..=ShardId::LAST.0;
    prop::collection::btree_set(shard, 0..4)
        .prop_map(|shards| shards.into_iter().map(ShardId).collect())
}

#[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
fn a_queue_command() -> impl Strategy<Value = Command> {
    let queue = || any::<u64>().prop_map(QueueId);
    let account = || any::<u64>().prop_map(AccountId);
    let millis = || any::<u64>().prop_map(Millis);
    let create = (
        account(),
        a_name(),
        some_attributes(),
        prop::option::of((a_name(), an_after())),
    );
    prop_oneof![
        (create, any::<u64>(), millis(), some_shards()).prop_map(
            |(create, queues_max, reuse_after, avoid)| {
                let (account, name, attributes, dead_letter) = create;
                Command::CreateQueue(CreateQueue {
                    account,
                    name,
                    attributes,
                    dead_letter,
                    queues_max,
                    reuse_after,
                    avoid,
                })
            }
        ),
        (account(), a_name()).prop_map(|(account, name)| Command::DeleteQueue { account, name }),
        (account(), a_name(), some_changes(), an_update()).prop_map(
            |(account, name, changes, dead_letter)| {
                Command::SetQueueAttributes {
                    account,
                    name,
                    changes,
                    dead_letter,
                }
            }
        ),
        (any::<u64>(), any::<u64>())
            .prop_map(|(number, revision)| Command::Settled { number, revision }),
        (queue(), any::<u64>(), some_attributes()).prop_map(|(queue, revision, attributes)| {
            Command::PutQueue {
                queue,
                revision,
                attributes,
            }
        }),
        (queue(), any::<u64>()).prop_map(|(queue, floor)| Command::DropQueue { queue, floor }),
        queue().prop_map(|queue| Command::ClearQueue { queue }),
        (queue(), any::<u64>()).prop_map(|(queue, to)| Command::RewindQueue {
            queue,
            to: Timestamp(to)
        }),
        (queue(), prop::option::of(millis()), some_bodies()).prop_map(|(queue, delay, bodies)| {
            Command::SendMessages {
                queue,
                delay,
                bodies,
            }
        }),
        (queue(), any::<u32>(), prop::option::of(millis())).prop_map(|(queue, max, visibility)| {
            Command::ReceiveMessages {
                queue,
                max,
                visibility,
            }
        }),
        (queue(), some_receipts())
            .prop_map(|(queue, receipts)| Command::DeleteMessages { queue, receipts }),
        (queue(), some_receipts(), millis()).prop_map(|(queue, receipts, visibility)| {
            Command::ChangeVisibility {
                queue,
                receipts,
                visibility,
            }
        }),
        (queue(), queue(), some_seen(), any::<u64>(), some_bodies()).prop_map(
            |(queue, source, seen, first, bodies)| Command::AcceptMoved {
                queue,
                source,
                seen,
                first,
                bodies
            }
        ),
        (queue(), queue(), some_seen(), any::<u64>()).prop_map(|(queue, source, seen, through)| {
            Command::ForgetSource {
                queue,
                source,
                seen,
                through,
            }
        }),
        (queue(), queue(), any::<u64>()).prop_map(|(queue, target, through)| {
            Command::LaneEnded {
                queue,
                target,
                through,
            }
        }),
        (queue(), queue(), any::<u64>()).prop_map(|(queue, target, through)| {
            Command::MovesSettled {
                queue,
                target,
                through,
            }
        }),
        (queue(), some_receipts())
            .prop_map(|(queue, receipts)| Command::ReturnLeases { queue, receipts }),
        (queue(), queue()).prop_map(|(queue, target)| Command::ReturnMoves { queue, target }),
        Just(Command::Settle),
    ]
}
