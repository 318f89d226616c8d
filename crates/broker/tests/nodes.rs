//! The cluster's nodes in the catalog.

use anser_broker::{
    codec::{self, BatchBuilder},
    command::{Answer, Command, Effect, NodeRecord, NodeStart, NodeState, Query, Reply},
    error::Error,
    id::{NodeId, ShardId},
    limits,
    shard::Shard,
    time::{Stamp, Timestamp},
};
use proptest::prelude::*;

const WALL_AHEAD: u64 = 1_000_000;

/// Applies one command as an entry of its own, at a time of 10 ms an entry.
fn apply(shard: &mut Shard, command: &Command) -> (Reply, Vec<Effect>) {
    let index = shard.applied() + 1;
    let mut batch = BatchBuilder::new(Stamp {
        now: Timestamp(index * 10),
        wall: Timestamp(index * 10 + WALL_AHEAD),
        ..Stamp::default()
    });
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    shard
        .apply(index, &batch.finish(), &mut replies, &mut effects)
        .unwrap();
    (replies.remove(0), effects)
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}

fn start(number: u64, mark: u8) -> NodeStart {
    let mark = [mark; 16];
    NodeStart { number, mark }
}

fn add(incarnation: u8, address: &str) -> Command {
    started(incarnation, address, NodeStart::default())
}

fn started(incarnation: u8, address: &str, start: NodeStart) -> Command {
    Command::AddNode {
        incarnation: [incarnation; 16],
        start,
        address: address.into(),
        host: "host".into(),
        zone: "zone".into(),
    }
}

fn set(node: u64, state: NodeState) -> Command {
    Command::SetNodeState {
        node: NodeId(node),
        state,
        removed: 0,
    }
}

fn catalog() -> Shard {
    Shard::new(ShardId(0), 2)
}

#[test]
fn a_node_gets_a_number_and_keeps_it() {
    let mut shard = catalog();
    let (reply, effects) = apply(&mut shard, &add(7, "a:1"));
    let first = NodeRecord {
        node: NodeId(1),
        incarnation: [7; 16],
        address: "a:1".into(),
        host: "host".into(),
        zone: "zone".into(),
        state: NodeState::Active,
        start: NodeStart::default(),
        added: Timestamp(10 + WALL_AHEAD),
    };
    assert_eq!(reply, Reply::Node(first.clone()));
    assert_eq!(effects, [Effect::NodesChanged]);

    let (reply, _) = apply(&mut shard, &add(8, "b:1"));
    assert!(matches!(reply, Reply::Node(node) if node.node == NodeId(2)));

    let again = apply(&mut shard, &add(7, "a:1"));
    assert_eq!(
        again,
        (Reply::Node(first.clone()), vec![]),
        "nothing is new"
    );

    let moved = NodeRecord {
        address: "a:2".into(),
        ..first
    };
    let again = apply(&mut shard, &add(7, "a:2"));
    assert_eq!(
        again,
        (Reply::Node(moved.clone()), vec![Effect::NodesChanged])
    );
    assert_eq!(shard.nodes()[0], moved);
    assert_eq!(shard.nodes().len(), 2);
}

/// Core review, finding 5: a node restored from a backup was taken for the one that it had been.
/// A folder restored from a copy, and the second of two copies, say an address and are not believed.
#[test]
fn a_start_that_was_left_behind_is_refused() {
    let mut shard = catalog();
    apply(&mut shard, &started(7, "a:1", start(5, 1)));
    let refused = (Reply::Refused(Error::FormerStart), vec![]);
    for former in [start(4, 1), start(0, 0), start(5, 2)] {
        assert_eq!(apply(&mut shard, &started(7, "b:1", former)), refused);
    }
    assert_eq!(shard.nodes()[0].address, "a:1");
    let (reply, effects) = apply(&mut shard, &started(7, "a:1", start(5, 1)));
    assert!(matches!(reply, Reply::Node(node) if node.start == start(5, 1)));
    assert_eq!(effects, [], "asking twice is no other start");
    let (_, effects) = apply(&mut shard, &started(7, "a:1", start(6, 3)));
    assert_eq!(effects, [Effect::NodesChanged]);
    let restored = Shard::restore(&save(&shard)).unwrap();
    assert_eq!(restored.nodes()[0].start, start(6, 3));
    assert_eq!(
        apply(&mut shard, &started(7, "a:1", start(5, 1))),
        refused,
        "the first of the two is the former one now"
    );
}

#[test]
fn a_node_drains_and_comes_back_but_not_after_its_removal() {
    let mut shard = catalog();
    apply(&mut shard, &add(7, "a:1"));
    for state in [NodeState::Draining, NodeState::Active, NodeState::Draining] {
        let (reply, effects) = apply(&mut shard, &set(1, state));
        assert!(matches!(reply, Reply::Node(node) if node.state == state));
        assert_eq!(effects, [Effect::NodesChanged]);
    }
    // A node that comes back from a restart goes on draining.
    let (reply, _) = apply(&mut shard, &add(7, "a:3"));
    assert!(matches!(reply, Reply::Node(node) if node.state == NodeState::Draining));

    apply(&mut shard, &set(1, NodeState::Removed));
    let (reply, effects) = apply(&mut shard, &set(1, NodeState::Removed));
    assert!(matches!(reply, Reply::Node(node) if node.state == NodeState::Removed));
    assert_eq!(effects, []);
    for state in [NodeState::Active, NodeState::Draining] {
        let refused = apply(&mut shard, &set(1, state));
        assert_eq!(refused, (Reply::Refused(Error::NodeRemoved), vec![]));
    }
    let refused = apply(&mut shard, &add(7, "a:4"));
    assert_eq!(refused, (Reply::Refused(Error::NodeRemoved), vec![]));
    assert_eq!(shard.nodes()[0].address, "a:3");

    let (reply, _) = apply(&mut shard, &add(9, "a:4"));
    assert!(matches!(reply, Reply::Node(node) if node.node == NodeId(2)));
    for unknown in [0, 3, u64::MAX] {
        let refused = apply(&mut shard, &set(unknown, NodeState::Active));
        assert_eq!(refused, (Reply::Refused(Error::NoSuchNode), vec![]));
    }
}

/// Each was found to be spared while the other is there.
#[test]
fn of_two_nodes_that_are_removed_at_once_one_stays() {
    let mut shard = catalog();
    for number in 1..=3 {
        apply(&mut shard, &add(number, "a:1"));
    }
    let (first, _) = apply(&mut shard, &set(2, NodeState::Removed));
    assert!(matches!(first, Reply::Node(_)));
    let refused = (Reply::Refused(Error::OtherNodes), vec![]);
    assert_eq!(apply(&mut shard, &set(3, NodeState::Removed)), refused);
    let (drained, _) = apply(&mut shard, &set(3, NodeState::Draining));
    assert!(matches!(drained, Reply::Node(_)));
    let (again, _) = apply(&mut shard, &set(2, NodeState::Removed));
    assert!(matches!(again, Reply::Node(_)), "it is so already");
    let knowing = Command::SetNodeState {
        node: NodeId(3),
        state: NodeState::Removed,
        removed: 1,
    };
    let (removed, _) = apply(&mut shard, &knowing);
    assert!(matches!(removed, Reply::Node(_)));
}

#[test]
fn a_cluster_has_one_id_for_ever() {
    let mut shard = catalog();
    assert_eq!(shard.cluster(), None);
    let form = |cluster| Command::ClusterFormed { cluster };
    let formed = apply(&mut shard, &form([1; 16]));
    assert_eq!(formed, (Reply::Done, vec![Effect::NodesChanged]));
    assert_eq!(apply(&mut shard, &form([1; 16])), (Reply::Done, vec![]));
    let refused = apply(&mut shard, &form([2; 16]));
    assert_eq!(refused, (Reply::Refused(Error::OtherCluster), vec![]));
    assert_eq!(shard.cluster(), Some([1; 16]));
    assert_eq!(
        shard.query(&Query::Nodes),
        Answer::Nodes {
            cluster: Some([1; 16]),
            nodes: vec![]
        }
    );
}

#[test]
fn texts_have_bounds() {
    let mut shard = catalog();
    let long = |address: usize, host: usize, zone: usize| Command::AddNode {
        incarnation: [1; 16],
        start: NodeStart::default(),
        address: "a".repeat(address),
        host: "h".repeat(host),
        zone: "z".repeat(zone),
    };
    for command in [long(256, 0, 0), long(0, 65, 0), long(0, 0, 65)] {
        let refused = apply(&mut shard, &command);
        assert_eq!(
            refused,
            (Reply::Refused(Error::AttributeOutOfRange), vec![])
        );
    }
    assert_eq!(shard.nodes(), []);
    let (reply, _) = apply(&mut shard, &long(255, 64, 64));
    assert!(matches!(reply, Reply::Node(_)));
    let bytes = save(&shard);
    assert_eq!(Shard::restore(&bytes).unwrap().nodes(), shard.nodes());
}

#[test]
fn a_cluster_remembers_so_many_nodes() {
    let mut shard = catalog();
    for number in 0..limits::NODES_MAX as u64 {
        let mut incarnation = [0; 16];
        incarnation[..8].copy_from_slice(&number.to_le_bytes());
        let command = Command::AddNode {
            incarnation,
            start: NodeStart::default(),
            address: String::new(),
            host: String::new(),
            zone: String::new(),
        };
        let (reply, _) = apply(&mut shard, &command);
        assert!(matches!(reply, Reply::Node(node) if node.node == NodeId(number + 1)));
    }
    apply(&mut shard, &set(5, NodeState::Removed));
    let refused = apply(&mut shard, &add(0xee, "a:1"));
    assert_eq!(refused, (Reply::Refused(Error::TooManyNodes), vec![]));
    let known = apply(&mut shard, &add(0, "a:1"));
    assert_eq!(known.1, [Effect::NodesChanged], "a known one is no new one");
    let bytes = save(&shard);
    assert_eq!(save(&Shard::restore(&bytes).unwrap()), bytes);
}

#[test]
fn other_shards_know_no_nodes() {
    let mut shard = Shard::new(ShardId(1), 2);
    let commands = [
        add(1, "a:1"),
        set(1, NodeState::Removed),
        Command::ClusterFormed { cluster: [1; 16] },
    ];
    for command in commands {
        let refused = apply(&mut shard, &command);
        assert_eq!(refused, (Reply::Refused(Error::Unavailable), vec![]));
    }
    assert_eq!((shard.nodes(), shard.cluster()), (vec![], None));
    assert_eq!(
        shard.query(&Query::Nodes),
        Answer::Refused(Error::Unavailable)
    );
}

fn a_command() -> impl Strategy<Value = Command> {
    let state = prop::sample::select(vec![
        NodeState::Active,
        NodeState::Draining,
        NodeState::Removed,
    ]);
    prop_oneof![
        4 => (0u8..6, "[ab]", 0u64..3, 0u8..2).prop_map(|(incarnation, address, number, mark)| {
            started(incarnation, &address, start(number, mark))
        }),
        4 => (0u64..8, state).prop_map(|(node, state)| set(node, state)),
        1 => (0u8..2).prop_map(|cluster| Command::ClusterFormed { cluster: [cluster; 16] }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// What the answers say is what there is, effects tell of each change and of nothing else, and a
    /// shard that is restored at any time goes on like the others.
    #[test]
    fn nodes_are_what_was_said_of_them(commands in prop::collection::vec(a_command(), 1..30), restored_at in 0usize..30) {
        let mut shard = catalog();
        let mut copy = catalog();
        for (place, command) in commands.iter().enumerate() {
            if place == restored_at {
                copy = Shard::restore(&save(&copy)).unwrap();
            }
            let before = (shard.nodes(), shard.cluster());
            // The wall clock's distance stays: times of nodes do not change by themselves.
            let (reply, effects) = apply(&mut shard, command);
            prop_assert_eq!(apply(&mut copy, command), (reply.clone(), effects.clone()));
            let after = (shard.nodes(), shard.cluster());
            let changed = before != after;
            prop_assert_eq!(changed, !effects.is_empty());
            match reply {
                Reply::Node(node) => {
                    let number = usize::try_from(node.node.0).unwrap();
                    prop_assert_eq!(&after.0[number - 1], &node);
                }
                Reply::Done => prop_assert!(after.1.is_some()),
                Reply::Refused(_) => prop_assert!(!changed),
                other => prop_assert!(false, "{:?}", other),
            }
            let numbers: Vec<u64> = after.0.iter().map(|node| node.node.0).collect();
            let expected: Vec<u64> = (1..=after.0.len() as u64).collect();
            prop_assert_eq!(numbers, expected);
            for node in &before.0 {
                let is_now = &after.0[usize::try_from(node.node.0).unwrap() - 1];
                prop_assert_eq!(is_now.incarnation, node.incarnation);
                prop_assert!(node.state != NodeState::Removed || is_now == node);
            }
        }
        prop_assert_eq!(save(&copy), save(&shard));
        let nodes = Answer::Nodes { cluster: shard.cluster(), nodes: shard.nodes() };
        prop_assert_eq!(shard.query(&Query::Nodes), nodes);
    }
}
