//! Several nodes of three lose power at one moment, under load: each has a disk of its own, which loses everything that was
//! not synced.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    beside_others,
    disk::{Disk, lose_power},
    fleet::Fleet,
    folder,
    node_kill::{SHARDS, note_outage, wait_until_served},
    probes::Probes,
    skipped,
    story::{QUEUES, Story},
    summary::conclude,
    workload::Chance,
};

pub(crate) const NODES: u16 = 3;
const DISK_MEBIBYTES: u64 = 256;
/// Small files, so that they are recycled and segments written while the power goes.
pub(crate) const SETTINGS: &str = "[storage]\nwal_file_bytes = \"8MiB\"\nwal_budget_bytes = \"32MiB\"\n\
                                   segment_bytes = \"2MiB\"\nreserve_bytes = \"26MiB\"\n";
const EVEN_WITHIN: Duration = Duration::from_secs(120);
pub(crate) const WHOLE_WITHIN: Duration = Duration::from_secs(120);
const PATIENT: Duration = Duration::from_secs(10);

/// A cluster whose nodes have a disk each, with its load and its probes.
pub(crate) struct Stage {
    // Ended before its disks are taken away.
    pub(crate) fleet: Fleet,
    pub(crate) disks: Vec<Disk>,
    pub(crate) story: Story,
    pub(crate) probes: Probes,
    pub(crate) chance: Chance,
}

impl Stage {
    /// Fails with what this machine does not allow.
    pub(crate) fn new(folder: &Path, name: &'static str, rounds: u64) -> Result<Self, String> {
        let disks = (1..=NODES).map(|node| disk_of(folder, node));
        let disks: Vec<Disk> = disks.collect::<Result<_, _>>()?;
        let story = Story::new(name, rounds);
        let fleet = Fleet::start(folder, NODES, NODES, SETTINGS);
        fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
        story.create_queues(&fleet);
        let probes = Probes::start(&fleet, SHARDS, PATIENT);
        fleet.wait_until_whole(WHOLE_WITHIN).unwrap();
        Ok(Self {
            fleet,
            disks,
            chance: Chance::new(story.load.seed),
            story,
            probes,
        })
    }

    /// Takes the power from these, and their processes; fails where a disk cannot lose power.
    pub(crate) fn lose_power(&mut self, nodes: &[u16]) -> Result<(), String> {
        let disks = nodes.iter().map(|&node| &self.disks[usize::from(node) - 1]);
        lose_power(&disks.collect::<Vec<_>>())?;
        // Clients still ask: whatever is acknowledged now must have been on the disks before.
        thread::sleep(Duration::from_millis(self.chance.below(100)));
        self.fleet.kill_all(nodes);
        Ok(())
    }

    pub(crate) fn restore_power(&mut self, nodes: &[u16]) {
        for &node in nodes {
            let disk = &mut self.disks[usize::from(node) - 1];
            disk.unmount().unwrap();
            disk.mount().unwrap();
        }
        self.fleet.begin_all(nodes);
    }

    /// One after the other, in an order that chance decides.
    pub(crate) fn drawn(&mut self) -> [u16; 3] {
        let mut nodes = [1, 2, 3];
        for last in (1..nodes.len()).rev() {
            let other = self.chance.below(last as u64 + 1);
            nodes.swap(last, usize::try_from(other).expect("small"));
        }
        nodes
    }

    pub(crate) fn conclude(self) {
        self.probes.rest();
        conclude(self.story, Some(self.probes), &self.fleet);
    }
}

/// A disk, with the node's data directory on it.
fn disk_of(folder: &Path, node: u16) -> Result<Disk, String> {
    let machine = folder.join(format!("machine-{node}"));
    fs::create_dir_all(&machine).map_err(|error| error.to_string())?;
    let disk = Disk::new(&machine, DISK_MEBIBYTES)?;
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    std::os::unix::fs::symlink(data, folder.join(format!("node-{node}"))).unwrap();
    Ok(disk)
}

/// `count` nodes lose power in each round, which they are is chance.
pub(crate) fn lose_power_together(name: &'static str, rounds: u64, count: usize) {
    let _turn = beside_others();
    let folder = folder();
    let mut stage = match Stage::new(folder.path(), name, rounds) {
        Ok(stage) => stage,
        Err(why) => return skipped(name, &why),
    };
    for round in 0..stage.story.rounds() {
        let running = stage.story.run(&stage.fleet);
        stage.probes.go(0);
        thread::sleep(Duration::from_millis(500 + stage.chance.below(2_500)));
        let victims = &stage.drawn()[..count];
        let died = stage.story.load.recorder.now();
        if let Err(why) = stage.lose_power(victims) {
            assert_eq!(round, 0, "the power could be taken before: {why}");
            return skipped(name, &why);
        }
        stage.restore_power(victims);
        let back = Instant::now();
        wait_until_served(&stage.fleet, &stage.probes, back);
        running.join();
        stage.probes.rest();
        stage.fleet.wait_until_whole(WHOLE_WITHIN).unwrap();
        note_outage(&stage.story.load, died, &QUEUES);
    }
    stage.conclude();
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_lose_power_at_once() {
    lose_power_together("powerless-all", 2, 3);
}

#[test]
#[ignore = "by command: scripts/chaos power-two"]
fn nothing_acknowledged_is_lost_when_two_nodes_lose_power_at_once() {
    lose_power_together("powerless-two", 3, 2);
}
