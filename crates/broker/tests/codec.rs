//! Bytes: what is written is read again, what was written once stays as it is, and nothing that can
//! be in a file makes the reader panic.

use std::fmt::Write;

use anser_broker::{
    attributes::{
        Acknowledge, AttributeChanges, BodyFormat, DeadLetterAfter, DeadLetterPolicy, Endpoint,
        Filter, FilterKind, QueueAttributes, RetentionFrom, SubscriptionAttributes,
        TopicAttributes, TopicChanges,
    },
    codec::{self, Batch, BatchBuilder, Encoded},
    command::{Command, CreateQueue, CreateTopic, DeadLetterUpdate, NodeState, Reply, Subscribe},
    id::{AccountId, NodeId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey, Tag},
    limits,
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
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

fn acknowledge(all: bool) -> Acknowledge {
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
    (any::<u32>(), any::<u64>(), any::<bool>()).prop_map(|(body_bytes_max, retention, by_tags)| {
        TopicAttributes {
            body_bytes_max,
            retention: Millis(retention),
            filter: if by_tags {
                FilterKind::Tags
            } else {
                FilterKind::RoutingKey
            },
        }
    })
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
    let changes = (prop::option::of(any::<u32>()), prop::option::of(millis()));
    prop_oneof![
        (
            account(),
            a_topic_name(),
            some_topic_attributes(),
            any::<u64>(),
            millis()
        )
            .prop_map(|(account, name, attributes, topics_max, reuse_after)| {
                Command::CreateTopic(CreateTopic {
                    account,
                    name,
                    attributes,
                    topics_max,
                    reuse_after,
                })
            }),
        (account(), a_topic_name())
            .prop_map(|(account, name)| Command::DeleteTopic { account, name }),
        (account(), a_topic_name(), changes).prop_map(
            |(account, name, (body_bytes_max, retention))| Command::SetTopicAttributes {
                account,
                name,
                changes: TopicChanges {
                    body_bytes_max,
                    retention
                },
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
        topic().prop_map(|topic| Command::DropTopic { topic }),
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
        subscription().prop_map(|subscription| Command::DropSubscription { subscription }),
        (topic(), bodies).prop_map(|(topic, bodies)| Command::Publish { topic, bodies }),
        (queue(), outbox(), any::<u64>(), some_bodies()).prop_map(
            |(queue, source, first, bodies)| Command::AcceptPublished {
                queue,
                source,
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

fn a_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        17 => a_queue_command(),
        6 => a_catalog_command(),
        8 => a_topic_command(),
        3 => a_cluster_command(),
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
        (id(), text(), text(), text()).prop_map(|(incarnation, address, host, zone)| {
            Command::AddNode {
                incarnation,
                address,
                host,
                zone,
            }
        }),
        (node, state).prop_map(|(node, state)| Command::SetNodeState { node, state }),
        id().prop_map(|cluster| Command::ClusterFormed { cluster }),
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
        (create, any::<u64>(), millis()).prop_map(|(create, queues_max, reuse_after)| {
            let (account, name, attributes, dead_letter) = create;
            Command::CreateQueue(CreateQueue {
                account,
                name,
                attributes,
                dead_letter,
                queues_max,
                reuse_after,
            })
        }),
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
        queue().prop_map(|queue| Command::DropQueue { queue }),
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
        (queue(), queue(), any::<u64>(), some_bodies()).prop_map(
            |(queue, source, first, bodies)| Command::AcceptMoved {
                queue,
                source,
                first,
                bodies
            }
        ),
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

fn pack(commands: &[Command]) -> Bytes {
    let stamp = Stamp {
        now: Timestamp(7),
        wall: Timestamp(9),
        ..Stamp::default()
    };
    let mut batch = BatchBuilder::new(stamp);
    for command in commands {
        batch.push(&codec::encode(command));
    }
    batch.finish()
}

fn apply_to_a_shard(payload: &[u8]) -> Result<usize, codec::Error> {
    let mut shard = Shard::new(ShardId(0), 2);
    let queue = Command::PutQueue {
        queue: QueueId(0),
        revision: 1,
        attributes: simple_attributes(),
    };
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    shard
        .apply(1, &pack(&[queue]), &mut replies, &mut effects)
        .unwrap();
    replies.clear();
    shard.apply(2, payload, &mut replies, &mut effects)?;
    Ok(replies.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_command_is_read_as_it_was_written(command in a_command()) {
        let encoded = codec::encode(&command);
        prop_assert_eq!(codec::decode(&encoded.bytes).unwrap(), command);
        prop_assert_eq!(Encoded::from_bytes(encoded.bytes.clone()), Ok(encoded));
    }

    #[test]
    fn a_part_of_a_command_is_no_command(command in a_command()) {
        let Encoded { bytes, .. } = codec::encode(&command);
        for length in 0..bytes.len() {
            prop_assert!(codec::decode(&bytes.slice(..length)).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert_eq!(codec::decode(&Bytes::from(longer)), Err(codec::Error::TrailingBytes));
    }

    #[test]
    fn a_batch_has_its_commands_and_finds_each_body(commands in prop::collection::vec(a_command(), 0..6)) {
        let payload = pack(&commands);
        let batch = Batch::decode(&payload).unwrap();
        prop_assert_eq!(batch.stamp, Stamp { now: Timestamp(7), wall: Timestamp(9), ..Stamp::default() });
        prop_assert_eq!(batch.commands.len(), commands.len());
        let bodies: Vec<Bytes> = commands.iter().flat_map(bodies_of).cloned().collect();
        for (ordinal, body) in (0..).zip(&bodies) {
            prop_assert_eq!(codec::body(&payload, ordinal), Some(body.clone()));
        }
        prop_assert_eq!(codec::body(&payload, u32::try_from(bodies.len()).unwrap()), None);
        let odd: Vec<u32> = (0..).take(bodies.len()).filter(|ordinal| ordinal % 2 == 1).collect();
        let kept = codec::keep(&payload, &odd).unwrap();
        for (ordinal, body) in (0..).zip(&bodies) {
            let expected = (ordinal % 2 == 1).then(|| body.clone());
            prop_assert_eq!(codec::kept_body(&kept, ordinal), expected);
        }
        let last: Vec<u32> = odd.last().copied().into_iter().collect();
        prop_assert_eq!(codec::keep_again(&kept, &last), codec::keep(&payload, &last));
        prop_assert_eq!(apply_to_a_shard(&payload), Ok(commands.len()));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..50, ordinal in 0u32..9) {
        let mut bytes = bytes;
        read_everything(&bytes, ordinal);
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        read_everything(&bytes, ordinal);
    }

    #[test]
    fn damaged_bytes_are_read_without_panic(
        commands in prop::collection::vec(a_command(), 1..4),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = pack(&commands).to_vec();
        for (place, byte) in damages {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(&bytes, 1);
        if Batch::decode(&bytes).is_ok() {
            apply_to_a_shard(&bytes).unwrap();
        }
    }
}

fn bodies_of(command: &Command) -> &[Bytes] {
    match command {
        Command::SendMessages { bodies, .. }
        | Command::SendMessagesOnce { bodies, .. }
        | Command::AcceptMoved { bodies, .. }
        | Command::Publish { bodies, .. }
        | Command::AcceptPublished { bodies, .. } => bodies,
        _ => &[],
    }
}

fn read_everything(bytes: &[u8], ordinal: u32) {
    let shared = Bytes::copy_from_slice(bytes);
    let _ = codec::decode(&shared);
    let _ = Encoded::from_bytes(shared.clone());
    let _ = Batch::decode(bytes);
    let _ = codec::body(&shared, ordinal);
    let _ = codec::kept_body(&shared, ordinal);
    let _ = codec::keep(bytes, &[ordinal]);
    let _ = codec::keep_again(bytes, &[ordinal]);
    let _ = Shard::restore(bytes);
}

fn simple_attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1,
        wait: Millis(2),
        visibility: Millis(3),
        body_bytes_max: 4,
        retention: Millis(50),
        retention_from: RetentionFrom::Visible,
        rewind: Millis(6),
        delay: Millis(7),
        delay_max: Millis(8),
        delayed_max: 9,
        in_flight_max: 10,
        dead_letter: Some(DeadLetterPolicy {
            queue: QueueId(11),
            after: DeadLetterAfter::Receives(12),
        }),
        acknowledge: Acknowledge::Majority,
    }
}

/// One command of each kind, with all that it can have.
#[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
fn one_of_each() -> Vec<Command> {
    let name = |text: &str| QueueName::new(text).unwrap();
    let (account, queue) = (AccountId(1), QueueId(2));
    let bodies = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
    let receipts = vec![Sequence::new(3, 4)];
    let after = DeadLetterAfter::Age(Millis(5));
    let mut commands = vec![
        Command::CreateQueue(CreateQueue {
            account,
            name: name("orders"),
            attributes: simple_attributes(),
            dead_letter: Some((name("dead"), after)),
            queues_max: 13,
            reuse_after: Millis(14),
        }),
        Command::DeleteQueue {
            account,
            name: name("orders"),
        },
        Command::SetQueueAttributes {
            account,
            name: name("orders"),
            changes: AttributeChanges {
                backlog_max: Some(1),
                wait: Some(Millis(2)),
                visibility: Some(Millis(3)),
                body_bytes_max: Some(4),
                retention: Some(Millis(5)),
                rewind: Some(Millis(6)),
                delay: Some(Millis(7)),
                delay_max: None,
                acknowledge: None,
            },
            dead_letter: DeadLetterUpdate::Set(name("dead"), after),
        },
        Command::Settled {
            number: queue.0,
            revision: 3,
        },
        Command::PutQueue {
            queue,
            revision: 3,
            attributes: simple_attributes(),
        },
        Command::DropQueue { queue },
        Command::ClearQueue { queue },
        Command::RewindQueue {
            queue,
            to: Timestamp(3),
        },
        Command::SendMessages {
            queue,
            delay: Some(Millis(3)),
            bodies: bodies.clone(),
        },
        Command::ReceiveMessages {
            queue,
            max: 3,
            visibility: Some(Millis(4)),
        },
        Command::DeleteMessages {
            queue,
            receipts: receipts.clone(),
        },
        Command::ChangeVisibility {
            queue,
            receipts,
            visibility: Millis(5),
        },
        Command::AcceptMoved {
            queue,
            source: QueueId(3),
            first: 4,
            bodies,
        },
        Command::MovesSettled {
            queue,
            target: QueueId(3),
            through: 4,
        },
        Command::Settle,
        Command::ReturnLeases {
            queue,
            receipts: vec![Sequence::new(3, 4), Sequence::new(5, 6)],
        },
        Command::ReturnMoves {
            queue,
            target: QueueId(3),
        },
    ];
    commands.extend(one_of_each_for_the_catalog());
    commands.extend(one_of_each_for_a_home());
    commands.extend(one_of_each_for_a_cluster());
    commands
}

/// The kinds that came with clusters.
fn one_of_each_for_a_cluster() -> Vec<Command> {
    let name = QueueName::new("orders").unwrap();
    let attributes = || QueueAttributes {
        acknowledge: Acknowledge::All,
        ..simple_attributes()
    };
    let set_state = |state| Command::SetNodeState {
        node: NodeId(1),
        state,
    };
    let set = |acknowledge, dead_letter| Command::SetQueueAttributes {
        account: AccountId(1),
        name: name.clone(),
        changes: AttributeChanges {
            acknowledge: Some(acknowledge),
            ..AttributeChanges::default()
        },
        dead_letter,
    };
    let after = DeadLetterAfter::Receives(2);
    vec![
        Command::ClusterFormed {
            cluster: *b"the cluster's id",
        },
        Command::AddNode {
            incarnation: *b"a disk's own id.",
            address: "10.0.0.1:7600".into(),
            host: "rack-3".into(),
            zone: "é".into(),
        },
        set_state(NodeState::Draining),
        set_state(NodeState::Active),
        set_state(NodeState::Removed),
        Command::CreateQueue(CreateQueue {
            account: AccountId(1),
            name: name.clone(),
            attributes: attributes(),
            dead_letter: Some((QueueName::new("dead").unwrap(), after)),
            queues_max: 13,
            reuse_after: Millis(14),
        }),
        set(Acknowledge::All, DeadLetterUpdate::Remove),
        set(
            Acknowledge::Majority,
            DeadLetterUpdate::Set(QueueName::new("dead").unwrap(), after),
        ),
        Command::PutQueue {
            queue: QueueId(2),
            revision: 3,
            attributes: attributes(),
        },
        Command::SendMessagesOnce {
            queue: QueueId(2),
            token: *b"hash of a token.",
            delay: Some(Millis(3)),
            bodies: vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")],
        },
    ]
}

fn simple_topic_attributes() -> TopicAttributes {
    TopicAttributes {
        body_bytes_max: 3,
        retention: Millis(4),
        filter: FilterKind::RoutingKey,
    }
}

fn simple_tags() -> Vec<Tag> {
    vec![Tag::new("red").unwrap(), Tag::new("é").unwrap()]
}

fn simple_binding_keys() -> Vec<BindingKey> {
    vec![BindingKey::new("usa.#").unwrap()]
}

/// The commands on topics, in the order of their kinds.
fn one_of_each_for_the_catalog() -> Vec<Command> {
    let account = AccountId(1);
    let queue_name = |text: &str| QueueName::new(text).unwrap();
    let topic = TopicName::new("news").unwrap();
    let name = SubscriptionName::new("mail").unwrap();
    let subscribe = |endpoint, dead_letter| {
        Command::Subscribe(Box::new(Subscribe {
            account,
            topic: topic.clone(),
            name: name.clone(),
            endpoint,
            retry: RetryStrategy::BackOff,
            format: BodyFormat::Simplified,
            tags: simple_tags(),
            binding_keys: simple_binding_keys(),
            dead_letter,
            subscriptions_max: 5,
        }))
    };
    let url = "http://a/b".to_owned();
    vec![
        Command::CreateTopic(CreateTopic {
            account,
            name: topic.clone(),
            attributes: simple_topic_attributes(),
            topics_max: 5,
            reuse_after: Millis(6),
        }),
        Command::DeleteTopic {
            account,
            name: topic.clone(),
        },
        Command::SetTopicAttributes {
            account,
            name: topic.clone(),
            changes: TopicChanges {
                body_bytes_max: Some(2),
                retention: Some(Millis(3)),
            },
        },
        subscribe(EndpointName::Http { url }, Some(queue_name("dead"))),
        subscribe(EndpointName::Queue(queue_name("orders")), None),
        Command::SetSubscriptionAttributes {
            account,
            topic: topic.clone(),
            name: name.clone(),
            changes: SubscriptionChanges {
                retry: Some(RetryStrategy::ExponentialDecay),
                format: Some(BodyFormat::Json),
                tags: Some(simple_tags()),
                binding_keys: Some(simple_binding_keys()),
                dead_letter: DeadLetterQueueChange::Set(queue_name("dead")),
            },
        },
        Command::SetSubscriptionAttributes {
            account,
            topic: topic.clone(),
            name: name.clone(),
            changes: SubscriptionChanges {
                dead_letter: DeadLetterQueueChange::Remove,
                ..SubscriptionChanges::default()
            },
        },
        Command::Unsubscribe {
            account,
            topic,
            name,
        },
    ]
}

fn one_of_each_for_a_home() -> Vec<Command> {
    let (topic, subscription) = (TopicId(2), SubscriptionId(3));
    let queue = subscription.outbox();
    let labels = Labels {
        tags: simple_tags(),
        routing_key: Some(RoutingKey::new("usa.ca").unwrap()),
    };
    let put = |endpoint, filter, dead_letter| Command::PutSubscription {
        subscription,
        topic,
        revision: 4,
        attributes: SubscriptionAttributes {
            format: match endpoint {
                Endpoint::Http { .. } => BodyFormat::Json,
                Endpoint::Queue { .. } => BodyFormat::Simplified,
            },
            endpoint,
            retry: RetryStrategy::ExponentialDecay,
            filter,
            dead_letter,
        },
    };
    let to_a_queue = |queue| Endpoint::Queue {
        name: QueueName::new("orders").unwrap(),
        queue,
    };
    let to_a_url = Endpoint::Http {
        url: "http://a/b".into(),
    };
    let keys = || Filter::BindingKeys(simple_binding_keys().into());
    vec![
        Command::PutTopic {
            topic,
            revision: 3,
            attributes: simple_topic_attributes(),
        },
        Command::DropTopic { topic },
        put(to_a_url, Filter::Tags(simple_tags().into()), None),
        put(to_a_queue(Some(QueueId(5))), keys(), Some(QueueId(6))),
        put(to_a_queue(None), keys(), None),
        Command::DropSubscription { subscription },
        Command::Publish {
            topic,
            bodies: vec![
                Published::seal(&labels, b"a"),
                Published::seal(&Labels::default(), b"bc"),
            ],
        },
        Command::AcceptPublished {
            queue: QueueId(5),
            source: queue,
            first: 4,
            bodies: vec![Bytes::from_static(b"a")],
        },
        Command::MoveFailed {
            queue,
            target: QueueId(5),
            number: 4,
            wait_max: Millis(5),
        },
        Command::GiveUp {
            queue,
            receipts: vec![Sequence::new(3, 4)],
        },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A log may hold these bytes for ever: a line is added for a new kind, none is changed.
#[test]
fn bytes_of_commands_are_frozen() {
    let lines: Vec<_> = one_of_each()
        .iter()
        .map(|command| hex(&codec::encode(command).bytes))
        .collect();
    let frozen: Vec<_> = include_str!("golden/commands.hex").lines().collect();
    assert_eq!(lines, frozen, "\n{}\n", lines.join("\n"));
}

#[test]
fn bytes_of_a_batch_and_of_what_is_kept_are_frozen() {
    let commands = one_of_each();
    let payload = pack(&commands[8..11]);
    let kept = codec::keep(&payload, &[1]).unwrap();
    let lines = [hex(&payload), hex(&kept)];
    let frozen: Vec<_> = include_str!("golden/batch.hex").lines().collect();
    assert_eq!(lines[..], frozen[..], "\n{}\n", lines.join("\n"));
}

/// Applies commands to a shard, an entry each.
fn apply_all(shard: &mut Shard, commands: Vec<Command>) {
    for command in commands {
        let (mut replies, mut effects) = (Vec::new(), Vec::new());
        let index = shard.applied() + 1;
        shard
            .apply(index, &pack(&[command]), &mut replies, &mut effects)
            .unwrap();
        assert!(!matches!(replies[0], Reply::Refused(_)), "{replies:?}");
    }
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

/// A catalog with two queues, of which one ended.
fn a_catalog_of_queues() -> Shard {
    let mut shard = Shard::new(ShardId(0), 2);
    let account = AccountId(1);
    let name = |text: &str| QueueName::new(text).unwrap();
    let create = |text| {
        Command::CreateQueue(CreateQueue {
            account,
            name: name(text),
            attributes: simple_attributes(),
            dead_letter: None,
            queues_max: 9,
            reuse_after: Millis(0),
        })
    };
    let ended = Command::DeleteQueue {
        account,
        name: name("gone"),
    };
    let commands = vec![create("orders"), create("gone"), create("dead"), ended];
    apply_all(&mut shard, commands);
    shard
}

/// What a home has of queues: one with a message of each kind.
fn fill_queues(shard: &mut Shard) {
    let queue = QueueId(1);
    let put = Command::PutQueue {
        queue,
        revision: 1,
        attributes: QueueAttributes {
            backlog_max: 9,
            ..simple_attributes()
        },
    };
    let send = |delay| Command::SendMessages {
        queue,
        delay: Some(Millis(delay)),
        bodies: vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")],
    };
    let receive = Command::ReceiveMessages {
        queue,
        max: 1,
        visibility: None,
    };
    let drop = Command::DropQueue { queue: QueueId(20) };
    apply_all(shard, vec![put, send(0), send(5), receive, drop]);
}

/// A topic with two subscriptions of the two kinds, and a topic and a subscription that ended.
fn add_topics_to_the_catalog(shard: &mut Shard) {
    let mut commands = one_of_each_for_the_catalog().into_iter();
    let Some(Command::CreateTopic(create)) = commands.next() else {
        panic!("the first command creates a topic")
    };
    let subscribes = commands.filter_map(|command| match command {
        Command::Subscribe(subscribe) => Some(subscribe),
        _ => None,
    });
    let subscribes: Vec<_> = subscribes.collect();
    let over_http = Command::Subscribe(subscribes[0].clone());
    let copy = SubscriptionName::new("copy").unwrap();
    let to_a_queue = Command::Subscribe(Box::new(Subscribe {
        name: copy,
        ..Subscribe::clone(&subscribes[1])
    }));
    let account = create.account;
    let unsubscribe = Command::Unsubscribe {
        account,
        topic: create.name.clone(),
        name: subscribes[0].name.clone(),
    };
    let gone = TopicName::new("gone").unwrap();
    let create_gone = Command::CreateTopic(CreateTopic {
        name: gone.clone(),
        ..create.clone()
    });
    let delete_gone = Command::DeleteTopic {
        account,
        name: gone,
    };
    let commands = vec![
        Command::CreateTopic(create),
        create_gone,
        over_http.clone(),
        to_a_queue,
        unsubscribe,
        over_http,
        delete_gone,
    ];
    apply_all(shard, commands);
}

/// A topic with an outbox that is forwarded and one that is pushed, and messages in all places.
fn add_topics_at_home(shard: &mut Shard) {
    let commands = one_of_each_for_a_home();
    let (topic, forwarded, pushed) = (TopicId(2), QueueId(3), QueueId(7));
    let labels = Labels {
        tags: simple_tags(),
        routing_key: Some(RoutingKey::new("usa.ca").unwrap()),
    };
    let publish = Command::Publish {
        topic,
        bodies: vec![Published::seal(&labels, b"a")],
    };
    let failed = Command::MoveFailed {
        queue: forwarded,
        target: QueueId(5),
        number: 1,
        wait_max: Millis(5),
    };
    let [put_topic, _, _, put_forwarded, ..] = &commands[..] else {
        panic!("there are more kinds")
    };
    let start = [put_topic, put_forwarded, &publish, &publish, &failed];
    apply_all(shard, start.into_iter().cloned().collect());
    let put_pushed = Command::PutSubscription {
        subscription: SubscriptionId(pushed.0),
        topic,
        revision: 1,
        attributes: SubscriptionAttributes {
            endpoint: Endpoint::Http {
                url: "http://a/b".into(),
            },
            retry: RetryStrategy::ExponentialDecay,
            format: BodyFormat::Json,
            filter: Filter::BindingKeys(simple_binding_keys().into()),
            dead_letter: None,
        },
    };
    let receive = Command::ReceiveMessages {
        queue: pushed,
        max: 1,
        visibility: Some(Millis(2)),
    };
    let give_up = Command::GiveUp {
        queue: pushed,
        receipts: vec![Sequence::new(shard.applied() + 3, 0)],
    };
    apply_all(
        shard,
        vec![put_pushed, publish.clone(), receive.clone(), give_up],
    );
    apply_all(shard, vec![publish.clone(), publish, receive]);
}

/// A state as it was before there were nodes.
fn a_state_with_topics() -> Shard {
    let mut shard = a_catalog_of_queues();
    fill_queues(&mut shard);
    add_topics_to_the_catalog(&mut shard);
    add_topics_at_home(&mut shard);
    shard
}

/// Nodes in all states, queues whose sends wait for all replicas, and tokens.
fn add_a_cluster(shard: &mut Shard) {
    let commands = one_of_each_for_a_cluster();
    let add = |incarnation: &[u8; 16]| Command::AddNode {
        incarnation: *incarnation,
        address: "10.0.0.2:7600".into(),
        host: String::new(),
        zone: "north".into(),
    };
    let drain = Command::SetNodeState {
        node: NodeId(2),
        state: NodeState::Draining,
    };
    let [form, add_first, _, _, remove, create, set, _, put, send] = &commands[..] else {
        panic!("there are more kinds")
    };
    let mut create = create.clone();
    if let Command::CreateQueue(create) = &mut create {
        create.name = QueueName::new("safe").unwrap();
        create.dead_letter = None;
    }
    let mut put = put.clone();
    if let Command::PutQueue {
        queue, attributes, ..
    } = &mut put
    {
        *queue = QueueId(30);
        attributes.backlog_max = 9;
    }
    let send = |token: u8| {
        let mut send = send.clone();
        if let Command::SendMessagesOnce {
            queue, token: its, ..
        } = &mut send
        {
            *queue = QueueId(30);
            its[0] = token;
        }
        send
    };
    let start = [form, add_first].into_iter().cloned();
    apply_all(shard, start.collect());
    apply_all(
        shard,
        vec![
            add(b"the second disk."),
            add(b"one more, of now"),
            drain,
            remove.clone(),
            create,
            set.clone(),
            put,
            send(2),
            send(1),
            send(2),
        ],
    );
}

/// Snapshots may have these bytes for ever.
#[test]
fn bytes_of_a_state_with_nodes_are_frozen() {
    let mut shard = a_state_with_topics();
    add_a_cluster(&mut shard);
    let frozen = include_str!("golden/state-with-nodes.hex").trim();
    let line = hex(&save(&shard));
    assert_eq!(line, frozen, "\n{line}\n");
    let restored = Shard::restore(&unhex(frozen)).unwrap();
    assert_eq!(hex(&save(&restored)), frozen);
}

/// The form before there were nodes, tokens and acknowledgement policies.
#[test]
fn a_state_of_the_form_without_nodes_is_restored() {
    let frozen = unhex(include_str!("golden/state.hex").trim());
    assert_eq!(frozen[0], 4);
    let restored = Shard::restore(&frozen).unwrap();
    let now = save(&a_state_with_topics());
    assert_eq!(save(&restored), now, "it is saved in the form of today");
    check_parts_of_an_old_form(&frozen);
}

/// The form before there were topics.
#[test]
fn a_state_of_the_form_without_topics_is_restored() {
    let frozen = unhex(include_str!("golden/state-without-topics.hex").trim());
    assert_eq!(frozen[0], 3);
    let restored = Shard::restore(&frozen).unwrap();
    let mut shard = a_catalog_of_queues();
    fill_queues(&mut shard);
    assert_eq!(
        save(&restored),
        save(&shard),
        "it is saved in the form of today"
    );
    check_parts_of_an_old_form(&frozen);
}

/// An old form is read as carefully as the new one.
fn check_parts_of_an_old_form(bytes: &[u8]) {
    for length in 0..bytes.len() {
        assert!(Shard::restore(&bytes[..length]).is_err());
    }
    crate::model::restore_damaged(bytes, 0, 7);
    for form in [3, 4, 5] {
        let mut other = bytes.to_vec();
        other[0] = form;
        assert_eq!(Shard::restore(&other).is_ok(), form == bytes[0]);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn a_batch_is_full_by_bytes_messages_or_leases() {
    let mut batch = BatchBuilder::new(Stamp::default());
    let huge = codec::encode(&Command::SendMessages {
        queue: QueueId(1),
        delay: None,
        bodies: vec![Bytes::from(vec![0; limits::ENTRY_BYTES])],
    });
    assert!(
        batch.fits(&huge),
        "the first command may be larger than an entry should be"
    );
    batch.push(&codec::encode(&Command::Settle));
    assert!(!batch.fits(&huge));

    let receive = codec::encode(&Command::ReceiveMessages {
        queue: QueueId(1),
        max: 64,
        visibility: None,
    });
    let many = codec::encode(&Command::SendMessages {
        queue: QueueId(1),
        delay: None,
        bodies: vec![Bytes::from_static(b"x"); 64],
    });
    for _ in 0..16 {
        assert!(batch.fits(&receive) && batch.fits(&many));
        batch.push(&receive);
        batch.push(&many);
    }
    assert!(!batch.fits(&receive) && !batch.fits(&many));
    let size = batch.size();
    assert_eq!(batch.finish().len(), size);
}

#[test]
fn a_command_from_elsewhere_fits_an_empty_batch() {
    let send = |bodies| {
        codec::encode(&Command::SendMessages {
            queue: QueueId(1),
            delay: None,
            bodies: vec![Bytes::from_static(b"x"); bodies],
        })
    };
    let most = Encoded::from_bytes(send(1024).bytes).unwrap();
    assert!(BatchBuilder::new(Stamp::default()).fits(&most));
    let too_many = send(1025).bytes;
    assert_eq!(Encoded::from_bytes(too_many), Err(codec::Error::BadValue));
}

#[test]
fn a_payload_that_is_no_batch_changes_only_what_was_applied() {
    let mut shard = Shard::new(ShardId(1), 2);
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    assert!(
        shard
            .apply(5, b"nonsense", &mut replies, &mut effects)
            .is_err()
    );
    assert_eq!(shard.applied(), 5);
    shard.apply(6, b"", &mut replies, &mut effects).unwrap();
    assert_eq!((shard.applied(), replies.len(), effects.len()), (6, 0, 0));
}
