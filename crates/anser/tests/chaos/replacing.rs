//! A node is gone for good: its copies are made again on others, without anybody asking, but not before
//! its grace time has ended.

use std::{
    thread,
    time::{Duration, Instant},
};

use anser::cluster::view::Cluster;

use super::{
    beside_others,
    fleet::{Fleet, Watched, copies},
    folder,
    node_kill::{SHARDS, note_outage, wait_until_served},
    probes::Probes,
    say,
    served::Served,
    story::{QUEUES, Story},
    summary::conclude,
};

const FILLED_BYTES: u64 = 24 << 20;
const BULK_QUEUES: usize = 2 * SHARDS as usize;
const GRACE: Duration = Duration::from_secs(8);
const SETTINGS: &str = "grace_seconds = 8\n[storage]\nwal_file_bytes = \"8 MiB\"\n\
                        wal_budget_bytes = \"32 MiB\"\nsegment_bytes = \"8 MiB\"\n";
const NODES: u16 = 4;
const EVEN_WITHIN: Duration = Duration::from_secs(300);
const PATIENT: Duration = Duration::from_secs(10);

#[test]
fn a_node_that_is_gone_is_replaced_after_its_grace() {
    let _turn = beside_others();
    let folder = folder();
    let story = Story::with_bulk("replacing", 1, BULK_QUEUES);
    let mut fleet = Fleet::start(folder.path(), NODES, NODES, SETTINGS);
    let all = [1, 2, 3, 4];
    fleet.wait_until_even(&all, EVEN_WITHIN);
    story.create_queues(&fleet);
    let filled = story.fill(&fleet, story.rounds() * FILLED_BYTES);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    let began = story.load.recorder.now();
    let running = story.run(&fleet);
    let victim = most_led(&fleet);
    probes.go(victim);
    thread::sleep(Duration::from_secs(1));

    come_back_in_time(&mut fleet, victim, &all);

    let left: Vec<u64> = all
        .into_iter()
        .filter(|&node| node != u64::from(victim))
        .collect();
    let before = fleet.view();
    let lost = copies(&before, &all)[&victim.into()];
    let fell = Instant::now();
    fleet.kill(victim);
    let copied = fleet.copied_bytes();
    wait_until_served(&fleet, &probes, fell);
    let outage = probes.gaps(fell).into_iter().max().unwrap();
    let waited = fell.elapsed();
    let Watched {
        took, first, begun, ..
    } = fleet.wait_until_even(&left, EVEN_WITHIN);
    let first = waited + first.expect("something has moved");
    let copied = fleet.copied_bytes() - copied;
    say(&format!(
        "node {victim} with {lost} of 48 copies killed: longest gap {outage:.0?}, first move after {first:.1?}, three \
         copies of everything after {:.1?}; {} copies begun, {copied} bytes of {} that it had",
        waited + took,
        begun.len(),
        filled * lost as u64 / u64::from(SHARDS),
    ));
    // It was heard for the last time up to half a second before.
    let early = first + Duration::from_secs(1) < GRACE;
    assert!(!early, "moved after {first:?}; {}", fleet.logs());
    running.join();
    probes.rest();
    note_outage(&story.load, began, &QUEUES);
    say(&format!(
        "failed requests: {}; of probes: {}",
        story.load.failures,
        probes.failures()
    ));
    conclude(story, Some(probes), &fleet);
}

/// Away for less than the grace time: it finds its copies as they were, and nothing was made again.
fn come_back_in_time(fleet: &mut Fleet, victim: u16, all: &[u64]) {
    /// A start may take longer than the grace time on a machine that others use too.
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let before = voters(&fleet.view());
        let fell = Instant::now();
        fleet.kill(victim);
        let copied = fleet.copied_bytes();
        thread::sleep(Duration::from_secs(1));
        fleet.begin(victim);
        let away = fell.elapsed();
        fleet.wait_until_even(all, EVEN_WITHIN);
        // Its last word may be half a second older than its end, and its first one as much younger.
        if away + Duration::from_secs(1) < GRACE {
            assert_eq!(voters(&fleet.view()), before, "{}", fleet.logs());
            assert_eq!(fleet.copied_bytes(), copied, "{}", fleet.logs());
            say(&format!(
                "node {victim} was away for {away:.1?}, and nothing moved"
            ));
            return;
        }
    }
    panic!("no start took less than the grace time; {}", fleet.logs());
}

fn voters(view: &Cluster) -> Vec<(u16, Vec<u64>)> {
    let voters = |shard: &anser::cluster::view::Shard| {
        let mut voters = shard.voters.clone();
        voters.sort_unstable();
        (shard.shard, voters)
    };
    view.shards.iter().map(voters).collect()
}

fn most_led(fleet: &Fleet) -> u16 {
    let view = fleet.view();
    let most = view.nodes.iter().max_by_key(|node| node.leaders);
    u16::try_from(most.expect("there are nodes").node).unwrap()
}
