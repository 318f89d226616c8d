//! The cluster as the admin port of a node tells it: what `GET /cluster` answers, read again.
//!
//! The writing side is [`anser_node::ClusterStatus`]; here only what people are shown is read, and
//! what is unknown is passed over, so that a newer node can be asked.

use serde::Deserialize;

/// What one node knows of its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// `None` for a node that is in no cluster.
    pub cluster: Option<String>,
    /// The node that says so.
    pub node: u64,
    pub version: u32,
    /// The nodes that keep the version from rising to what others can read.
    pub held_back_by: Vec<u64>,
    pub nodes: Vec<Node>,
    pub shards: Vec<Shard>,
    /// Shards of which replicas have made different states of one log.
    pub differences: Vec<Damage>,
    pub moves: Vec<Move>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    pub node: u64,
    pub address: String,
    pub host: String,
    pub zone: String,
    pub state: String,
    pub up: bool,
    pub heard_millis_ago: Option<u64>,
    /// The highest version of the cluster that it says it can read.
    pub version: Option<u32>,
    pub replicas: usize,
    pub leaders: usize,
    pub data_bytes: u64,
    pub free_bytes: u64,
    pub sync_micros: u64,
    /// What is damaged on its disk.
    pub damaged: Vec<Damage>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Damage {
    pub shard: u16,
    pub what: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Shard {
    pub shard: u16,
    pub leader: Option<u64>,
    pub term: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    pub joint: bool,
    pub replicas: Vec<Replica>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Replica {
    pub node: u64,
    /// Entries it is behind its leader.
    pub lag: u64,
    pub bytes: u64,
    pub active: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Move {
    pub shard: u16,
    pub what: String,
    pub why: String,
}

impl Cluster {
    /// Whether every shard has a leader and `copies` voters that are heard, and none is being changed.
    pub fn has_copies(&self, copies: usize) -> bool {
        let down = |voter: &u64| {
            let node = self.nodes.iter().find(|node| node.node == *voter);
            node.is_none_or(|node| !node.up)
        };
        !self.shards.is_empty()
            && self.shards.iter().all(|shard| {
                shard.leader.is_some()
                    && !shard.joint
                    && shard.voters.len() >= copies
                    && !shard.voters.iter().any(down)
            })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use anser_node::{ClusterStatus, Move, NodeStatus, ReplicaPlacement, ShardPlacement};

    use super::*;

    /// Three nodes, of which the third is silent, and two shards.
    pub(crate) fn status() -> ClusterStatus {
        let node = |number: u64, up| NodeStatus {
            node: number,
            address: format!("127.0.0.1:{}", 9316 + 10 * number),
            host: format!("node-{number}"),
            state: "active",
            up,
            heard_millis_ago: (number > 1).then_some(number * 100),
            version: up.then_some(2),
            replicas: 2,
            leaders: usize::from(up),
            data_bytes: 3 << 30,
            free_bytes: 1500,
            sync_micros: 850,
            damaged: damage(number),
            ..NodeStatus::default()
        };
        let replica = |node, lag, active| ReplicaPlacement {
            node,
            lag,
            bytes: 1 << 20,
            active,
        };
        let shard = |shard, leader, learners| ShardPlacement {
            shard,
            leader,
            term: 7,
            voters: vec![1, 2],
            learners,
            joint: shard == 1,
            replicas: vec![
                replica(1, 0, true),
                replica(2, 12, true),
                replica(3, 9, false),
            ],
        };
        ClusterStatus {
            cluster: Some("5eed".into()),
            node: 1,
            version: 1,
            held_back_by: vec![3],
            nodes: vec![node(1, true), node(2, true), node(3, false)],
            shards: vec![shard(0, Some(1), vec![3]), shard(1, None, vec![])],
            differences: vec![anser_node::Damage {
                shard: 0,
                what: "the state after entry 9 is 5 on 1, 3, and 6 on 2".into(),
            }],
            moves: vec![Move {
                shard: 1,
                what: "a copy to node 2".into(),
                why: "it has 1 of 3 copies".into(),
            }],
        }
    }

    fn damage(node: u64) -> Vec<anser_node::Damage> {
        let what = "shards/00001/0000000000000007.segment is damaged at byte 64: index".into();
        let damage = anser_node::Damage { shard: 1, what };
        (node == 2).then_some(damage).into_iter().collect()
    }

    pub(crate) fn cluster() -> Cluster {
        serde_json::from_value(serde_json::to_value(status()).unwrap()).unwrap()
    }

    #[test]
    fn what_a_node_writes_is_read() {
        let cluster = cluster();
        assert_eq!(cluster.cluster.as_deref(), Some("5eed"));
        assert_eq!(cluster.nodes[1].heard_millis_ago, Some(200));
        assert_eq!((cluster.version, &cluster.held_back_by[..]), (1, &[3][..]));
        assert_eq!(cluster.nodes[1].version, Some(2));
        assert_eq!(cluster.shards[0].replicas[1].lag, 12);
        assert_eq!(cluster.moves[0].why, "it has 1 of 3 copies");
        let newer = serde_json::from_str::<Cluster>(r#"{"node": 4, "weather": "fine"}"#);
        assert_eq!(newer.unwrap().node, 4);
    }

    #[test]
    fn copies_count_when_they_are_voters_that_are_heard() {
        let mut cluster = cluster();
        assert!(!cluster.has_copies(2), "shard 1 has no leader");
        cluster.shards.truncate(1);
        assert!(cluster.has_copies(2));
        assert!(!cluster.has_copies(3), "a learner is none");
        cluster.shards[0].voters.push(3);
        assert!(!cluster.has_copies(3), "node 3 is silent");
        cluster.nodes[2].up = true;
        assert!(cluster.has_copies(3));
        cluster.shards.clear();
        assert!(!cluster.has_copies(1), "it knows of no shard yet");
    }
}
