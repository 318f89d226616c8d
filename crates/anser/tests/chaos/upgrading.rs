//! A cluster whose nodes are upgraded one after the other under load, with the former program and the new one mixed for a
//! while; then a node joins, and another one is drained and taken away.
//!
//! `CHAOS_OLD_BINARY` names the former program and `CHAOS_MIXED_SECONDS` how long they are mixed. Without the first one
//! everything runs the present program, which shows only that the steps work.

use std::{
    env,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    alone,
    failures::Failures,
    fleet::Fleet,
    folder,
    node_kill::{SHARDS, note_outage},
    probes::Probes,
    say,
    served::Served,
    story::{QUEUES, Story},
    summary::conclude,
};
use crate::cluster::dev_cluster::within;

const NODES: u16 = 3;
const JOINS: u16 = 4;
const LEAVES: u16 = 1;
const EVEN_WITHIN: Duration = Duration::from_secs(120);
const PATIENT: Duration = Duration::from_secs(10);
const MIXED_SECONDS: u64 = 600;

#[test]
#[ignore = "by command: scripts/chaos upgrading"]
fn no_request_fails_when_all_nodes_are_upgraded_one_after_the_other() {
    let _turn = alone();
    let folder = folder();
    let new = PathBuf::from(env!("CARGO_BIN_EXE_anser"));
    let old = env::var_os("CHAOS_OLD_BINARY").map_or_else(|| new.clone(), PathBuf::from);
    let mixed = env::var("CHAOS_MIXED_SECONDS").map_or(MIXED_SECONDS, |text| text.parse().unwrap());
    say(&format!("from {} to {}", old.display(), new.display()));
    let story = Story::new("upgrading", 1);
    let mut fleet = Fleet::new(folder.path(), JOINS, "");
    fleet.set_program(&old);
    for node in 1..=NODES {
        fleet.join(node);
    }
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    let began = story.load.recorder.now();
    let running = story.run(&fleet);
    probes.go(0);
    let mut stage = Stage {
        fleet,
        story,
        probes,
        failed: 0,
    };
    say(
        "| step | took | acknowledged probes | failed requests | p99 | longest gap |\n|---|---|---|---|---|---|",
    );
    stage.step("all run the former program", |_| {
        thread::sleep(Duration::from_secs(3));
    });
    stage.fleet.set_program(&new);
    for node in 1..=NODES {
        stage.step(&format!("node {node} is upgraded"), |fleet| {
            fleet.stop(node);
            fleet.begin(node);
            fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
        });
        if node == 1 {
            stage.step("mixed", |_| thread::sleep(Duration::from_secs(mixed)));
        }
    }
    stage.assert_no_failure();
    stage.step("node 4 joins", |fleet| {
        fleet.join(JOINS);
        fleet.wait_until_even(&[1, 2, 3, 4], EVEN_WITHIN);
    });
    stage.step("node 1 is drained", |fleet| {
        fleet.run(&["drain", &LEAVES.to_string()]);
        fleet.wait_until_even(&[2, 3, 4], EVEN_WITHIN);
    });
    stage.step("node 1 ends and is removed", leave);
    running.join();
    stage.probes.rest();
    note_outage(&stage.story.load, began, &QUEUES);
    say(&format!(
        "failed requests of all: {}; of probes: {}",
        stage.story.load.failures,
        stage.probes.failures()
    ));
    let failures = [&stage.story.load.failures, stage.probes.failures()];
    let failures = failures.map(Failures::final_ones).concat();
    conclude(stage.story, Some(stage.probes), &stage.fleet);
    assert_eq!(failures, [""; 0], "{}", stage.fleet.logs());
    for node in stage.fleet.running() {
        stage.fleet.stop(node);
    }
}

/// As it is documented: it has at most the catalog when it ends.
fn leave(fleet: &mut Fleet) {
    let copies = |fleet: &Fleet| {
        let view = fleet.view();
        let mut nodes = view.nodes.iter();
        let node = nodes.find(|one| one.node == u64::from(LEAVES));
        node.map_or(0, |node| node.replicas)
    };
    assert!(
        within(EVEN_WITHIN, || copies(fleet) <= 1),
        "{}",
        fleet.logs()
    );
    fleet.stop(LEAVES);
    fleet.run(&["remove", &LEAVES.to_string()]);
    fleet.wait_until_even(&[2, 3, 4], EVEN_WITHIN);
}

struct Stage {
    fleet: Fleet,
    story: Story,
    probes: Probes,
    /// Requests that had failed before the step.
    failed: u64,
}

impl Stage {
    fn step(&mut self, what: &str, act: impl FnOnce(&mut Fleet)) {
        let from = Instant::now();
        act(&mut self.fleet);
        let took = from.elapsed();
        // A request that hangs is one of this step, though its failure is told only after ten seconds.
        self.probes.rest_until_idle();
        let mut times = self.probes.times(from);
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).copied();
        let gap = self.probes.gaps(from).into_iter().max().unwrap();
        let failed = self.story.load.failures.total() + self.probes.failures().total();
        say(&format!(
            "| {what} | {took:.1?} | {} | {} | {:.0?} | {gap:.0?} |",
            times.len(),
            failed - self.failed,
            p99.unwrap_or_default(),
        ));
        self.failed = failed;
        self.probes.go(0);
    }

    /// Besides connections that a node ended just when a request was on its way, of which there may be one at each end on a
    /// busy machine.
    fn assert_no_failure(&self) {
        let failures = [&self.story.load.failures, self.probes.failures()];
        let [(failed, broken), (probes_failed, probes_broken)] =
            failures.map(Failures::besides_broken);
        let logs = || self.fleet.logs();
        assert_eq!([failed, probes_failed].concat(), [""; 0], "{}", logs());
        let broken = broken + probes_broken;
        assert!(
            broken <= u64::from(NODES),
            "{broken} connections broke; {}",
            logs()
        );
    }
}
