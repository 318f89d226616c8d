//! Shards that leave the disk, and come again.

use std::{io, sync::mpsc, thread, time::Duration};

use anser_log::{
    Change, Error, HardState, Kept, Log,
    disk::simulated::{Fault, FaultPoint, SimulatedDisk, Times},
};

use super::{ahead, bodies, content, entries, import_all, kept, open, paths, quiet, state};
use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
    hooked::HookedDisk,
};

#[test]
fn a_forgotten_shard_stays_forgotten() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let mut batch = vec![plain_write(1, 1..=20, 100), plain_write(2, 1..=1, 9)];
    batch.push(quiet(3, state(4, 1)));
    opened.appender.append(&batch).unwrap();
    compact_all(&opened, 1, 1, 9).unwrap();
    let written = disk.bytes_written();
    opened.store.forget(9, 5, false).unwrap();
    assert_eq!(disk.bytes_written(), written);
    opened.store.forget(1, 20, false).unwrap();
    opened.store.forget(3, 20, false).unwrap();
    assert_eq!(
        tombstones(&disk),
        [(1, state(1, 2), 20), (3, state(4, 1), 0)]
    );
    assert_eq!(paths(&disk), [] as [&str; 0]);
    // New files begin with the hard states of all shards, old ones are used again.
    for index in 2..=60 {
        assert_eq!(
            tombstones(&disk),
            [(1, state(1, 2), 20), (3, state(4, 1), 0)]
        );
        let write = plain_write(2, index..=index, 500);
        opened.appender.append(&[write]).unwrap();
        if index % 20 == 0 {
            let due = opened.store.due_all().unwrap();
            assert!(due.shards.iter().all(|due| due.shard == 2));
            let covered = opened.reader.snapshot(2).unwrap();
            let covered = covered.map_or(0, |(info, _)| info.index);
            compact_all(&opened, 2, covered + 1, due.shards[0].last_index).unwrap();
            opened.store.recycle(due).unwrap();
        }
    }
    assert_eq!(opened.reader.first_index(1), 1);
    assert!(matches!(
        opened.reader.read(1, 3),
        Err(Error::Missing { .. })
    ));
}

/// The shards that the disk has nothing of but what they promised, and their floors.
fn tombstones(disk: &SimulatedDisk) -> Vec<(u16, HardState, u64)> {
    let shards = open(disk).shards.into_iter();
    let tombstones = shards.filter(|shard| shard.last_index == 0);
    tombstones
        .map(|shard| (shard.shard, shard.hard_state, shard.floor))
        .collect()
}

/// A copy that was begun before the shard was forgotten may lack what its replica acknowledged later.
#[test]
fn a_state_from_before_a_shard_was_forgotten_is_refused() {
    let (there, _) = ahead();
    let export = there.store.export(1).unwrap();
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let mut write = plain_write(1, 1..=41, 10);
    write.hard_state = Some(state(7, 2));
    opened.appender.append(&[write]).unwrap();
    opened.store.forget(1, 41, false).unwrap();
    let imported = import_all(&opened, &export);
    let refused = opened.store.install(1, &imported);
    assert!(matches!(refused, Err(Error::Refused { shard: 1, .. })));
    assert_eq!(tombstones(&disk), [(1, state(7, 2), 41)]);
    // What was forgotten twice keeps the floor of the time when something was there.
    opened.store.forget(1, 99, false).unwrap();
    assert_eq!(tombstones(&disk), [(1, state(7, 2), 41)]);
}

#[test]
fn a_forgotten_shard_comes_again() {
    let (there, expected) = ahead();
    let export = there.store.export(1).unwrap();
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=50, 10), plain_write(2, 1..=1, 9)])
        .unwrap();
    compact_all(&opened, 1, 1, 45).unwrap();
    opened.store.forget(1, 40, false).unwrap();
    let late = opened.appender.append(&[entries(1, 51..=51, 1)]);
    assert!(matches!(late, Err(Error::Gap { expected: 1, .. })));
    let snapshot = opened.store.begin_snapshot(1, 46, 1).unwrap();
    let snapshot = Some(snapshot.finish().unwrap());
    let late = Change {
        snapshot,
        ..Change::default()
    };
    assert!(matches!(
        opened.store.commit(1, late),
        Err(Error::Overtaken { shard: 1 })
    ));

    opened.appender.append(&[quiet(1, state(2, 1))]).unwrap();
    let found = open(&disk).shards[0];
    assert_eq!((found.snapshot, found.last_index), (None, 0));
    assert_eq!(found.hard_state, state(2, 1));
    let imported = import_all(&opened, &export);
    opened.store.install(1, &imported).unwrap();
    assert_eq!(open(&disk).shards[0].last_index, 40);
    opened.appender.append(&[entries(1, 41..=43, 9)]).unwrap();
    for opened in [&opened, &open(&disk)] {
        assert_eq!(content(opened), expected);
        assert_eq!(kept(opened), bodies(40));
        assert_eq!(opened.reader.terms(1), [(41, 9)]);
    }
    let found = open(&disk).shards[0];
    assert_eq!((found.hard_state.term, found.hard_state.vote), (7, 0));
}

/// A new log file begins with all hard states: one that is on its way to the disk while a shard is
/// forgotten does not bring the shard back.
#[test]
fn forgetting_waits_for_a_log_file_that_is_being_begun() {
    let disk = SimulatedDisk::default();
    let hooked = HookedDisk::new(disk.clone());
    let mut opened = Log::open(hooked.clone(), small_options()).unwrap();
    opened.appender.append(&[quiet(1, state(4, 1))]).unwrap();
    opened.store.prepare_files().unwrap();
    let store = opened.store.clone();
    let (sender, forgotten) = mpsc::channel();
    hooked.before_next_write(move || {
        let forgetting = thread::spawn(move || store.forget(1, 1, false).unwrap());
        // Time enough to do it, if nothing holds it up.
        thread::sleep(Duration::from_millis(100));
        sender.send(forgetting).unwrap();
    });
    opened
        .appender
        .append(&[plain_write(2, 1..=1, 3500)])
        .unwrap();
    forgotten.recv().unwrap().join().unwrap();
    assert_eq!(tombstones(&disk), [(1, state(4, 1), 0)]);
}

/// A full disk leaves a shard that was to be forgotten as it was.
#[test]
fn a_shard_that_cannot_be_forgotten_stays_whole() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=9, 100)])
        .unwrap();
    compact_all(&opened, 1, 1, 9).unwrap();
    disk.inject(Fault {
        point: FaultPoint::Create,
        path_part: "manifest".to_owned(),
        skip: 0,
        times: Times::Once,
        kind: io::ErrorKind::StorageFull,
    });
    assert!(matches!(
        opened.store.forget(1, 9, false),
        Err(Error::NoSpace { .. })
    ));
    let expected = Kept {
        index: 9,
        term: 1,
        payload: plain_write(1, 9..=9, 100).entries[0].data.clone(),
    };
    for opened in [&opened, &open(&disk)] {
        let kept = opened.reader.kept(1, 9, 9, 999).unwrap();
        assert_eq!(kept, std::slice::from_ref(&expected));
        assert_eq!(opened.reader.terms(1), [(1, 1)]);
    }
}

/// Somebody may want to look at it; but not at more than a disk can bear.
#[test]
fn what_is_damaged_is_set_aside_and_the_oldest_of_it_goes_first() {
    let disk = SimulatedDisk::default();
    let set_aside = || -> Vec<String> {
        let paths = disk.paths().into_iter();
        paths.filter(|path| path.ends_with(".damaged")).collect()
    };
    let mut opened = open(&disk);
    let mut seen = Vec::new();
    for round in 1..=70 {
        // Each time the shard comes again, by a copy of its own state.
        opened
            .appender
            .append(&[plain_write(1, 1..=1, 100)])
            .unwrap();
        compact_all(&opened, 1, 1, 1).unwrap();
        opened.store.forget(1, 1, true).unwrap();
        for path in set_aside() {
            if !seen.contains(&path) {
                seen.push(path);
            }
        }
        assert!(set_aside().len() <= 64, "in round {round}");
    }
    let mut newest = seen.split_off(seen.len() - 64);
    newest.sort();
    assert_eq!(set_aside(), newest);
    drop(opened);
    open(&disk);
    assert_eq!(set_aside(), newest, "a start leaves them");
}
