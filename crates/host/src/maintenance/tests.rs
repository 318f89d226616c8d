//! The work on the disk, round by round, on a simulated disk and beside shards that a test applies to.

mod mending;
mod repairing;
mod rig;

use std::collections::BTreeMap;

use anser_log::{Change, Error, disk::simulated::Operation};
use rig::{Rig, options};

/// The log goes round many times with what shards 0 to 2 do, and stays within its budget.
fn the_others_go_on(rig: &mut Rig) {
    let limits = options();
    let most = limits.wal_budget_bytes + limits.wal_file_bytes;
    for _ in 0..1_000 {
        (0..3).for_each(|shard| rig.consume(shard, 1_000));
        rig.round();
        assert!(rig.store.wal_bytes_in_use() <= most);
    }
}

/// Core review, finding 10: one such shard pinned the log of all until the disk was full.
/// A shard that has lost its quorum keeps an entry that is never applied. The log of all others goes on
/// within its budget, and on the space that the reserve has for it.
#[test]
fn a_shard_without_a_quorum_holds_up_no_other() {
    let mut rig = Rig::new(4);
    rig.send(3, 100);
    rig.append(3, 100);
    let capacity = rig.disk.used_bytes() + options().wal_budget_bytes + reserve();
    rig.disk.set_capacity(capacity);
    the_others_go_on(&mut rig);
    rig.apply_waiting(3);
    rig.consume(3, 100);
    assert_eq!(rig.bodies(3), [100, 100]);
    assert_eq!(rig.reopened().bodies(3), [100, 100]);
}

/// One that could not be opened held the log of all shards, until the disk was full: nobody could say what is alive in it.
#[test]
fn a_closed_shard_holds_up_no_other() {
    let mut rig = Rig::new(4);
    rig.send(3, 100);
    rig.append(3, 200);
    rig.apply_waiting(3);
    rig.snapshot(3);
    rig.send(3, 300);
    rig.fill(3, 400);
    rig.send(3, 500);
    rig.close(3);
    the_others_go_on(&mut rig);
    let log = rig.reopened_log();
    let it = log.shards[3];
    assert_eq!((it.shard, it.has_gap, it.damaged), (3, false, false));
    assert_eq!((it.first_index, it.last_index), (5, 7));
    let entries = log.reader.entries(3, 5, 8, u64::MAX);
    assert_eq!(entries.expect("they are there").len(), 3);
    assert_eq!(rig.bodies(3), [100, 200, 300, 500]);
}

/// What is behind a damaged entry of it can never be applied, and is given up: the manifest says so before, so that the shard does
/// not open without what it may have acknowledged.
#[test]
fn a_closed_shard_with_a_damaged_entry_holds_up_no_other_and_stays_closed() {
    for damaged in [5, 1] {
        let mut rig = Rig::new(4);
        rig.snapshot(3);
        let first = rig.image(3).applied.index + 1;
        (1..=6).for_each(|number| rig.send(3, 1_000 * number));
        let path = "wal/0000000000000001.wal";
        let content = rig.disk.contents().files[path].clone();
        let body = vec![b'x'; 1_000 * damaged];
        let at = content.windows(body.len()).position(|bytes| bytes == body);
        let at = at.expect("it is in the first file");
        // The length of each body is another, so the first stretch as long is its own.
        assert!(
            rig.disk
                .damage(path, |bytes| bytes[at + body.len() - 1] ^= 1)
        );
        rig.close(3);
        the_others_go_on(&mut rig);
        let it = rig.reopened_log().shards[3];
        assert_eq!((it.shard, it.lost), (3, true));
        assert_eq!(it.last_index, first + damaged as u64 - 2, "{it:?}");
    }
}

/// Core review, finding 10: each round wrote snapshots of all shards and freed nothing.
#[test]
fn a_shard_without_a_quorum_costs_nothing_while_nothing_is_written() {
    let mut rig = Rig::new(4);
    rig.append(3, 100);
    while rig.store.wal_bytes_in_use() <= options().wal_budget_bytes {
        (0..3).for_each(|shard| rig.consume(shard, 1_000));
    }
    (0..20).for_each(|_| rig.round());
    let before = (rig.maintenance.done.snapshots, rig.disk.bytes_written());
    (0..20).for_each(|_| rig.round());
    assert_eq!(
        (rig.maintenance.done.snapshots, rig.disk.bytes_written()),
        before
    );
}

/// Core review, finding 10: a shard whose log could not go was written at every round.
/// What is carried over needs no other snapshot than the one in front of it.
#[test]
fn a_snapshot_that_is_there_is_not_written_again() {
    let mut rig = Rig::new(2);
    rig.append(1, 100);
    let run = |rig: &mut Rig| {
        for _ in 0..200 {
            rig.consume(0, 1_000);
            rig.round();
        }
        (rig.store.snapshot(0), rig.store.snapshot(1))
    };
    let (busy, stuck) = run(&mut rig);
    let (busy_later, stuck_later) = run(&mut rig);
    assert_ne!(busy, busy_later);
    assert_eq!(stuck, stuck_later);
}

/// Core review, finding 14: they were never merged.
/// A few messages of each log file stay. However often the log goes round, few segments do.
#[test]
fn small_segments_become_few() {
    let mut rig = Rig::new(4);
    for round in 0..400 {
        for shard in 0..4 {
            rig.send(shard, 200);
            (0..5).for_each(|_| rig.fill(shard, 1_000));
        }
        rig.round();
        if round % 5 == 0 {
            rig.sweep();
        }
    }
    for shard in 0..4 {
        let segments = rig.store.segments(shard);
        assert!(segments.len() <= 16, "{segments:?}");
        assert_eq!(rig.bodies(shard), [200; 400]);
    }
    let reopened = rig.reopened();
    assert_eq!(reopened.bodies(3), [200; 400]);
}

/// Core review, finding 21: each shard took its own manifest and its own syncs.
/// However many shards there are, a round writes the manifest a few times.
#[test]
fn one_commit_is_enough_for_all_shards_of_a_round() {
    let mut rig = Rig::new(64);
    while rig.store.due(&BTreeMap::new()).is_none() {
        for shard in 0..64 {
            rig.send(shard, 300);
        }
    }
    rig.store.prepare_files().expect("there is room");
    rig.disk.record();
    rig.round();
    let operations = rig.disk.recorded();
    let is_manifest = |operation: &&Operation| matches!(operation, Operation::Rename { to, .. } if to == "manifest");
    // The commit, the files that go, and those that come again.
    assert_eq!(operations.iter().filter(is_manifest).count(), 3);
    assert_eq!(rig.bodies(63), vec![300; rig.bodies(0).len()]);
}

/// Core review, findings 13 and 30: sectors that cannot be read ended the node, and snapshots were never verified.
/// Also of a shard that nobody uses, and whatever the system has in its cache.
#[test]
fn damage_at_rest_is_found_wherever_it_is() {
    for part in [".segment", ".snapshot", ".wal"] {
        let mut rig = Rig::new(3);
        for _ in 0..400 {
            rig.send(1, 100);
            (0..2).for_each(|shard| rig.fill(shard, 1_000));
            rig.round();
        }
        assert_eq!(scrub(&mut rig), [""; 0]);
        let paths = rig.disk.paths().into_iter();
        let at_rest: Vec<String> = paths.filter(|path| path.contains(part)).collect();
        // The oldest, which is not being written.
        let path = at_rest.into_iter().next().expect("there is one");
        let flip = |bytes: &mut [u8]| bytes[100] ^= 1;
        assert!(rig.disk.damage(&path, flip));
        assert_eq!(scrub(&mut rig), [path.as_str()]);
        assert!(rig.disk.damage(&path, flip));
        assert_eq!(scrub(&mut rig), [""; 0]);
        assert!(rig.disk.spoil(&path, 100));
        assert_eq!(scrub(&mut rig), [path.as_str()]);
    }
}

/// Core review, finding 11: one rotten byte ended recycling, and in the end the whole cluster refused sends.
#[test]
fn a_message_that_cannot_be_read_holds_up_no_log() {
    let mut rig = Rig::new(3);
    rig.send(1, 3_000);
    let path = "wal/0000000000000001.wal";
    let content = rig.disk.contents().files[path].clone();
    let mut stretches = content.windows(3_000);
    let body = stretches.position(|bytes| bytes.iter().all(|&byte| byte == b'x'));
    let body = body.expect("it is in the first file");
    assert!(rig.disk.damage(path, |bytes| bytes[body] ^= 1));
    rig.send(1, 20);
    for _ in 0..2_000 {
        (0..3).for_each(|shard| rig.fill(shard, 1_000));
        rig.round();
    }
    let budget = options().wal_budget_bytes;
    assert!(rig.store.wal_bytes_in_use() < 2 * budget);
    let damaged = rig.maintenance.take_damaged();
    let [damage] = &damaged[..] else {
        panic!("it is told once: {damaged:?}")
    };
    let is_named = matches!(&damage.error, Error::Corrupt { file, .. } if file == path);
    assert!(is_named && damage.shard.0 == 1, "{damage:?}");
    // What could be read is kept, and the next start knows that something is missing.
    let known = rig.reopened_log().shards;
    let damaged = known.iter().filter(|shard| shard.damaged);
    assert_eq!(damaged.map(|shard| shard.shard).collect::<Vec<_>>(), [1]);
}

/// Its snapshot knows of messages that stood in a hole of the log. It was asked for a copy again and again, and held its log.
#[test]
fn what_stood_in_a_hole_is_not_waited_for() {
    let mut others = Rig::new(1);
    (0..3).for_each(|_| others.send(0, 100));
    let state = others.image(0);
    let live = state.shard.live_between(0, 100);
    let mut rig = Rig::new(1);
    let copied = rig.maintenance.copy(0, &live, &state);
    assert!(matches!(copied, Err(Error::Missing { .. })), "{copied:?}");
    let change = Change {
        damaged: true,
        ..Change::default()
    };
    rig.store.commit(0, change).expect("there is room");
    let copied = rig.maintenance.copy(0, &live, &state);
    let copied = copied.expect("what is missing is left out");
    assert!(copied.damaged && copied.segments.is_empty(), "{copied:?}");
}

/// The damaged files that a round over all that rests meets, and part of the next one.
fn scrub(rig: &mut Rig) -> Vec<String> {
    let mut damaged = Vec::new();
    for _ in 0..rig.disk.paths().len() * 2 {
        let of_nobody = rig.maintenance.scrub().expect("damage is passed over");
        let of_shards = rig.maintenance.take_damaged().into_iter();
        let found = of_shards.map(|damage| damage.error).chain(of_nobody);
        damaged.extend(found.map(|error| match error {
            Error::Corrupt { file, .. } | Error::Io { file, .. } => file,
            other => panic!("{other}"),
        }));
    }
    damaged.dedup();
    damaged
}

/// What freeing space on a full disk may take, as the configuration demands it of the reserve.
fn reserve() -> u64 {
    let options = options();
    2 * options.wal_file_bytes + options.wal_budget_bytes / 4 + options.segment_bytes
}
