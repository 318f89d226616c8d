//! A failing fsync: the server stops at once with its own exit code, and acknowledges nothing after it.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anser_check::Operation;

use super::{
    beside_others, folder, say, server, skipped, story::Story, strace::Strace, summary::conclude,
    workload::Chance,
};

/// `docs/operations.md`: a write or fsync of the storage failed and the node stopped.
const EXIT_STORAGE: i32 = 74;
const STOP_WITHIN: Duration = Duration::from_secs(20);
const ROUNDS: u64 = 3;

#[test]
fn a_failed_fsync_stops_the_server_and_loses_nothing() {
    let _turn = beside_others();
    let folder = folder();
    let place = server::place_in(folder.path());
    let story = Story::new("sync_failure", ROUNDS);
    let mut chance = Chance::new(story.load.seed);
    let mut server = place.start();
    story.create_queues(&server);
    for _ in 0..story.rounds() {
        let nth = 5 + chance.below(60);
        let rule = format!("inject=fdatasync:error=EIO:when={nth}");
        let strace = match Strace::attach(server.id(), folder.path(), &["trace=fdatasync", &rule]) {
            Ok(strace) => strace,
            Err(why) => return skipped("failing fsync", &why),
        };
        let zero = wall_zero(&story);
        let running = story.run(&server);
        let status = server.wait(STOP_WITHIN);
        let ended = story.load.recorder.now();
        let seen = strace.finish();
        assert!(
            status.is_some(),
            "fsync failed, the server goes on: {}",
            server.log_tail()
        );
        assert_eq!(
            status.unwrap().code(),
            Some(EXIT_STORAGE),
            "{}",
            server.log_tail()
        );
        running.join();
        let failed = failure_time(&seen).expect("strace made an fsync fail");
        let after = syncs_after_failure(&seen);
        assert_eq!(after, 0, "fsync was tried again after it failed: {seen}");
        let acknowledged = story.load.recorder.acknowledged_since(failed - zero);
        assert_eq!(
            acknowledged, 0,
            "sends that began after the failure were acknowledged"
        );
        say(&format!(
            "fsync {nth} failed, the server ended with {EXIT_STORAGE}"
        ));
        server = place.start();
        story.load.recorder.add(0, "", ended, Operation::Outage);
    }
    assert_eq!(story.load.round.load(Ordering::Relaxed), story.rounds());
    thread::sleep(Duration::from_millis(10));
    conclude(story, None, &server);
    server.stop();
}

/// The wall clock's time in nanoseconds when the recorder's was zero. strace writes wall times.
fn wall_zero(story: &Story) -> u64 {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    u64::try_from(wall.as_nanos()).expect("before 2554") - story.load.recorder.now()
}

/// When the failure was there, on the wall clock.
fn failure_time(seen: &str) -> Option<u64> {
    let line = seen.lines().find(|line| line.contains("EIO"))?;
    let seconds: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(
        Duration::from_secs_f64(seconds)
            .as_nanos()
            .try_into()
            .expect("before 2554"),
    )
}

/// Syncs that began after the one that failed had returned.
fn syncs_after_failure(seen: &str) -> usize {
    let after = seen
        .lines()
        .skip_while(|line| !line.contains("EIO"))
        .skip(1);
    after.filter(|line| line.contains(" fdatasync(")).count()
}
