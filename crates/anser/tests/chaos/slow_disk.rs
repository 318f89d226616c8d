//! A node whose disk becomes slow leads nothing for long, and leads again when its disk is well (R1).

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    alone, folder,
    node_faults::Stage,
    node_kill::{NODES, led},
    say, skipped,
    strace::Strace,
};
use crate::cluster::dev_cluster::within;

/// What each sync takes longer, in the words of strace: 300 ms.
const SLOW: &str = "inject=fdatasync:delay_enter=300000";
const PATIENT: Duration = Duration::from_secs(10);
/// The rule is 10 s; a machine that others use too gets more.
const MOVED_WITHIN: Duration = Duration::from_secs(30);
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn leaders_leave_a_node_with_a_slow_disk_and_come_back() {
    let _turn = alone();
    let folder = folder();
    let stage = Stage::new(folder.path(), "slow_disk", 1, PATIENT);
    let running = stage.story.run(&stage.cluster);
    stage.probes.go(0);
    let led_by = |node: u16| stage.cluster.status(node).map(|status| led(&status).len());
    let victim = (1..=NODES).max_by_key(|&node| led_by(node));
    let victim = victim.expect("there are nodes");
    let before = led_by(victim);
    assert!(before > Some(0), "{}", stage.cluster.logs());

    let process = stage.cluster.process(victim);
    let strace = match Strace::attach(process, folder.path(), &["trace=fdatasync", SLOW]) {
        Ok(strace) => strace,
        Err(why) => return skipped("slow disk", &why),
    };
    let began = Instant::now();
    let left = within(MOVED_WITHIN, || led_by(victim) == Some(0));
    let took = began.elapsed();
    assert!(left, "{:?}; {}", led_by(victim), stage.cluster.logs());
    let quiet = Instant::now();
    thread::sleep(WATCHED);
    assert_eq!(led_by(victim), Some(0), "{}", stage.cluster.logs());
    let slowest = stage.probes.gaps(quiet).into_iter().max();
    drop(strace.finish());

    let well = Instant::now();
    let back = within(MOVED_WITHIN, || led_by(victim) > Some(2));
    assert!(back, "{:?}; {}", led_by(victim), stage.cluster.logs());
    say(&format!(
        "with 300 ms more for each sync it gave {} leaders away in {took:.1?}; then the longest gap of any shard \
         was {:.0?}; it led again {:.1?} after its disk was well",
        before.unwrap_or_default(),
        slowest.unwrap_or_default(),
        well.elapsed(),
    ));
    running.join();
    stage.finish();
}
