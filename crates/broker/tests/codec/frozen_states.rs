//! The bytes of a state: a snapshot may hold them for ever.

use anser_broker::{
    attributes::{BodyFormat, Endpoint, Filter, QueueAttributes, SubscriptionAttributes},
    command::{Command, CreateQueue, CreateTopic, NodeStart, NodeState, Reply, Subscribe},
    id::{AccountId, NodeId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    labels::{Labels, Published, RoutingKey},
    name::{QueueName, SubscriptionName, TopicName},
    retry::RetryStrategy,
    shard::Shard,
    time::Millis,
    version::ClusterVersion,
};
use bytes::Bytes;

use super::{
    frozen_commands::{
        hex, one_of_each_for_a_cluster, one_of_each_for_a_home, one_of_each_for_the_catalog,
        one_of_each_of_version_two, simple_attributes, simple_binding_keys, simple_tags,
    },
    pack,
};

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
            avoid: Vec::new(),
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
    let drop = Command::DropQueue {
        queue: QueueId(20),
        floor: 0,
    };
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
        start: NodeStart::default(),
        address: "10.0.0.2:7600".into(),
        host: String::new(),
        zone: "north".into(),
    };
    let drain = Command::SetNodeState {
        node: NodeId(2),
        state: NodeState::Draining,
        removed: 0,
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

/// A version of the cluster, and topics whose publishers wait for all replicas.
fn add_version_two(shard: &mut Shard) {
    let commands = one_of_each_of_version_two();
    let [create, set, _, put, raise] = &commands[..] else {
        panic!("there are more kinds")
    };
    let commands = [raise, create, set, put].into_iter().cloned();
    apply_all(shard, commands.collect());
}

/// Snapshots may have these bytes for ever.
#[test]
fn bytes_of_a_state_are_frozen() {
    let mut shard = a_state_with_topics();
    add_a_cluster(&mut shard);
    add_version_two(&mut shard);
    let frozen = include_str!("../golden/state.hex").trim();
    let line = hex(&save(&shard));
    assert_eq!(line, frozen, "\n{line}\n");
    let bytes = unhex(frozen);
    let restored = Shard::restore(&bytes).unwrap();
    assert_eq!(hex(&save(&restored)), frozen);
    assert_eq!(restored.version(), ClusterVersion(2));
    for length in 0..bytes.len() {
        assert!(Shard::restore(&bytes[..length]).is_err());
    }
    crate::model::restore_damaged(&bytes, 0, 7);
    for format in [3, 4, 5, 6, 7, 9] {
        let other = [&[format], &bytes[1..]].concat();
        assert!(Shard::restore(&other).is_err());
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
