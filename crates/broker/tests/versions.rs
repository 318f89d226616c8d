//! The version at which a cluster works, and the policies of topics that came with version 2.

use anser_broker::{
    attributes::{Acknowledge, FilterKind, TopicAttributes, TopicChanges},
    codec::{self, BatchBuilder},
    command::{Answer, Command, CreateTopic, Destination, Effect, NodeStart, Placed, Query, Reply},
    error::Error,
    id::{AccountId, ShardId, TopicId},
    name::TopicName,
    shard::Shard,
    time::{Millis, Stamp},
    version::ClusterVersion,
};

const ACCOUNT: AccountId = AccountId(1);

fn apply(shard: &mut Shard, command: &Command) -> (Reply, Vec<Effect>) {
    let mut batch = BatchBuilder::new(Stamp::default());
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    shard
        .apply(index, &batch.finish(), &mut replies, &mut effects)
        .unwrap();
    (replies.remove(0), effects)
}

fn saved(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

fn set_version(shard: &mut Shard, version: u32, nodes: u64) -> (Reply, Vec<Effect>) {
    let version = ClusterVersion(version);
    apply(shard, &Command::SetClusterVersion { version, nodes })
}

fn add_node(shard: &mut Shard, incarnation: u8) {
    let add = Command::AddNode {
        incarnation: [incarnation; 16],
        start: NodeStart::default(),
        address: "a:1".into(),
        host: String::new(),
        zone: String::new(),
    };
    assert!(matches!(apply(shard, &add).0, Reply::Node(_)));
}

#[test]
fn a_version_only_rises() {
    let mut shard = Shard::new(ShardId::CATALOG, 1);
    assert_eq!(shard.version(), ClusterVersion::FIRST);
    let told = vec![Effect::NodesChanged];
    assert_eq!(set_version(&mut shard, 1, 0), (Reply::Done, vec![]));
    assert_eq!(set_version(&mut shard, 3, 0), (Reply::Done, told));
    for older in [1, 2, 3] {
        assert_eq!(set_version(&mut shard, older, 0), (Reply::Done, vec![]));
        assert_eq!(shard.version(), ClusterVersion(3));
    }
    let shard = Shard::restore(&saved(&shard)).unwrap();
    assert_eq!(shard.version(), ClusterVersion(3));
}

#[test]
fn a_version_is_not_raised_when_a_node_has_joined_since() {
    let mut shard = Shard::new(ShardId::CATALOG, 1);
    add_node(&mut shard, 1);
    add_node(&mut shard, 2);
    let refused = (Reply::Refused(Error::OtherNodes), vec![]);
    assert_eq!(set_version(&mut shard, 2, 1), refused);
    assert_eq!(shard.version(), ClusterVersion::FIRST);
    assert_eq!(set_version(&mut shard, 2, 2).0, Reply::Done);
    assert_eq!(shard.version(), ClusterVersion(2));
}

#[test]
fn only_the_catalog_has_a_version() {
    let mut shard = Shard::new(ShardId(1), 2);
    let refused = (Reply::Refused(Error::Unavailable), vec![]);
    assert_eq!(set_version(&mut shard, 2, 0), refused);
    assert_eq!(shard.version(), ClusterVersion::FIRST);
}

#[test]
fn a_state_has_a_version() {
    let mut shard = Shard::new(ShardId::CATALOG, 1);
    set_version(&mut shard, 2, 0);
    let mut bytes = saved(&shard);
    let version = bytes.len() - 4 - EMPTY_HOME;
    assert_eq!(bytes[version], 2);
    bytes[version] = 0;
    assert!(Shard::restore(&bytes).is_err(), "there is no version 0");
}

/// Bytes of what is behind the catalog: totals, a floor, and five empty lists.
const EMPTY_HOME: usize = 7 * 8 + 6 * 8;

fn name() -> TopicName {
    TopicName::new("news").unwrap()
}

fn create(acknowledge: Acknowledge) -> Command {
    Command::CreateTopic(CreateTopic {
        account: ACCOUNT,
        name: name(),
        attributes: TopicAttributes {
            body_bytes_max: 10,
            retention: Millis(1000),
            filter: FilterKind::Tags,
            acknowledge,
        },
        topics_max: 10,
        reuse_after: Millis(0),
        avoid: Vec::new(),
    })
}

fn set(acknowledge: Option<Acknowledge>) -> Command {
    Command::SetTopicAttributes {
        account: ACCOUNT,
        name: name(),
        changes: TopicChanges {
            retention: Some(Millis(5)),
            acknowledge,
            ..TopicChanges::default()
        },
    }
}

/// Applies a change and tells the home; the policy by the catalog, after a restart too.
fn change(shard: &mut Shard, command: &Command) -> Acknowledge {
    let (Reply::Placed(Placed::Topic(placed)), _) = apply(shard, command) else {
        panic!("refused");
    };
    let put = Command::PutTopic {
        topic: placed.topic,
        revision: placed.revision,
        attributes: placed.attributes.unwrap(),
    };
    assert_eq!(apply(shard, &put).0, Reply::Done);
    let bytes = saved(shard);
    *shard = Shard::restore(&bytes).unwrap();
    assert_eq!(saved(shard), bytes);
    let query = Query::Topic {
        account: ACCOUNT,
        name: name(),
    };
    let Answer::Topic(record) = shard.query(&query) else {
        panic!("no record");
    };
    let acknowledge = record.attributes.acknowledge;
    let topic = Destination::Topic(placed.topic);
    assert_eq!(shard.acknowledge(topic), acknowledge);
    acknowledge
}

#[test]
fn the_policy_of_a_topic_is_kept_until_it_is_changed() {
    for first in [Acknowledge::Majority, Acknowledge::All] {
        let mut shard = Shard::new(ShardId::CATALOG, 1);
        assert_eq!(change(&mut shard, &create(first)), first);
        assert_eq!(change(&mut shard, &set(None)), first);
        for next in [Acknowledge::All, Acknowledge::Majority, Acknowledge::All] {
            assert_eq!(change(&mut shard, &set(Some(next))), next);
            assert_eq!(change(&mut shard, &set(None)), next);
        }
    }
}

#[test]
fn a_publish_goes_to_its_topic() {
    let publish = codec::encode(&Command::Publish {
        topic: TopicId(7),
        bodies: vec![],
    });
    assert_eq!(publish.sends_to(), Some(Destination::Topic(TopicId(7))));
    let shard = Shard::new(ShardId(1), 2);
    let nowhere = Destination::Topic(TopicId(7));
    assert_eq!(shard.acknowledge(nowhere), Acknowledge::Majority);
}
