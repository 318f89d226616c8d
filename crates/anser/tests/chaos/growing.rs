//! Nodes come and go under load: their share of the copies moves, and no more; nobody hears anything worse
//! than that a request is to be repeated.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    beside_others,
    fleet::{COPIES, Fleet, Watched, copies},
    folder,
    node_kill::{SHARDS, note_outage},
    probes::Probes,
    say,
    served::Served,
    story::{QUEUES, Story},
    summary::conclude,
};
use crate::cluster::dev_cluster::within;

/// Bytes of messages that wait in all shards alike, for each round.
const FILLED_BYTES: u64 = 24 << 20;
const BULK_QUEUES: usize = 2 * SHARDS as usize;
/// Small files, so that what waits is in segments and not in the log.
const SETTINGS: &str = "[storage]\nwal_file_bytes = \"8 MiB\"\nwal_budget_bytes = \"32 MiB\"\n\
                        segment_bytes = \"8 MiB\"\n";
const FIRST: u16 = 3;
const MOST: u16 = 5;
/// Between two steps, to see what is usual.
const CALM: Duration = Duration::from_secs(2);
const EVEN_WITHIN: Duration = Duration::from_secs(300);
const PATIENT: Duration = Duration::from_secs(10);

#[test]
fn nodes_come_and_go_under_load() {
    let _turn = beside_others();
    let folder = folder();
    let story = Story::with_bulk("growing", 1, BULK_QUEUES);
    let fleet = Fleet::start(folder.path(), FIRST, MOST, SETTINGS);
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    let filled = story.fill(&fleet, story.rounds() * FILLED_BYTES);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    let mut stage = Stage {
        fleet,
        probes,
        bytes: COPIES as u64 * filled,
    };
    let began = story.load.recorder.now();
    let running = story.run(&stage.fleet);
    stage.probes.go(0);
    thread::sleep(CALM);
    stage.calm("before");
    stage.step("node 4 joins", &[1, 2, 3, 4], 4, |fleet| fleet.join(4));
    stage.step("node 5 joins", &[1, 2, 3, 4, 5], 5, |fleet| fleet.join(5));
    stage.calm("with five");
    // The catalog moves too: its leader is the one of the first that has most to give up.
    let old = stage.leader_among(&[1, 2, 3]);
    stage.take_away(old, 5);
    stage.take_away(5, 4);
    stage.calm("with three again");
    running.join();
    stage.probes.rest();
    // A receive that was passed on to a node that ended may have been repeated.
    note_outage(&story.load, began, &QUEUES);
    let failures = [&story.load.failures, stage.probes.failures()].map(|failures| {
        say(&format!("failed requests: {failures}"));
        failures.final_ones()
    });
    let Stage {
        mut fleet, probes, ..
    } = stage;
    let (acknowledged, unknown) = probes.counts();
    say(&format!(
        "probes: {acknowledged} acknowledged, {unknown} unknown"
    ));
    conclude(story, Some(probes), &fleet);
    assert_eq!(failures.concat(), [""; 0], "{}", fleet.logs());
    for node in fleet.running() {
        fleet.stop(node);
    }
}

struct Stage {
    fleet: Fleet,
    probes: Probes,
    /// Of what waits in all copies together.
    bytes: u64,
}

impl Stage {
    /// What is usual while nothing moves.
    fn calm(&self, when: &str) {
        let from = Instant::now();
        thread::sleep(CALM);
        self.say_times(when, from);
    }

    fn say_times(&self, when: &str, from: Instant) {
        let mut times = self.probes.times(from);
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len().saturating_sub(1)) * percent / 100);
        let [median, p99, most] =
            [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
        let gap = self.probes.gaps(from).into_iter().max().unwrap();
        say(&format!(
            "{when}: {} sends, median {median:.0?}, p99 {p99:.0?}, max {most:.0?}, longest gap {gap:.0?}",
            times.len()
        ));
    }

    /// Has something happened to one of `nodes` nodes, whose share is then somewhere else.
    fn step(&mut self, what: &str, on: &[u64], nodes: u64, act: impl FnOnce(&mut Fleet)) {
        let from = Instant::now();
        let copied = self.fleet.copied_bytes();
        act(&mut self.fleet);
        let acted = from.elapsed();
        let Watched { took, begun, .. } = self.fleet.wait_until_even(on, EVEN_WITHIN);
        self.say_times(what, from);
        let copied = self.fleet.copied_bytes() - copied;
        let share = self.bytes / nodes;
        let all = u64::from(SHARDS) * COPIES as u64;
        let view = self.fleet.view();
        say(&format!(
            "{what}: {acted:.1?}, then settled in {took:.1?}; {} copies begun of {all}, {copied} bytes, {} % of \
             the share of {share}; copies by node {:?}",
            begun.len(),
            copied * 100 / share,
            copies(&view, on),
        ));
        // How many exactly is for the planner's own tests: here a leader may be late, and a copy begun anew.
        let expected = all.div_ceil(nodes);
        let begun_count = begun.len() as u64;
        assert!(
            begun_count <= expected + 3,
            "{begun:?}; {}",
            self.fleet.logs()
        );
        assert!(
            copied <= 2 * share,
            "{copied} of {share}; {}",
            self.fleet.logs()
        );
    }

    fn leader_among(&self, nodes: &[u64]) -> u16 {
        let view = self.fleet.view();
        let old = view.nodes.iter().filter(|node| nodes.contains(&node.node));
        let most = old.max_by_key(|node| (node.node == view.node, node.leaders));
        u16::try_from(most.unwrap().node).unwrap()
    }

    /// As it is documented: drained until it has at most the catalog, ended, removed.
    fn take_away(&mut self, node: u16, nodes: u64) {
        let left: Vec<u64> = self
            .fleet
            .running_numbers()
            .into_iter()
            .filter(|&other| other != u64::from(node))
            .collect();
        let number = node.to_string();
        self.step(&format!("node {node} is drained"), &left, nodes, |fleet| {
            fleet.run(&["drain", &number]);
        });
        let from = Instant::now();
        let copies = || {
            let view = self.fleet.view();
            let of_node = view.nodes.iter().find(|one| one.node == u64::from(node))?;
            Some(of_node.replicas)
        };
        let emptied = within(EVEN_WITHIN, || copies().is_some_and(|copies| copies <= 1));
        assert!(emptied, "{:?}; {}", copies(), self.fleet.logs());
        self.fleet.stop(node);
        self.fleet.run(&["remove", &number]);
        self.fleet.wait_until_even(&left, EVEN_WITHIN);
        let is_forgotten = || {
            let shards = self.fleet.view().shards;
            let mut members = shards
                .iter()
                .flat_map(|shard| shard.voters.iter().chain(&shard.learners));
            !members.any(|&member| member == u64::from(node))
        };
        let forgotten = within(EVEN_WITHIN, is_forgotten);
        assert!(forgotten, "{:?}; {}", self.fleet.view(), self.fleet.logs());
        self.say_times(&format!("node {node} ends and is removed"), from);
    }
}
