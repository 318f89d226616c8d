//! The bytes of commands: a log may hold them for ever.

use std::fmt::Write;

use anser_broker::{
    attributes::{
        Acknowledge, AttributeChanges, BodyFormat, DeadLetterAfter, DeadLetterPolicy, Endpoint,
        Filter, FilterKind, QueueAttributes, RetentionFrom, SubscriptionAttributes,
        TopicAttributes, TopicChanges,
    },
    codec::{self, Encoded},
    command::{
        Command, CreateQueue, CreateTopic, DeadLetterUpdate, NodeStart, NodeState, Seen, Subscribe,
    },
    id::{AccountId, NodeId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Labels, Published, RoutingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    time::{Millis, Timestamp},
    version::ClusterVersion,
};
use bytes::Bytes;

use super::pack;

const SEEN: Seen = Seen {
    shard: ShardId(5),
    index: 6,
};

pub(super) fn simple_attributes() -> QueueAttributes {
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
            avoid: vec![ShardId(900), ShardId(1023)],
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
        Command::DropQueue { queue, floor: 6 },
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
            seen: SEEN,
            first: 4,
            bodies,
        },
        Command::MovesSettled {
            queue,
            target: QueueId(3),
            through: 4,
        },
        Command::ForgetSource {
            queue,
            source: QueueId(3),
            seen: SEEN,
            through: 4,
        },
        Command::LaneEnded {
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
    commands.extend(one_of_each_of_version_two());
    commands
}

/// The kinds that came with version 2 of the cluster.
pub(crate) fn one_of_each_of_version_two() -> Vec<Command> {
    let name = TopicName::new("safe").unwrap();
    let attributes = || TopicAttributes {
        acknowledge: Acknowledge::All,
        ..simple_topic_attributes()
    };
    let set = |acknowledge| Command::SetTopicAttributes {
        account: AccountId(1),
        name: name.clone(),
        changes: TopicChanges {
            body_bytes_max: Some(2),
            retention: None,
            acknowledge: Some(acknowledge),
        },
    };
    vec![
        Command::CreateTopic(CreateTopic {
            account: AccountId(1),
            name: name.clone(),
            attributes: attributes(),
            topics_max: 5,
            reuse_after: Millis(6),
            avoid: vec![ShardId(900), ShardId(1023)],
        }),
        set(Acknowledge::All),
        set(Acknowledge::Majority),
        Command::PutTopic {
            topic: TopicId(40),
            revision: 3,
            attributes: attributes(),
        },
        Command::SetClusterVersion {
            version: ClusterVersion(2),
            nodes: 3,
        },
    ]
}

/// The kinds that came with clusters.
pub(super) fn one_of_each_for_a_cluster() -> Vec<Command> {
    let name = QueueName::new("orders").unwrap();
    let attributes = || QueueAttributes {
        acknowledge: Acknowledge::All,
        ..simple_attributes()
    };
    let set_state = |state| Command::SetNodeState {
        node: NodeId(1),
        state,
        removed: 0,
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
            start: NodeStart {
                number: 3,
                mark: *b"drawn at a start",
            },
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
            avoid: vec![ShardId(900), ShardId(1023)],
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
        acknowledge: Acknowledge::Majority,
    }
}

pub(super) fn simple_tags() -> Vec<Tag> {
    vec![Tag::new("red").unwrap(), Tag::new("é").unwrap()]
}

pub(super) fn simple_binding_keys() -> Vec<BindingKey> {
    vec![BindingKey::new("usa.#").unwrap()]
}

/// The commands on topics, in the order of their kinds.
pub(super) fn one_of_each_for_the_catalog() -> Vec<Command> {
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
            avoid: vec![ShardId(900), ShardId(1023)],
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
                acknowledge: None,
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

pub(super) fn one_of_each_for_a_home() -> Vec<Command> {
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
        Command::DropTopic { topic, floor: 6 },
        put(to_a_url, Filter::Tags(simple_tags().into()), None),
        put(to_a_queue(Some(QueueId(5))), keys(), Some(QueueId(6))),
        put(to_a_queue(None), keys(), None),
        Command::DropSubscription {
            subscription,
            floor: 6,
        },
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
            seen: SEEN,
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

pub(super) fn hex(bytes: &[u8]) -> String {
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
    let frozen: Vec<_> = include_str!("../golden/commands.hex").lines().collect();
    assert_eq!(lines, frozen, "\n{}\n", lines.join("\n"));
}

/// What a cluster at a version may propose stays so: a program of that time cannot read more.
#[test]
fn every_kind_has_a_version_since_which_it_may_be_proposed() {
    for command in one_of_each() {
        let encoded = codec::encode(&command);
        let kind = encoded.bytes[0];
        let since = match kind {
            1..=24 | 32..=46 | 48 => 1,
            25..=28 => 2,
            new => panic!("{new}: say since when"),
        };
        assert_eq!(encoded.since(), ClusterVersion(since), "{command:?}");
        assert!(encoded.since() <= ClusterVersion::LATEST);
    }
}

#[test]
fn a_kind_is_readable_just_if_it_has_a_version() {
    for kind in 0..=u8::MAX {
        let bytes = Bytes::copy_from_slice(&[kind]);
        let is_unknown = codec::decode(&bytes) == Err(codec::Error::UnknownKind(kind));
        let encoded = Encoded {
            bytes,
            messages: 0,
            leases: 0,
        };
        assert_eq!(is_unknown, encoded.since() > ClusterVersion::LATEST);
    }
}

#[test]
fn bytes_of_a_batch_and_of_what_is_kept_are_frozen() {
    let commands = one_of_each();
    let payload = pack(&commands[8..11]);
    let kept = codec::keep(&payload, &[1]).unwrap();
    let lines = [hex(&payload), hex(&kept)];
    let frozen: Vec<_> = include_str!("../golden/batch.hex").lines().collect();
    assert_eq!(lines[..], frozen[..], "\n{}\n", lines.join("\n"));
}
