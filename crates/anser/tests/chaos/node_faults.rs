//! Other faults of the nodes of a cluster: all killed at once, one that stands still, one that has lost its
//! disk.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anser::cluster::view::Cluster;

use super::{
    alone, beside_others, folder,
    node_kill::{
        NODES, SHARDS, WHOLE_WITHIN, is_whole, led, note_outage, spread, wait_until_served,
        wait_until_whole,
    },
    probes::Probes,
    say,
    story::{QUEUES, Story},
    summary::conclude,
    workload::{Chance, Worker},
};
use crate::cluster::dev_cluster::{DevCluster, within};

/// How long a leader stands still: longer than the others wait for it.
const STANDSTILL: Duration = Duration::from_secs(5);
/// What a node that does not answer costs a probe.
const IMPATIENT: Duration = Duration::from_millis(300);
const PATIENT: Duration = Duration::from_secs(10);

/// A cluster with its load and its probes.
pub(crate) struct Stage {
    pub(crate) cluster: DevCluster,
    pub(crate) story: Story,
    pub(crate) probes: Probes,
    chance: Chance,
}

impl Stage {
    pub(crate) fn new(
        folder: &std::path::Path,
        name: &'static str,
        rounds: u64,
        patience: Duration,
    ) -> Self {
        let mut cluster = DevCluster::new(folder, NODES);
        cluster.start();
        cluster.wait_for_copies();
        let story = Story::new(name, rounds);
        story.create_queues(&cluster);
        let probes = Probes::start(&cluster, SHARDS, patience);
        wait_until_whole(&cluster, &probes);
        Self {
            chance: Chance::new(story.load.seed),
            cluster,
            story,
            probes,
        }
    }

    /// Between one and three seconds.
    fn wait_for_work(&mut self) {
        thread::sleep(Duration::from_millis(1_000 + self.chance.below(2_000)));
    }

    pub(crate) fn finish(self) {
        wait_until_whole(&self.cluster, &self.probes);
        conclude(self.story, Some(self.probes), &self.cluster);
        self.cluster.stop();
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let _turn = beside_others();
    let folder = folder();
    let mut stage = Stage::new(folder.path(), "node_faults-all", 2, PATIENT);
    let mut times = Vec::new();
    for _ in 0..stage.story.rounds() {
        let running = stage.story.run(&stage.cluster);
        stage.probes.go(0);
        stage.wait_for_work();
        let died = stage.story.load.recorder.now();
        stage.cluster.kill_all();
        let begun = Instant::now();
        stage.cluster.start();
        wait_until_served(&stage.cluster, &stage.probes, begun);
        times.push(begun.elapsed());
        note_outage(&stage.story.load, died, &QUEUES);
        stage.wait_for_work();
        running.join();
        wait_until_whole(&stage.cluster, &stage.probes);
    }
    say(&format!(
        "from the start until all is served: {}",
        spread(&times)
    ));
    stage.finish();
}

#[test]
fn a_leader_that_stands_still_says_nothing_afterwards_that_is_not_so() {
    let _turn = alone();
    let folder = folder();
    let mut stage = Stage::new(folder.path(), "node_faults-standstill", 1, IMPATIENT);
    let (mut led_gaps, mut other_gaps) = (Vec::new(), Vec::new());
    for _ in 0..stage.story.rounds() {
        let running = stage.story.run(&stage.cluster);
        let leads = |node: &u16| led(&stage.cluster.status(*node).unwrap()).len();
        let most = (1..=NODES).max_by_key(leads);
        let victim = most.expect("there are nodes");
        stage.probes.go(victim);
        stage.wait_for_work();
        let led = led(&stage.cluster.status(victim).unwrap());
        let (died, fell) = (stage.story.load.recorder.now(), Instant::now());
        stage.cluster.signal(victim, "STOP");
        thread::sleep(STANDSTILL);
        let silent = stage.probes.silent_since(fell);
        let gaps = stage.probes.gaps(fell);
        stage.cluster.signal(victim, "CONT");
        assert!(silent.is_empty(), "{silent:?}; {}", stage.cluster.logs());
        for (shard, gap) in (0..).zip(gaps) {
            let gaps = if led.contains(&shard) {
                &mut led_gaps
            } else {
                &mut other_gaps
            };
            gaps.push(gap);
        }
        stage.wait_for_work();
        running.join();
        wait_until_whole(&stage.cluster, &stage.probes);
        note_outage(&stage.story.load, died, &QUEUES);
    }
    say(&format!(
        "not served, shards that it led: {}",
        spread(&led_gaps)
    ));
    say(&format!(
        "not served, other shards: {}",
        spread(&other_gaps)
    ));
    stage.finish();
}

/// Removes a node that is gone. It is refused while some shard elects a leader, or its leader has not heard
/// from the others yet.
fn remove(cluster: &DevCluster, node: u64) {
    let removed = within(WHOLE_WITHIN, || {
        let output = cluster.run(&["cluster", "remove", &node.to_string()]);
        let said = String::from_utf8_lossy(&output.stderr);
        let is_removed = output.status.success();
        assert!(is_removed || said.contains("not now"), "{said}");
        is_removed
    });
    assert!(removed, "{:?}; {}", cluster.status(1), cluster.logs());
}

/// A node that has lost its disk comes back as another; when the old one is removed, every shard has its
/// copies again.
#[test]
fn a_node_that_lost_its_disk_is_made_again() {
    const FILLED_BYTES: usize = 32 << 20;
    const BODY_BYTES: usize = 60_000;
    const BATCH: usize = 16;
    let _turn = beside_others();
    let folder = folder();
    let mut stage = Stage::new(folder.path(), "node_faults-wiped", 1, PATIENT);
    let mut filler = Worker::new(&stage.cluster, &stage.story.load, 80);
    for _ in 0..FILLED_BYTES / (BODY_BYTES * BATCH) {
        filler.send("dead", BATCH, BODY_BYTES, 0).unwrap();
    }
    drop(filler);
    let running = stage.story.run(&stage.cluster);
    stage.probes.go(NODES);
    stage.wait_for_work();
    let (died, fell) = (stage.story.load.recorder.now(), Instant::now());
    let lost = stage.cluster.number(NODES);
    let kept = [1, 2].map(|node| stage.cluster.number(node));
    stage.cluster.kill(NODES);
    wait_until_served(&stage.cluster, &stage.probes, fell);
    note_outage(&stage.story.load, died, &QUEUES);
    fs::remove_dir_all(stage.cluster.data(NODES)).unwrap();
    let begun = Instant::now();
    stage.cluster.restart(NODES);
    let ready = begun.elapsed();
    let number = stage.cluster.status(NODES).unwrap().node;
    assert_eq!(number, u64::from(NODES) + 1, "it has another number");
    remove(&stage.cluster, lost);
    let is_replaced = |cluster: &Cluster| {
        let mut all = [kept[0], kept[1], number];
        all.sort_unstable();
        let mut shards = cluster.shards.iter();
        is_whole(cluster) && shards.all(|shard| shard.voters == all)
    };
    let replaced = within(2 * WHOLE_WITHIN, || {
        stage.cluster.status(1).is_some_and(|one| is_replaced(&one))
    });
    assert!(
        replaced,
        "{:?}; {}",
        stage.cluster.status(1),
        stage.cluster.logs()
    );
    let took = begun.elapsed();
    let status = stage.cluster.status(1).unwrap();
    let replicas = status.shards.iter().flat_map(|shard| &shard.replicas);
    let copied: u64 = replicas
        .filter(|replica| replica.node == number)
        .map(|replica| replica.bytes)
        .sum();
    say(&format!(
        "ready after {ready:.0?}, all copies again {took:.0?} after the start, of {copied} bytes"
    ));
    running.join();
    stage.finish();
}
