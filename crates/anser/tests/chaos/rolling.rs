//! Nodes that end in order and come back, one after the other: no client notices, if it knows all addresses and asks
//! another node where its connection is refused.

use std::{
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

const NODES: u16 = 3;
const EVEN_WITHIN: Duration = Duration::from_secs(120);
const PATIENT: Duration = Duration::from_secs(10);
/// Between two steps, to see what is usual.
const CALM: Duration = Duration::from_secs(1);

#[test]
fn no_request_fails_when_all_nodes_are_restarted_one_after_the_other() {
    let _turn = alone();
    let folder = folder();
    let story = Story::new("rolling", 1);
    let mut fleet = Fleet::start(folder.path(), NODES, NODES, "");
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    let began = story.load.recorder.now();
    let running = story.run(&fleet);
    probes.go(0);
    for _ in 0..story.rounds() {
        for node in 1..=NODES {
            thread::sleep(CALM);
            let from = Instant::now();
            fleet.stop(node);
            let ended = from.elapsed();
            fleet.begin(node);
            let serves = from.elapsed();
            fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
            let mut times = probes.times(from);
            times.sort_unstable();
            let p99 = times.get(times.len() * 99 / 100).copied();
            say(&format!(
                "node {node} ended in {ended:.1?}, served again after {serves:.1?}; {} sends, p99 {:.0?}, longest gap {:.0?}; \
                 failed requests: {}, {}",
                times.len(),
                p99.unwrap_or_default(),
                probes.gaps(from).into_iter().max().unwrap(),
                story.load.failures,
                probes.failures(),
            ));
        }
    }
    running.join();
    probes.rest();
    // A receive that was passed on to a node that ended may have been repeated.
    note_outage(&story.load, began, &QUEUES);
    let failures = [&story.load.failures, probes.failures()];
    let [(failed, broken), (probes_failed, probes_broken)] = failures.map(Failures::besides_broken);
    let ends = story.rounds() * u64::from(NODES);
    conclude(story, Some(probes), &fleet);
    let failed = [failed, probes_failed].concat();
    assert_eq!(failed, [""; 0], "{}", fleet.logs());
    // None on a quiet machine; on another one a client may be held up between its look and its request.
    let broken = broken + probes_broken;
    assert!(
        broken <= ends,
        "{broken} connections broke; {}",
        fleet.logs()
    );
    for node in fleet.running() {
        fleet.stop(node);
    }
}
