//! Power loss under load: the disk loses everything that was not synced, then everything starts again.

use std::{thread, time::Duration};

use anser_check::{Operation, Rule};

use super::{
    beside_others,
    disk::{Disk, lose_power},
    folder, say, server, skipped,
    story::Story,
    strace::Strace,
    summary::conclude,
    workload::Chance,
};

const ROUNDS: u64 = 5;
const DISK_MEBIBYTES: u64 = 256;
/// Small files, so that they are recycled and segments written while the power goes.
const STORAGE: &str = "shards = 4\nwal_file_bytes = \"8MiB\"\nwal_budget_bytes = \"32MiB\"\n\
                       segment_bytes = \"2MiB\"\nreserve_bytes = \"26MiB\"";

#[test]
fn nothing_acknowledged_is_lost_by_power_loss() {
    let _turn = beside_others();
    let folder = folder();
    let mut disk = match Disk::new(folder.path(), DISK_MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return skipped("power loss", &why),
    };
    let mut place = server::place_in(folder.path());
    place.data = disk.path().join("data");
    place.storage = Some(STORAGE.to_owned());
    let story = Story::new("power_loss", ROUNDS);
    let mut chance = Chance::new(story.load.seed);
    let mut server = place.start();
    story.create_queues(&server);
    for round in 0..story.rounds() {
        let running = story.run(&server);
        thread::sleep(Duration::from_millis(300 + chance.below(2_500)));
        let died = story.load.recorder.now();
        if let Err(why) = lose_power(&[&disk]) {
            assert_eq!(round, 0, "the power could be taken before: {why}");
            server.kill();
            running.join();
            return skipped("power loss", &why);
        }
        // Clients still ask: whatever is acknowledged now must have been on the disk before.
        thread::sleep(Duration::from_millis(chance.below(100)));
        server.kill();
        running.join();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        server = place.start();
        story.load.recorder.add(0, "", died, Operation::Outage);
    }
    conclude(story, None, &server);
    server.stop();
    drop(disk);
}

/// The test of the test: with syncs that only pretend, power loss loses what was acknowledged, and the judge
/// says so. Otherwise the test above would prove nothing.
#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let _turn = beside_others();
    let folder = folder();
    let mut disk = match Disk::new(folder.path(), DISK_MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return skipped("lying disk", &why),
    };
    let mut place = server::place_in(folder.path());
    place.data = disk.path().join("data");
    place.storage = Some(STORAGE.to_owned());
    let story = Story::new("power_loss-lies", 1);
    let server = place.start();
    story.create_queues(&server);
    let lies = ["trace=fdatasync,fsync", "inject=fdatasync,fsync:retval=0"];
    let strace = match Strace::attach(server.id(), folder.path(), &lies) {
        Ok(strace) => strace,
        Err(why) => return skipped("lying disk", &why),
    };
    let running = story.run(&server);
    thread::sleep(Duration::from_secs(2));
    let died = story.load.recorder.now();
    if let Err(why) = lose_power(&[&disk]) {
        return skipped("lying disk", &why);
    }
    server.kill();
    drop(strace);
    running.join();
    disk.unmount().unwrap();
    disk.mount().unwrap();
    let server = match place.try_start() {
        Ok(server) => server,
        Err(words) => return say(&format!("found out at the start: {words}")),
    };
    story.load.recorder.add(0, "", died, Operation::Outage);
    let report = story.finish(&server);
    server.stop();
    drop(disk);
    assert!(
        report.count(Rule::Loss) > 0,
        "nothing was lost by a disk that syncs nothing: {report}"
    );
}
