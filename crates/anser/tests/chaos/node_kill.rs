//! kill -9 of a node of three under load, again and again: what clients see is what they would see of one
//! server, and every shard is served again soon.

use std::{
    thread,
    time::{Duration, Instant},
};

use anser::cluster::view::Cluster;
use anser_check::{Operation, Outcome};

use super::{
    beside_others, folder,
    probes::Probes,
    say,
    served::Nodes,
    story::{self, QUEUES, Story},
    summary::conclude,
    workload::{Chance, Load},
};
use crate::cluster::dev_cluster::{DevCluster, within};

const ROUNDS: u64 = 2;
pub(crate) const NODES: u16 = 3;
pub(crate) const SHARDS: u16 = 16;
/// The promise is 3 s; a machine that others use too gets more.
const GAP_MAX: Duration = Duration::from_secs(15);
/// Longer than a node that was not killed should keep anybody waiting; said, not judged.
const UNUSUAL: Duration = Duration::from_millis(300);
/// Entries that a copy under load may be behind when it is told.
const LAG: u64 = 32;
pub(crate) const WHOLE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_when_a_node_is_killed() {
    let _turn = beside_others();
    let folder = folder();
    let mut cluster = DevCluster::new(folder.path(), NODES);
    cluster.start();
    cluster.wait_for_copies();
    let story = Story::new("node_kill", ROUNDS);
    let mut chance = Chance::new(story.load.seed);
    story.create_queues(&cluster);
    let probes = Probes::start(&cluster, SHARDS, Duration::from_secs(10));
    let mut figures = Figures::default();
    for _ in 0..story.rounds() {
        wait_until_whole(&cluster, &probes);
        let running = story.run(&cluster);
        let victim = u16::try_from(1 + chance.below(NODES.into())).unwrap();
        probes.go(victim);
        thread::sleep(Duration::from_millis(500));
        let quiet = Instant::now();
        thread::sleep(Duration::from_millis(500 + chance.below(1_500)));
        figures.quiet.extend(probes.gaps(quiet));
        let before = cluster.status(victim).unwrap();
        let (died, fell) = (story.load.recorder.now(), Instant::now());
        cluster.kill(victim);
        wait_until_served(&cluster, &probes, fell);
        note_outage(&story.load, died, &QUEUES);
        thread::sleep(Duration::from_millis(1_500 + chance.below(1_500)));
        let after = cluster.status(other(victim)).unwrap();
        figures.fell(&probes.gaps(fell), &before, &after);
        let begun = Instant::now();
        cluster.restart(victim);
        figures.ready.push(begun.elapsed());
        let caught_up = || is_whole(&cluster.status(other(victim)).unwrap());
        let is_back = within(WHOLE_WITHIN, caught_up);
        assert!(is_back, "{:?}; {}", cluster.status(1), cluster.logs());
        figures.caught_up.push(begun.elapsed());
        let back = cluster.status(other(victim)).unwrap();
        figures.came_back(before.node, &probes.gaps(begun), &after, &back);
        probes.rest();
        running.join();
    }
    let (acknowledged, unknown) = probes.counts();
    say(&format!(
        "probes: {acknowledged} acknowledged, {unknown} unknown"
    ));
    figures.say();
    wait_until_whole(&cluster, &probes);
    conclude(story, Some(probes), &cluster);
    cluster.stop();
    let longest = figures.led.iter().chain(&figures.others).max().unwrap();
    assert!(*longest < GAP_MAX, "a shard was not served for {longest:?}");
}

/// Times of all rounds.
#[derive(Debug, Default)]
struct Figures {
    /// How long each shard that the victim led was not served, and each other one.
    led: Vec<Duration>,
    others: Vec<Duration>,
    /// The same before the kill, when nothing was wrong: what the machine adds by itself.
    quiet: Vec<Duration>,
    /// And when the node came back.
    returned: Vec<Duration>,
    /// From the start of the process.
    ready: Vec<Duration>,
    caught_up: Vec<Duration>,
}

impl Figures {
    fn fell(&mut self, gaps: &[Duration], before: &Cluster, after: &Cluster) {
        let victim = before.node;
        let led = led(before);
        for (shard, gap) in (0..).zip(gaps) {
            if led.contains(&shard) {
                self.led.push(*gap);
                continue;
            }
            self.others.push(*gap);
            if *gap > UNUSUAL {
                let what = format!("node {victim}, which was killed, did not lead it");
                say_unusual(shard, *gap, &what, before, after);
            }
        }
    }

    fn came_back(&mut self, number: u64, gaps: &[Duration], before: &Cluster, after: &Cluster) {
        for (shard, gap) in (0..).zip(gaps) {
            self.returned.push(*gap);
            if *gap > UNUSUAL {
                let what = format!("node {number} only came back");
                say_unusual(shard, *gap, &what, before, after);
            }
        }
    }

    fn say(&self) {
        for (what, times) in [
            ("not served, before", &self.quiet),
            ("not served, shards that the victim led", &self.led),
            ("not served, other shards", &self.others),
            ("not served when it came back", &self.returned),
            ("from start to ready", &self.ready),
            ("from start to caught up", &self.caught_up),
        ] {
            say(&format!("{what}: {}", spread(times)));
        }
    }
}

fn say_unusual(shard: u16, gap: Duration, what: &str, before: &Cluster, after: &Cluster) {
    let said = |cluster: &Cluster| {
        let found = cluster.shards.iter().find(|one| one.shard == shard);
        found.map(|one| (one.leader, one.term))
    };
    let (before, after) = (said(before), said(after));
    say(&format!(
        "shard {shard} was not served for {gap:.0?} though {what}: leader and term {before:?}, then {after:?}"
    ));
}

/// Count, least, median, 90th of a hundred and most.
pub(crate) fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let place = sorted.len().saturating_sub(1) * percent / 100;
        sorted.get(place).copied().unwrap_or_default()
    };
    let [min, median, p90, max] = [0, 50, 90, 100].map(|percent| at(percent).as_millis());
    let count = sorted.len();
    format!("{count} times, min {min} ms, median {median} ms, p90 {p90} ms, max {max} ms")
}

fn other(node: u16) -> u16 {
    node % NODES + 1
}

/// What the node that says so leads, by its own account.
pub(crate) fn led(cluster: &Cluster) -> Vec<u16> {
    let led = |shard: &&anser::cluster::view::Shard| shard.leader == Some(cluster.node);
    let shards = cluster.shards.iter().filter(led);
    shards.map(|shard| shard.shard).collect()
}

/// Every shard has its copies, none is behind, and no node says that something of one is damaged: that copy is let go of next.
pub(crate) fn is_whole(cluster: &Cluster) -> bool {
    let near = |replica: &anser::cluster::view::Replica| replica.active && replica.lag <= LAG;
    let mut shards = cluster.shards.iter();
    let mut nodes = cluster.nodes.iter();
    cluster.has_copies(NODES.into())
        && nodes.all(|node| node.damaged.is_empty())
        && cluster.shards.len() == usize::from(SHARDS)
        && shards.all(|shard| shard.replicas.iter().all(near))
}

/// Until every node says so.
pub(crate) fn wait_until_whole(cluster: &impl Nodes, probes: &Probes) {
    probes.rest();
    let all = || (1..=NODES).all(|node| cluster.status(node).is_some_and(|one| is_whole(&one)));
    let whole = within(WHOLE_WITHIN, all);
    assert!(whole, "{:?}; {}", cluster.status(1), cluster.logs());
}

pub(crate) fn wait_until_served(cluster: &impl Nodes, probes: &Probes, since: Instant) {
    let served = within(Duration::from_secs(60), || {
        probes.silent_since(since).is_empty()
    });
    let silent = probes.silent_since(since);
    assert!(
        served,
        "shards {silent:?} are not served; {}",
        cluster.logs()
    );
}

/// From `died` on some shards were not served. A receive that a node passed on to one that died is asked
/// again of the new leader, so there may have been one whose answer nobody got.
pub(crate) fn note_outage(load: &Load, died: anser_check::Nanos, queues: &[&str]) {
    let recorder = &load.recorder;
    recorder.add(0, "", died, Operation::Outage);
    for queue in queues {
        let unanswered = Operation::Receive {
            most: 16,
            wait_ms: story::VISIBILITY_SECONDS * 1_000,
            outcome: Outcome::Unknown,
        };
        recorder.add(99, queue, died, unanswered);
    }
}
