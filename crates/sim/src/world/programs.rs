//! Which program each node runs. In some seeds all begin with an old one, and whoever runs the cluster restarts them
//! one by one with a new one, changes their mind, and goes on. An old program that finds the cluster at a version that
//! it cannot read ends, and is replaced by a new one.

use std::collections::BTreeMap;

use anser_broker::version::ClusterVersion;

use super::World;
use crate::{
    coverage::sometimes,
    event::{Event, SECOND},
    plan::Plan,
    process::{Process, Stop},
};

const OLD: ClusterVersion = ClusterVersion::FIRST;
const NEW: ClusterVersion = ClusterVersion::LATEST;

pub(super) struct Programs {
    known: BTreeMap<u64, ClusterVersion>,
    /// What a new node is given.
    pub(super) usual: ClusterVersion,
}

impl Programs {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            known: BTreeMap::new(),
            usual: if plan.upgrades { OLD } else { NEW },
        }
    }

    /// The highest version that a node's program can read.
    pub(super) fn knows(&mut self, node: u64) -> ClusterVersion {
        *self.known.entry(node).or_insert(self.usual)
    }

    /// What a new node has got.
    pub(super) fn install(&mut self, node: u64, knows: ClusterVersion) {
        self.known.insert(node, knows);
    }
}

impl World {
    /// Restarts one node with another program.
    pub(super) fn change_program(&mut self) {
        if !self.common.plan.upgrades || !self.common.random.permille(80) {
            return;
        }
        let up = self.nodes.iter().filter(|(_, node)| node.is_up());
        let up: Vec<u64> = up.map(|(&number, _)| number).collect();
        let Some(number) = self.common.random.pick(&up) else {
            return;
        };
        let has_risen = self.version_heard() > OLD;
        if has_risen {
            self.programs.usual = NEW;
        }
        if self.programs.knows(number) == OLD {
            self.programs.known.insert(number, NEW);
        } else if !has_risen && self.common.random.permille(300) {
            sometimes("a node went back to an older program");
            self.programs.known.insert(number, OLD);
        } else {
            return;
        }
        self.crash(number, Stop::Exit);
    }

    /// The version of the cluster as any node says that can be asked.
    fn version_heard(&self) -> ClusterVersion {
        let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        processes.map(Process::version).max().unwrap_or(OLD)
    }

    /// A program could not go on, or begin, with the version of the cluster.
    pub(super) fn is_too_old(&mut self, number: u64) {
        sometimes("a program was too old for its cluster");
        let now = self.common.now;
        self.common
            .trace
            .say(now, || format!("node {number}: its program is too old"));
        let knows = self.programs.knows(number);
        if !self.common.checks.may_be_too_old(knows) {
            let text = format!("node {number}: its program was called too old and is not");
            self.common.checks.fail(text);
        }
        self.programs.known.insert(number, NEW);
        let again = self.common.now + SECOND;
        self.common.agenda.add(again, Event::Start { node: number });
    }
}
