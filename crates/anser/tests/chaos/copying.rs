//! A node with a new disk gets its copies while the node that receives them, and one that sends them, are killed in the
//! middle, in turns.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    beside_others,
    fleet::Fleet,
    folder,
    node_kill::{SHARDS, note_outage, wait_until_served},
    probes::Probes,
    say,
    served::Served,
    story::Story,
    summary::conclude,
    workload::Chance,
};
use crate::cluster::dev_cluster::within;

/// Slow, so that copies are under way for some seconds; small files, so that what waits is in segments.
const SETTINGS: &str = "copy_bytes_per_second = \"2 MiB\"\n[storage]\nwal_file_bytes = \"8 MiB\"\n\
                        wal_budget_bytes = \"32 MiB\"\nsegment_bytes = \"8 MiB\"\n";
const FILLED_BYTES: u64 = 24 << 20;
const BULK_QUEUES: usize = 2 * SHARDS as usize;
const NODES: u16 = 3;
const EVEN_WITHIN: Duration = Duration::from_secs(300);
const PATIENT: Duration = Duration::from_secs(10);
/// A copy is under way when so much of it has come, and far from its end.
const BEGUN_BYTES: u64 = 1 << 20;
const KILLS: u64 = 4;

/// Each round empties a disk and kills four times.
pub(crate) fn kill_while_copying(name: &'static str, rounds: u64) {
    let _turn = beside_others();
    let folder = folder();
    let story = Story::with_bulk(name, rounds, BULK_QUEUES);
    let mut chance = Chance::new(story.load.seed);
    let mut fleet = Fleet::start(folder.path(), NODES, NODES, SETTINGS);
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    story.fill(&fleet, FILLED_BYTES);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    let running = story.run(&fleet);
    probes.go(0);
    for _ in 0..story.rounds() {
        let began = story.load.recorder.now();
        let receiver = u16::try_from(1 + chance.below(NODES.into())).unwrap();
        fleet.kill(receiver);
        fleet.renew(receiver);
        let renewed = Instant::now();
        let mut kills = Vec::new();
        for turn in 0..KILLS {
            let begun = || fleet.copied_to(receiver) > BEGUN_BYTES;
            let is_whole = || fleet.wait_until_whole(Duration::ZERO).is_ok();
            assert!(
                within(EVEN_WITHIN, || begun() || is_whole()),
                "{}",
                fleet.logs()
            );
            if is_whole() {
                break;
            }
            let sender = 1 + (receiver + u16::try_from(chance.below(2)).unwrap()) % NODES;
            let victim = if turn % 2 == 0 { receiver } else { sender };
            let fell = Instant::now();
            fleet.kill(victim);
            thread::sleep(Duration::from_millis(chance.below(1_000)));
            fleet.begin(victim);
            wait_until_served(&fleet, &probes, fell);
            kills.push(victim);
        }
        fleet.wait_until_even(&fleet.running_numbers(), EVEN_WITHIN);
        fleet.wait_until_whole(EVEN_WITHIN).unwrap();
        say(&format!(
            "node {receiver} was made again; killed meanwhile: {kills:?}; three copies of everything {:.1?} after it \
             had joined",
            renewed.elapsed()
        ));
        note_outage(&story.load, began, &story.queues());
        assert!(!kills.is_empty(), "copies were too fast to be disturbed");
    }
    running.join();
    probes.rest();
    conclude(story, Some(probes), &fleet);
}

#[test]
#[ignore = "by command: scripts/chaos copying"]
fn copies_come_to_their_end_though_both_sides_are_killed() {
    kill_while_copying("copying", 1);
}
