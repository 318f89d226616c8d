//! The cluster as this node sees it, in words for people.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anser_broker::command::{NodeRecord, NodeState};
use anser_host::{Action, ActionKind, Led, ReplicaReport, Reports, Step};

use super::{
    ClusterStatus, Damage, Move, NodeStatus, ReplicaPlacement, ShardPlacement, identity::hex,
    peers::Cluster,
};

pub(crate) fn of(cluster: &Cluster, decided: &Mutex<Vec<Action>>) -> ClusterStatus {
    let (reports, now) = (cluster.reports.all(), cluster.reports.now());
    let shards = shards(&reports, now);
    let decided = decided.lock().unwrap_or_else(PoisonError::into_inner);
    let mut moves: Vec<Move> = decided.iter().map(move_of).collect();
    moves.extend(copies(&reports));
    let nodes = nodes(cluster, &reports, now, &shards);
    let version = cluster.versions.active().0;
    let differences = anser_host::differences(&reports, now).into_iter();
    let differences =
        differences.map(|(shard, difference)| damage((shard, difference.to_string())));
    ClusterStatus {
        cluster: Some(hex(&cluster.id)),
        node: cluster.node,
        version,
        held_back_by: held_back_by(version, &nodes),
        nodes,
        shards,
        differences: differences.collect(),
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
    reports: &Reports,
    now: Duration,
    shards: &[ShardPlacement],
) -> Vec<NodeStatus> {
    let members = cluster.members.all().into_iter();
    let status = |(number, record): (u64, NodeRecord)| {
        let known = reports.of(number);
        let report = known.map(|known| known.report.clone()).unwrap_or_default();
        let silent = known.map(|known| now.saturating_sub(known.at));
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
            up: known.is_some_and(|known| known.is_recent(now)),
            heard_millis_ago: silent
                .map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            version: known.map(|known| known.report.knows.0),
            replicas: report.replicas.len(),
            leaders: shards
                .iter()
                .filter(|shard| shard.leader == Some(number))
                .count(),
            data_bytes: report.data_bytes,
            free_bytes: report.free_bytes,
            sync_micros: report.sync_micros,
            damaged: report.damaged.into_iter().map(damage).collect(),
        }
    };
    members.map(status).collect()
}

fn damage((shard, what): (u16, String)) -> Damage {
    Damage { shard, what }
}

fn shards(reports: &Reports, now: Duration) -> Vec<ShardPlacement> {
    let mut newest: BTreeMap<u16, (u64, &ReplicaReport, &Led)> = BTreeMap::new();
    for (node, report) in reports.recent(now) {
        for replica in &report.replicas {
            let Some(led) = &replica.led else { continue };
            let known = newest.get(&replica.shard);
            if known.is_none_or(|(_, known, _)| known.term < replica.term) {
                newest.insert(replica.shard, (node, replica, led));
            }
        }
    }
    let bytes = |node: u64, shard: u16| {
        let report = reports.of(node).map(|known| &known.report);
        let mut replicas = report.into_iter().flat_map(|report| &report.replicas);
        let found = replicas.find(|replica| replica.shard == shard);
        found.map_or(0, |replica| replica.bytes)
    };
    let placement = |(&shard, &(leader, replica, led)): (&u16, &(u64, &ReplicaReport, &Led))| {
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

fn copies(reports: &Reports) -> Vec<Move> {
    let replicas = reports.all();
    let replicas = replicas.flat_map(|(_, heard)| &heard.report.replicas);
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
    let what = match &action.kind {
        ActionKind::Wait(node) => format!("node {node} catches up"),
        ActionKind::Hold => "nothing for now".into(),
        ActionKind::Transfer(node) => format!("node {node} becomes the leader"),
        ActionKind::Change(steps) => {
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
