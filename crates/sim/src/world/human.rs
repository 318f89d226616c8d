//! Whoever runs the cluster, and does what only a person does: gets machines that ask for a place, lets nodes be
//! emptied, used again or gone for ever, throws broken ones away and changes how many copies are wanted. What follows
//! from it the product's placement does by itself.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    codec,
    command::{Command, NodeStart, NodeState},
    id::{NodeId, ShardId},
    version::ClusterVersion,
};

use anser_host::{Admission, Peer};

use super::{World, budget::aim_of};
use crate::{
    coverage::sometimes,
    event::{Ask, Event, Happening, MILLISECOND, Micros, Request, Response, SECOND},
    plan::Plan,
    process::{Stop, address_of},
};

/// Machines that work, at most.
const NODES_MAX: usize = 6;
/// How long an answer is waited for.
const PATIENCE: Micros = 4 * SECOND;

pub(super) struct Human {
    /// Machines that ask for a place in the cluster.
    joining: Vec<Machine>,
    asked: BTreeMap<u64, Asked>,
    /// What may be put on each node, as it was wanted last.
    wanted: BTreeMap<u64, NodeState>,
    /// Copies that each shard should have.
    pub(super) replicas: usize,
    /// Nodes that have to start again to know how many copies are wanted.
    to_restart: BTreeSet<u64>,
    /// Copies that were lost with their nodes, by shard and node.
    pub(super) lost: BTreeSet<(u16, u64)>,
    /// The fewest voters that each shard has had since it had three.
    pub(super) fewest: BTreeMap<u16, usize>,
}

/// A machine with an empty disk.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) incarnation: [u8; 16],
    pub(super) zone: String,
    asked: Option<Micros>,
}

enum Asked {
    Place {
        incarnation: [u8; 16],
        /// What the program can read that it will run.
        knows: ClusterVersion,
    },
    State {
        node: u64,
        state: NodeState,
    },
}

impl Human {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            joining: Vec::new(),
            asked: BTreeMap::new(),
            wanted: BTreeMap::from([(1, NodeState::Active)]),
            replicas: plan.replicas,
            to_restart: BTreeSet::new(),
            lost: BTreeSet::new(),
            fewest: BTreeMap::new(),
        }
    }

    /// Whether the cluster was asked to let go of a node.
    pub(super) fn wants_gone(&self, node: u64) -> bool {
        self.wanted.get(&node) == Some(&NodeState::Removed)
    }

    /// How many nodes may be given copies, once everybody knows.
    pub(super) fn placeable(&self) -> usize {
        let wanted = self.wanted.values();
        wanted.filter(|state| **state == NodeState::Active).count()
    }
}

impl World {
    /// Gets one more machine.
    pub(super) fn get_machine(&mut self) {
        let machine = self.new_machine();
        self.human.joining.push(machine);
    }

    pub(super) fn new_machine(&mut self) -> Machine {
        let random = &mut self.common.random;
        let half = random.below(u64::MAX);
        let zones = if self.common.plan.has_zones { 3 } else { 1 };
        Machine {
            incarnation: (u128::from(half) << 64 | 1).to_le_bytes(),
            zone: format!("zone-{}", random.below(zones)),
            asked: None,
        }
    }

    /// Takes a look and does what is to be done.
    pub(super) fn operate(&mut self) {
        if self.common.healed.is_some() {
            return;
        }
        let next = self.common.now + self.common.random.between(100, 500) * MILLISECOND;
        self.common.agenda.add(next, Event::Operator);
        self.ask_for_places();
        self.throw_away_broken();
        self.insist();
        self.see_off();
        self.restart_one();
        self.change_program();
        let works = self.working() + self.human.joining.len();
        let enough = usize::try_from(self.common.plan.nodes).expect("few nodes");
        if works < enough && self.common.random.permille(100) {
            self.get_machine();
        }
    }

    /// Nodes that work and that copies may be put on.
    fn working(&self) -> usize {
        let nodes = self.nodes.iter().filter(|(number, node)| {
            let wanted = self.human.wanted.get(number);
            !(node.is_gone || node.is_damaged()) && wanted == Some(&NodeState::Active)
        });
        nodes.count()
    }

    /// Some node that has a place itself, and can be asked.
    fn door(&mut self) -> Option<u64> {
        let doors = self.nodes.iter().filter(|(number, node)| {
            let process = node.process.as_ref();
            process.is_some_and(|process| process.state_of(**number).is_some())
        });
        let doors: Vec<u64> = doors.map(|(&number, _)| number).collect();
        self.common.random.pick(&doors)
    }

    fn ask(&mut self, door: u64, ask: Ask, asked: Asked) {
        let number = self.common.next_request();
        self.human.asked.insert(number, asked);
        let request = Request {
            number,
            shard: ShardId::CATALOG.0,
            ask,
        };
        let life = self.common.lives[&door];
        let length = self.common.network.client_delay(&mut self.common.random);
        self.common
            .later(door, life, length, Happening::Request(request));
    }

    fn ask_for_places(&mut self) {
        let now = self.common.now;
        for at in 0..self.human.joining.len() {
            let machine = &self.human.joining[at];
            if machine.asked.is_some_and(|asked| now < asked + PATIENCE) {
                continue;
            }
            let incarnation = machine.incarnation;
            let add = Command::AddNode {
                incarnation,
                start: NodeStart {
                    number: 1,
                    mark: incarnation,
                },
                address: "new".into(),
                host: format!("host-{}", incarnation[8]),
                zone: machine.zone.clone(),
            };
            let Some(door) = self.door() else { return };
            self.human.joining[at].asked = Some(now);
            let knows = self.programs.usual;
            let ask = Ask::Join {
                add: Box::new(add),
                knows,
            };
            self.ask(door, ask, Asked::Place { incarnation, knows });
        }
    }

    /// An answer has come to something that a node or a person has asked of the cluster.
    pub(super) fn answered(&mut self, request: u64, response: &Response) {
        let Some(asked) = self.human.asked.remove(&request) else {
            return;
        };
        match (asked, response) {
            (Asked::Place { knows, .. }, Response::Admitted(place)) => self.settle_in(place, knows),
            (Asked::Place { incarnation, .. }, denied) => {
                if matches!(denied, Response::TooOld) {
                    sometimes("a program was too old for its cluster");
                    self.programs.usual = ClusterVersion::LATEST;
                }
                let mut joining = self.human.joining.iter_mut();
                if let Some(machine) = joining.find(|machine| machine.incarnation == incarnation) {
                    machine.asked = None;
                }
            }
            (Asked::State { node, state }, Response::Reply(_)) => {
                self.human.wanted.insert(node, state);
            }
            (Asked::State { .. }, _) => {}
        }
    }

    /// A machine has a place in the cluster, and starts.
    fn settle_in(&mut self, place: &Admission, knows: ClusterVersion) {
        let Admission {
            node: record,
            version,
            ..
        } = place;
        let number = record.node.0;
        let mut joining = self.human.joining.iter();
        let at = joining.position(|machine| machine.incarnation == record.incarnation);
        let Some(at) = at.filter(|_| !self.nodes.contains_key(&number)) else {
            return;
        };
        let machine = self.human.joining.remove(at);
        let others = self.nodes.iter();
        let others = others.filter(|(number, _)| !self.human.wants_gone(**number));
        let peer = |(&number, node): (&u64, &super::Node)| {
            let peer = Peer {
                address: address_of(number),
                incarnation: node.identity.incarnation,
            };
            (number, peer)
        };
        let others = others.map(peer).collect();
        self.human.wanted.insert(number, NodeState::Active);
        self.programs.install(number, knows);
        self.add_node(number, machine, *version, others);
    }

    fn set_state(&mut self, node: u64, state: NodeState) {
        let Some(door) = self.door() else { return };
        let process = self.nodes[&door].process.as_ref().expect("it is a door");
        let removed = process.removed().len() as u64;
        if state == NodeState::Removed && !process.can_spare(node, &self.common) {
            return;
        }
        // Who asks for less reckons with it at once, for more when it is so.
        if state != NodeState::Active {
            self.human.wanted.insert(node, state);
        }
        let now = self.common.now;
        self.common
            .trace
            .say(now, || format!("node {node} shall be {state:?}"));
        let command = Command::SetNodeState {
            node: NodeId(node),
            state,
            removed,
        };
        let ask = Ask::Propose(codec::encode(&command));
        self.ask(door, ask, Asked::State { node, state });
    }

    /// Wants something else: another node, one less, or another number of copies.
    pub(super) fn change_cluster(&mut self) {
        let known: Vec<(u64, NodeState)> = {
            let wanted = self.human.wanted.iter();
            wanted.map(|(&node, &state)| (node, state)).collect()
        };
        let in_state = |state| {
            let nodes = known.iter().filter(|(_, known)| *known == state);
            nodes.map(|(node, _)| *node).collect::<Vec<u64>>()
        };
        let active = in_state(NodeState::Active);
        match self.common.random.below(8) {
            0..3 => {
                if let Some(node) = self.common.random.pick(&active) {
                    self.drain(node, &active);
                }
            }
            3 => {
                let draining = in_state(NodeState::Draining);
                if let Some(node) = self.common.random.pick(&draining) {
                    self.set_state(node, NodeState::Active);
                }
            }
            4 => {
                if self.working() + self.human.joining.len() < NODES_MAX {
                    self.get_machine();
                }
            }
            5 | 6 => {
                let wanted = self.common.random.pick(&[1, 2, 3, 3, 3, 5]);
                self.want_copies(wanted.expect("there are some"), active.len());
            }
            _ => {
                if let Some(node) = self.common.random.pick(&active) {
                    self.remove(node, &active);
                }
            }
        }
    }

    fn drain(&mut self, node: u64, active: &[u64]) {
        let left = active.len() - 1;
        let aim = aim_of(self.human.replicas, left);
        if left == 0 || !self.is_enough(None, aim) {
            return;
        }
        if left < self.human.replicas {
            sometimes("a node was to be emptied whose copies had no other place");
        }
        self.set_state(node, NodeState::Draining);
    }

    /// A node that runs is to be gone at once. Until the catalog says so, placement may still make a voter of it, which
    /// shards with fewer than three cannot spare.
    fn remove(&mut self, node: u64, active: &[u64]) {
        let mut sets = (0..self.common.plan.shards).flat_map(|shard| self.sets_of_voters(shard));
        if sets.any(|set| set.len() < 3) {
            return;
        }
        let left = active.len() - 1;
        let aim = aim_of(self.human.replicas, left);
        if left > 0 && self.is_enough(Some(node), aim) {
            self.destroyed.insert(node);
            self.set_state(node, NodeState::Removed);
        }
    }

    fn want_copies(&mut self, replicas: usize, active: usize) {
        let aim = aim_of(replicas, active);
        if !self.is_enough(None, aim) {
            return;
        }
        self.human.replicas = replicas;
        for (&number, node) in &mut self.nodes {
            node.replicas = replicas;
            if node.process.is_some() {
                self.human.to_restart.insert(number);
            }
        }
    }

    /// Another configuration needs another start, of one node after the other.
    fn restart_one(&mut self) {
        if !self.common.random.permille(300) {
            return;
        }
        if let Some(number) = self.human.to_restart.pop_first()
            && self.nodes[&number].is_up()
        {
            self.restart(number);
        }
    }

    /// Damaged machines are thrown away; of those that are gone the cluster is told sooner or later, or never.
    fn throw_away_broken(&mut self) {
        let numbers: Vec<u64> = self.nodes.keys().copied().collect();
        for number in numbers {
            let node = &self.nodes[&number];
            if node.is_damaged() && !node.is_gone && self.common.random.permille(60) {
                self.throw_away(number);
            }
            let is_known = self.human.wanted.get(&number) != Some(&NodeState::Removed);
            if self.nodes[&number].is_gone && is_known && self.common.random.permille(20) {
                let active = self.human.placeable();
                let was_active = self.human.wanted.get(&number) == Some(&NodeState::Active);
                let left = active - usize::from(was_active);
                let aim = aim_of(self.human.replicas, left);
                if left > 0 && self.is_enough(None, aim) {
                    self.set_state(number, NodeState::Removed);
                }
            }
        }
    }

    /// Nobody starts this node again.
    pub(super) fn throw_away(&mut self, number: u64) {
        self.stop(number, Stop::Kill);
        let until = self.unnoticed_until();
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        node.is_gone = true;
        node.unnoticed_until = until;
        self.destroyed.insert(number);
        self.note_lost(number);
    }

    /// What was asked for and has not happened is asked for again.
    fn insist(&mut self) {
        let Some(door) = self.door() else { return };
        let process = self.nodes[&door].process.as_ref().expect("it is a door");
        let wanted = self.human.wanted.iter();
        let open = wanted.filter(|(node, state)| {
            **state != NodeState::Active && process.state_of(**node) != Some(**state)
        });
        let open: Vec<(u64, NodeState)> = open.map(|(&node, &state)| (node, state)).collect();
        if let Some((node, state)) = self.common.random.pick(&open)
            && self.common.random.permille(200)
        {
            // Meanwhile it may have become a voter that the others cannot do without.
            let is_over = self.nodes[&node].is_gone || self.is_empty(node);
            let aim = aim_of(self.human.replicas, self.human.placeable());
            if state != NodeState::Removed || is_over || self.is_enough(Some(node), aim) {
                self.set_state(node, state);
            }
        }
    }

    /// Nodes that were emptied leave when nothing of any shard is there but the catalog.
    fn see_off(&mut self) {
        let draining = self.human.wanted.iter();
        let draining = draining.filter(|(_, state)| **state == NodeState::Draining);
        let draining: Vec<u64> = draining.map(|(&node, _)| node).collect();
        for node in draining {
            if self.is_empty(node) && self.common.random.permille(200) {
                sometimes("a node that was emptied left");
                self.set_state(node, NodeState::Removed);
            }
        }
    }

    fn is_empty(&self, number: u64) -> bool {
        let sets = (0..self.common.plan.shards).flat_map(|shard| self.sets_of_voters(shard));
        let votes = sets.flatten().any(|voter| voter == number);
        let process = self
            .nodes
            .get(&number)
            .and_then(|node| node.process.as_ref());
        let hosts = process.is_none_or(|process| process.replicas().any(|(shard, _)| shard > 0));
        !votes && !hosts
    }
}
