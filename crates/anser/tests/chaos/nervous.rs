//! A machine that is overloaded as a whole, its processors or its disk: all nodes are as slow, so placement moves no leader,
//! and clients see nothing but long answers (issue 11, point 4).

use std::{
    fs,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    alone,
    node_faults::Stage,
    node_kill::{NODES, led, spread},
    say,
};
use crate::cluster::dev_cluster::{DevCluster, within};

/// How long each kind of overload lasts, in each round.
const OVERLOAD: Duration = Duration::from_secs(12);
/// Leaders of a fresh cluster are spread one after the other.
const EVEN_WITHIN: Duration = Duration::from_secs(60);
/// For each processor.
const SPINNERS: usize = 8;
const WRITERS: usize = 4;
const WRITTEN_BYTES: usize = 4 << 20;
/// What is waited for an answer while everything is slow.
const PATIENT: Duration = Duration::from_secs(30);

/// Threads that take what they can get of the machine until this is dropped.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn new(count: usize, work: impl Fn(usize, &AtomicBool) + Clone + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let (work, stop) = (work.clone(), Arc::clone(&stop));
            thread::spawn(move || work(number, &stop))
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    fn of_processors() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::new(SPINNERS * processors, |_, stop| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    }

    /// On the disk where this folder is.
    fn of_disk(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self::new(WRITERS, move |number, stop| {
            let bytes = vec![0x5a; WRITTEN_BYTES];
            while !stop.load(Ordering::Relaxed) {
                let mut file = fs::File::create(folder.join(format!("hog-{number}"))).unwrap();
                file.write_all(&bytes).unwrap();
                file.sync_all().unwrap();
            }
        })
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// How often placement has moved a leader so far, and why.
pub(super) fn moves(cluster: &DevCluster) -> Vec<String> {
    let logs = (1..=NODES).map(|node| cluster.log(node));
    let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.contains("Transfer(")).collect()
}

/// The terms of all shards together: how often leaders were elected.
pub(super) fn terms(cluster: &DevCluster) -> u64 {
    let views = (1..=NODES).filter_map(|node| cluster.status(node));
    let terms = views.map(|view| view.shards.iter().map(|shard| shard.term).sum());
    terms.max().unwrap_or(0)
}

/// Whether every node leads about as much: five of sixteen or six.
pub(super) fn is_even(cluster: &DevCluster) -> bool {
    let mut views = (1..=NODES).map(|node| cluster.status(node));
    views.all(|view| view.is_some_and(|view| led(&view).len() > 4))
}

#[test]
#[ignore = "by command: scripts/chaos nervous"]
fn no_leader_moves_when_the_whole_machine_is_overloaded() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::new(folder.path(), "nervous", 1, PATIENT);
    let running = stage.story.run(&stage.cluster);
    stage.probes.go(0);
    let is_even = within(EVEN_WITHIN, || is_even(&stage.cluster));
    assert!(is_even, "{}", stage.cluster.logs());
    thread::sleep(Duration::from_secs(3));
    let mut moved = Vec::new();
    for _ in 0..stage.story.rounds() {
        for kind in ["processors", "disk", "both"] {
            let (before, elected, from) = (
                moves(&stage.cluster).len(),
                terms(&stage.cluster),
                Instant::now(),
            );
            let processors = (kind != "disk").then(Hogs::of_processors);
            let disk = (kind != "processors").then(|| Hogs::of_disk(folder.path()));
            thread::sleep(OVERLOAD);
            let gap = stage.probes.gaps(from).into_iter().max();
            drop((processors, disk));
            let times = stage.probes.times(from);
            let new = moves(&stage.cluster).split_off(before);
            say(&format!(
                "{kind}: {} leaders moved by placement, {} terms, longest gap {:.0?}, probes {}; failed requests: {}, {}",
                new.len(),
                terms(&stage.cluster) - elected,
                gap.unwrap_or_default(),
                spread(&times),
                stage.story.load.failures,
                stage.probes.failures(),
            ));
            for line in &new {
                say(line);
            }
            moved.extend(new);
        }
    }
    running.join();
    let failures = [&stage.story.load.failures, stage.probes.failures()];
    let failed: Vec<String> = failures
        .into_iter()
        .flat_map(super::failures::Failures::besides_overload)
        .collect();
    let logs = stage.cluster.logs();
    stage.finish();
    assert_eq!(moved, [""; 0], "{logs}");
    assert_eq!(failed, [""; 0], "{logs}");
}
