//! When the controller takes a node for lost, and what it has taken off disks.

use anser_broker::{
    command::{NodeStart, NodeState},
    id::NodeId,
    time::Timestamp,
};

use super::*;
use crate::{
    order::Step,
    report::{Led, Mark, NodeReport, PeerReport, ReplicaReport},
};

const GRACE: Duration = Duration::from_secs(10);

/// A cluster of one shard that nodes 1 to 3 vote in and that node 1 leads; node 4 has nothing.
struct Cluster {
    controller: Controller,
    members: BTreeMap<u64, NodeRecord>,
    reports: Reports,
    now: Duration,
    /// Of the members that leaders report.
    settled_at: u64,
    /// What nodes have made of shard 1.
    fingerprints: BTreeMap<u64, u64>,
}

impl Cluster {
    fn new() -> Self {
        let record = |node: u64| NodeRecord {
            node: NodeId(node),
            incarnation: [0; 16],
            address: String::new(),
            host: format!("host-{node}"),
            zone: String::new(),
            state: NodeState::Active,
            start: NodeStart::default(),
            added: Timestamp(0),
        };
        let policy = Policy {
            replicas: 3,
            moves_max: 4,
            grace: GRACE,
            reserve_bytes: 0,
        };
        let now = Duration::from_secs(1_000);
        Self {
            controller: Controller::new(policy, now),
            members: (1..=4).map(|node| (node, record(node))).collect(),
            reports: Reports::default(),
            now,
            settled_at: 0,
            fingerprints: BTreeMap::new(),
        }
    }

    /// Half a second passes, and these nodes say how they are.
    fn look(&mut self, heard: &[u64]) -> Decided {
        self.now += Duration::from_millis(500);
        for &node in heard {
            let mut report = report(node, heard);
            for led in report.replicas.iter_mut().filter_map(|it| it.led.as_mut()) {
                led.settled_at = self.settled_at;
            }
            if let Some(&fingerprint) = self.fingerprints.get(&node) {
                report.replicas[1].marks = vec![Mark {
                    index: 50,
                    fingerprint,
                }];
            }
            self.reports.put(report, self.now);
        }
        self.controller.look(Knowledge {
            now: self.now,
            shards: 3, // One is not led: then nothing is evened out.
            members: &self.members,
            reports: &self.reports,
        })
    }

    /// Another node decides.
    fn watch(&mut self) {
        self.controller.watch(Knowledge {
            now: self.now,
            shards: 3,
            members: &self.members,
            reports: &self.reports,
        });
    }

    fn pass(&mut self, length: Duration, heard: &[u64]) -> Decided {
        let until = self.now + length;
        let mut decided = Decided::default();
        while self.now < until {
            decided = self.look(heard);
        }
        decided
    }
}

fn report(node: u64, heard: &[u64]) -> NodeReport {
    let peer = |node: u64| PeerReport {
        node,
        matched: 50,
        active: heard.contains(&node),
        ..PeerReport::default()
    };
    let led = |learners: &[u64]| Led {
        last: 50,
        voters: vec![1, 2, 3],
        learners: learners.to_vec(),
        peers: (2..=4).map(peer).collect(),
        ..Led::default()
    };
    let replica = |(shard, learners): (u16, &[u64])| ReplicaReport {
        shard,
        term: 3,
        applied: 50,
        led: (node == 1).then(|| led(learners)),
        ..ReplicaReport::default()
    };
    let shards: [(u16, &[u64]); 2] = [(0, &[4]), (1, &[])];
    NodeReport {
        node,
        replicas: shards.into_iter().map(replica).collect(),
        ..NodeReport::default()
    }
}

fn replaces_node_2(decided: &Decided) -> bool {
    let learner = Order::Change {
        shard: 1,
        steps: vec![Step::AddLearner(4)],
    };
    decided.orders.contains(&(1, learner))
}

#[test]
fn a_silent_node_is_replaced_after_its_grace_and_not_before() {
    let mut cluster = Cluster::new();
    cluster.pass(GRACE * 2, &[1, 2, 3, 4]);
    let early = cluster.pass(GRACE, &[1, 3, 4]);
    assert!(!replaces_node_2(&early));
    let late = cluster.look(&[1, 3, 4]);
    assert!(replaces_node_2(&late), "{late:?}");
}

/// Nobody is right, and a copy from the leader would say that it is.
#[test]
fn while_nobody_can_say_which_voters_are_right_no_copy_decides_it() {
    let mut cluster = Cluster::new();
    cluster.fingerprints = [(1, 5), (2, 6)].into();
    cluster.pass(GRACE, &[1, 2, 3, 4]);
    let held = cluster.pass(GRACE * 3, &[1, 2, 4]);
    let of_shard = held.actions.iter().filter(|action| action.shard == 1);
    let kinds: Vec<&ActionKind> = of_shard.map(|action| &action.kind).collect();
    assert_eq!(kinds, [&ActionKind::Hold], "{held:?}");
    // Of the two that are left one goes, which decides it for the other.
    cluster.members.get_mut(&2).unwrap().state = NodeState::Draining;
    let decided = cluster.pass(GRACE * 2, &[1, 2, 4]);
    assert!(replaces_node_2(&decided), "{decided:?}");
}

#[test]
fn whose_state_a_person_takes_for_wrong_gives_no_copies_of_it() {
    let mut cluster = Cluster::new();
    cluster.fingerprints = [(1, 5), (2, 6)].into();
    cluster.members.get_mut(&1).unwrap().state = NodeState::Draining;
    let looks: Vec<Decided> = (0..20).map(|_| cluster.look(&[1, 2, 3, 4])).collect();
    let mut decided = looks.iter().flat_map(|decided| &decided.actions);
    let first = decided.find(|action| action.shard == 1);
    let kind = first.map(|action| &action.kind);
    assert!(
        matches!(kind, Some(ActionKind::Transfer(2 | 3))),
        "{looks:?}"
    );
}

#[test]
fn silence_from_before_this_node_decided_says_nothing() {
    let mut cluster = Cluster::new();
    cluster.pass(GRACE, &[1, 2, 3, 4]);
    cluster.watch();
    cluster.now += GRACE * 3;
    assert!(!replaces_node_2(&cluster.look(&[1, 3, 4])));
}

/// A machine that slept for a minute would take all others for lost.
#[test]
fn a_node_that_slept_has_heard_nobody_and_judges_nobody() {
    let mut cluster = Cluster::new();
    cluster.pass(GRACE, &[1, 2, 3, 4]);
    cluster.now += GRACE * 6;
    assert!(!replaces_node_2(&cluster.look(&[1, 3, 4])));
    let late = cluster.pass(GRACE + SILENCE, &[1, 3, 4]);
    assert!(replaces_node_2(&late), "{late:?}");
}

#[test]
fn what_a_shard_has_let_go_of_stays_until_most_of_its_voters_know() {
    let mut cluster = Cluster::new();
    for (settled_at, is_forgotten) in [(50, true), (51, false)] {
        cluster.settled_at = settled_at;
        let decided = cluster.look(&[1, 2, 3, 4]);
        assert_eq!(!decided.orders.is_empty(), is_forgotten);
    }
}

#[test]
fn what_a_shard_has_let_go_of_is_taken_off_the_disk() {
    let mut cluster = Cluster::new();
    let decided = cluster.look(&[1, 2, 3, 4]);
    let forget = Order::Forget {
        shard: 1,
        decided: 50,
    };
    assert_eq!(decided.orders, [(4, forget)]);
}
