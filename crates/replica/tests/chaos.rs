//! Many seeds: everything goes wrong at random, then everything is repaired.
//!
//! While it runs, the cluster checks that a term has one leader and that equal indexes mean equal
//! states; at the end nothing that was acknowledged may be missing.

use anser_replica::{Input, MembershipStep};

use crate::cluster::{Cluster, Random};

const SEEDS: u64 = 400;
const STEPS: usize = 700;

struct Chaos {
    cluster: Cluster,
    random: Random,
    nodes: u64,
    drop_percent: u64,
    crash_percent: u64,
    change_percent: u64,
    /// The one node that may have lost something.
    suspect: Option<u64>,
    /// One node's disk may do nothing for a while.
    stalled: Option<u64>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (voters, nodes) = match seed % 4 {
            0 => (3, 3),
            1 => (3, 5),
            2 => (5, 5),
            _ => (1, 4),
        };
        let mut percent = |max: u64| {
            if random.below(3) == 0 {
                0
            } else {
                random.below(max)
            }
        };
        let (drop_percent, crash_percent, change_percent) = (percent(20), percent(3), percent(4));
        Self {
            cluster: Cluster::serving(voters, nodes, seed * 1_000),
            random,
            nodes,
            drop_percent,
            crash_percent,
            change_percent,
            suspect: None,
            stalled: None,
        }
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn any_node(&mut self) -> u64 {
        1 + self.random.below(self.nodes)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..50 => self.deliver_any(),
            50..75 => {
                let id = self.any_node();
                if self.stalled != Some(id) {
                    self.cluster.sync(id);
                }
            }
            75..85 => {
                if self.happens(30) {
                    let id = self.any_node();
                    self.cluster.tick(id);
                } else {
                    self.cluster.tick_all();
                }
            }
            85..97 => {
                if let Some(id) = self.random.pick(&self.cluster.servers()) {
                    self.cluster.send_at(id);
                    if self.happens(20) {
                        self.cluster.read_at(id);
                    }
                }
            }
            _ => self.disturb(),
        }
        if self.happens(self.crash_percent) {
            self.crash_or_start();
        }
        if self.happens(self.change_percent) {
            self.change_members();
        }
    }

    /// In any order, some twice, some never.
    fn deliver_any(&mut self) {
        let count = self.cluster.wires.len();
        if count == 0 {
            return;
        }
        let in_order = self.happens(70);
        let position = if in_order {
            0
        } else {
            self.random.position(count)
        };
        let wire = self.cluster.wires.remove(position);
        let wire = wire.expect("the position is in the queue");
        if self.happens(5) && !wire.has_files() {
            self.cluster.wires.push_back(wire.clone());
        }
        let dropped = self.happens(self.drop_percent);
        self.cluster.deliver_or_drop(wire, dropped);
    }

    fn disturb(&mut self) {
        match self.random.below(7) {
            0 => {
                let id = self.any_node();
                self.cluster.cut_off(id);
            }
            5 => self.stalled = Some(self.any_node()),
            6 => self.stalled = None,
            1 => {
                let pair = (self.any_node(), self.any_node());
                self.cluster.cut.insert(pair);
            }
            2 => self.cluster.cut.clear(),
            3 => {
                if let Some(id) = self.random.pick(&self.cluster.up()) {
                    self.cluster.compact(id);
                }
            }
            _ => {
                if let Some(id) = self.random.pick(&self.cluster.servers()) {
                    let to = self.any_node();
                    self.cluster.step(id, Input::TransferLeadership { to });
                    self.cluster.step(id, Input::Unreachable { node: to });
                    self.cluster.turn(id);
                }
            }
        }
    }

    fn crash_or_start(&mut self) {
        let id = self.any_node();
        if !self.cluster.up().contains(&id) {
            return self.cluster.start(id, self.suspect == Some(id));
        }
        let writes = self.random.position(3);
        self.cluster.crash(id, writes);
        self.forget_cleared();
        // One at a time, so that a majority still has everything.
        let is_small = self.change_percent > 0 || self.nodes < 3 || self.cluster.voters < 3;
        if !is_small && self.suspect.is_none() && self.happens(40) {
            let entries = self.random.position(6);
            let forgets_vote = self.happens(50);
            self.cluster.node(id).disk.lose(entries, forgets_vote);
            self.cluster.node(id).cleared = 0;
            self.suspect = Some(id);
        }
    }

    fn forget_cleared(&mut self) {
        let is_cleared = |id: &u64| self.cluster.nodes[id].cleared > 0;
        if self.suspect.as_ref().is_some_and(is_cleared) {
            self.suspect = None;
        }
    }

    fn change_members(&mut self) {
        let Some(id) = self.random.pick(&self.cluster.servers()) else {
            return;
        };
        let membership = self.cluster.membership(id);
        let count = 1 + self.random.below(3);
        let mut steps = Vec::new();
        for _ in 0..count {
            let node = self.any_node();
            steps.push(match self.random.below(5) {
                0 | 1 if membership.contains(node) => MembershipStep::AddVoter(node),
                // Its disk stays as it is, in case that it comes back.
                2 => MembershipStep::Remove(node),
                _ => MembershipStep::AddLearner(node),
            });
        }
        let change = anser_replica::MembershipChange { steps };
        self.cluster.step(id, Input::ChangeMembership(change));
        self.cluster.turn(id);
    }

    fn repair(&mut self) {
        self.cluster.cut.clear();
        for id in 1..=self.nodes {
            if !self.cluster.up().contains(&id) {
                self.cluster.start(id, self.suspect == Some(id));
            }
        }
        self.cluster.settle();
        self.cluster.run(150);
        let sent = self.cluster.send();
        self.cluster.run(30);
        assert!(self.cluster.is_acknowledged(sent), "it works again");
        let leader = self.cluster.leader();
        let membership = self.cluster.membership(leader);
        assert!(!membership.is_joint());
        for id in self.cluster.up() {
            assert!(!self.cluster.replica(id).status().suspect || !membership.contains(id));
        }
        let applied = self.cluster.replica(leader).applied();
        for id in membership.voters.into_iter().chain(membership.learners) {
            assert_eq!(self.cluster.replica(id).applied(), applied, "node {id}");
            self.cluster.check_nothing_lost(id);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens() {
    let (mut installs, mut fetches, mut changes, mut cleared, mut acknowledged) = (0, 0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                chaos.step();
            }
            chaos.repair();
        }));
        assert!(ran.is_ok(), "seed {seed} failed");
        acknowledged += chaos.cluster.acknowledged();
        for node in chaos.cluster.nodes.values() {
            installs += node.installs;
            fetches += node.fetches;
            cleared += node.cleared;
            changes += usize::from(crate::cluster::has_membership_entry(node));
        }
    }
    let reached = [installs, fetches, changes, cleared, acknowledged];
    assert!(reached.iter().all(|&count| count > 40), "{reached:?}");
}
