//! The cluster as this node sees it, in words for people.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use anser_broker::command::NodeState;

use super::{
    ClusterStatus, Move, NodeStatus, ReplicaPlacement, ShardPlacement,
    identity::hex,
    peers::Cluster,
    placement::{Action, Deed},
    survey::{self, Heard, Led, ReplicaSurvey},
    words::Step,
};

pub(crate) fn of(cluster: &Cluster, decided: &Mutex<Vec<Action>>) -> ClusterStatus {
    let heard = cluster.surveys.all();
    let shards = shards(&heard);
    let decided = decided.lock().unwrap_or_else(PoisonError::into_inner);
    let mut moves: Vec<Move> = decided.iter().map(move_of).collect();
    moves.extend(copies(&heard));
    let nodes = nodes(cluster, &heard, &shards);
    let version = cluster.versions.active().0;
    ClusterStatus {
        cluster: Some(hex(&cluster.id)),
        node: cluster.node,
        version,
        held_back_by: held_back_by(version, &nodes),
        nodes,
        shards,
        moves,
    }
}

/// The nodes that know less than some other, if that is more than the cluster's version.
fn held_back_by(version: u32, nodes: &[NodeStatus]) -> Vec<u64> {
    let present = nodes.iter().filter(|node| node.state != "removed");
    let known = |node: &NodeStatus| node.version.filter(|_| node.up);
    let highest = present.clone().filter_map(known).max().unwrap_or(version);
    if highest <= version {
        return Vec::new();
    }
    let holds = |node: &&NodeStatus| known(node).is_none_or(|known| known < highest);
    present.filter(holds).map(|node| node.node).collect()
}

fn nodes(
    cluster: &Cluster,
    heard: &BTreeMap<u64, Heard>,
    shards: &[ShardPlacement],
) -> Vec<NodeStatus> {
    let members = cluster.members.all().into_iter();
    let status = |(number, record): (u64, anser_broker::command::NodeRecord)| {
        let known = heard.get(&number);
        let survey = known.map(|known| known.survey.clone()).unwrap_or_default();
        let silent = known.map(|known| known.at.elapsed());
        NodeStatus {
            node: number,
            address: record.address,
            host: record.host,
            zone: record.zone,
            state: match record.state {
                NodeState::Active => "active",
                NodeState::Draining => "draining",
                NodeState::Removed => "removed",
            },
            up: silent.is_some_and(|silent| silent < survey::SILENCE),
            heard_millis_ago: silent
                .map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            version: known.map(|known| known.survey.knows.0),
            replicas: survey.replicas.len(),
            leaders: shards
                .iter()
                .filter(|shard| shard.leader == Some(number))
                .count(),
            data_bytes: survey.data_bytes,
            free_bytes: survey.free_bytes,
            sync_micros: survey.sync_micros,
        }
    };
    members.map(status).collect()
}

fn shards(heard: &BTreeMap<u64, Heard>) -> Vec<ShardPlacement> {
    let mut newest: BTreeMap<u16, (u64, &ReplicaSurvey, &Led)> = BTreeMap::new();
    for (&node, Heard { survey, at }) in heard {
        if at.elapsed() >= survey::SILENCE {
            continue;
        }
        for replica in &survey.replicas {
            let Some(led) = &replica.led else { continue };
            let known = newest.get(&replica.shard);
            if known.is_none_or(|(_, known, _)| known.term < replica.term) {
                newest.insert(replica.shard, (node, replica, led));
            }
        }
    }
    let bytes = |node: u64, shard: u16| {
        let survey = heard.get(&node).map(|known| &known.survey);
        let mut replicas = survey.into_iter().flat_map(|survey| &survey.replicas);
        let found = replicas.find(|replica| replica.shard == shard);
        found.map_or(0, |replica| replica.bytes)
    };
    let placement = |(&shard, &(leader, replica, led)): (&u16, &(u64, &ReplicaSurvey, &Led))| {
        let members = led.voters.iter().chain(&led.learners);
        let replica_placement = |&node: &u64| {
            let peer = led.peers.iter().find(|peer| peer.node == node);
            let matched = peer.map_or(0, |peer| peer.matched);
            ReplicaPlacement {
                node,
                lag: if node == leader {
                    0
                } else {
                    led.last.saturating_sub(matched)
                },
                bytes: bytes(node, shard),
                active: node == leader || peer.is_some_and(|peer| peer.active),
            }
        };
        ShardPlacement {
            shard,
            leader: Some(leader),
            term: replica.term,
            voters: led.voters.clone(),
            learners: led.learners.clone(),
            joint: led.joint,
            replicas: members.map(replica_placement).collect(),
        }
    };
    newest.iter().map(placement).collect()
}

fn copies(heard: &BTreeMap<u64, Heard>) -> Vec<Move> {
    let replicas = heard.values().flat_map(|heard| &heard.survey.replicas);
    let led = replicas.filter_map(|replica| Some((replica.shard, replica.led.as_ref()?)));
    led.flat_map(|(shard, led)| {
        let copying = led.peers.iter().filter(|peer| peer.copying);
        copying.map(move |peer| Move {
            shard,
            what: format!("a copy goes to node {}", peer.node),
            why: "its log ends before the entries that the leader still has".into(),
        })
    })
    .collect()
}

fn move_of(action: &Action) -> Move {
    let what = match &action.deed {
        Deed::Wait(node) => format!("node {node} catches up"),
        Deed::Transfer(node) => format!("node {node} becomes the leader"),
        Deed::Change(steps) => {
            let steps = steps.iter().map(|step| match step {
                Step::AddVoter(node) => format!("node {node} becomes a voter"),
                Step::AddLearner(node) => format!("node {node} becomes a learner"),
                Step::Remove(node) => format!("node {node} leaves"),
            });
            steps.collect::<Vec<_>>().join(", ")
        }
    };
    Move {
        shard: action.shard,
        what,
        why: action.why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node: u64, version: Option<u32>, up: bool, state: &'static str) -> NodeStatus {
        NodeStatus {
            node,
            state,
            up,
            version,
            ..NodeStatus::default()
        }
    }

    #[test]
    fn who_knows_less_than_another_holds_the_version_back() {
        let nodes = [
            node(1, Some(3), true, "active"),
            node(2, Some(2), true, "draining"),
            node(3, Some(3), false, "active"),
            node(4, None, false, "active"),
            node(5, Some(1), true, "removed"),
        ];
        assert_eq!(held_back_by(2, &nodes), [2, 3, 4]);
        assert!(held_back_by(3, &nodes).is_empty());
        assert!(held_back_by(1, &nodes[..1]).is_empty());
        assert!(held_back_by(1, &[]).is_empty());
    }
}
