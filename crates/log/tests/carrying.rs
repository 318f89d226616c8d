//! A shard that cannot apply its last entries holds up nobody: they are written again where the log ends.

use std::collections::BTreeMap;

use anser_log::{Error, Log, Opened, disk::simulated::SimulatedDisk};

use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
    model::Model,
};

fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), small_options()).unwrap()
}

/// Core review, finding 10: it did.
/// Shard 1 has entries that no majority has. Shard 2 goes on for many times the log's budget.
#[test]
fn a_shard_that_applies_nothing_does_not_pin_the_log_of_the_others() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let mut model = Model::default();
    let stuck = [plain_write(1, 1..=3, 200)];
    opened.appender.append(&stuck).unwrap();
    model.append(&stuck);
    let mut covered = 0;
    for index in 1..=200 {
        let write = [plain_write(2, index..=index, 500)];
        opened.appender.append(&write).unwrap();
        model.append(&write);
        let Some(due) = opened.store.due(&BTreeMap::new()) else {
            continue;
        };
        opened.store.carry_over(&BTreeMap::from([(1, 0)])).unwrap();
        if let Some(range) = due.shards.iter().find(|range| range.shard == 2) {
            compact_all(&opened, 2, covered + 1, range.last_index).unwrap();
            covered = range.last_index;
        }
        opened.store.recycle(due).unwrap();
        assert!(opened.store.wal_bytes_in_use() <= small_options().wal_budget_bytes);
    }
    assert!(covered > 150);
    drop(opened);
    let again = open(&disk);
    let found = again.reader.entries(1, 1, 4, u64::MAX).unwrap();
    assert_eq!(found, stuck[0].entries);
    assert_eq!(again.reader.terms(1), [(1, 1)]);
    // They can be replaced and followed like any others.
    opened = again;
    opened
        .appender
        .append(&[plain_write(1, 3..=5, 100)])
        .unwrap();
    let replaced = plain_write(1, 3..=5, 100).entries;
    let again = open(&disk);
    assert_eq!(again.reader.entries(1, 3, 9, u64::MAX).unwrap(), replaced);
}

#[test]
fn what_is_carried_leaves_a_snapshot_s_entries_where_they_are() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=9, 100)])
        .unwrap();
    opened
        .appender
        .append(&[plain_write(2, 1..=30, 500)])
        .unwrap();
    compact_all(&opened, 1, 1, 4).unwrap();
    compact_all(&opened, 2, 1, 30).unwrap();
    let due = opened.store.due_all().unwrap();
    assert!(matches!(
        opened.store.recycle(due.clone()),
        Err(Error::NotCovered { shard: 1, .. })
    ));
    opened.store.carry_over(&BTreeMap::from([(1, 4)])).unwrap();
    opened.store.recycle(due).unwrap();
    for opened in [&opened, &open(&disk)] {
        assert_eq!(opened.reader.first_index(1), 5);
        let entries = opened.reader.entries(1, 5, 10, u64::MAX).unwrap();
        assert_eq!(entries, plain_write(1, 5..=9, 100).entries);
    }
}

#[test]
fn what_fits_into_no_file_is_refused_and_nothing_is_written() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=9, 500)])
        .unwrap();
    let written = disk.bytes_written();
    let refused = opened.store.carry_over(&BTreeMap::from([(1, 0)]));
    assert!(matches!(
        refused,
        Err(Error::NotCovered {
            shard: 1,
            needed: 9,
            covered: 0
        })
    ));
    // A shard that is not here, and one with nothing behind the index, have nothing to carry.
    opened
        .store
        .carry_over(&BTreeMap::from([(1, 9), (7, 3)]))
        .unwrap();
    assert_eq!(disk.bytes_written(), written);
}

/// A full disk: nothing is lost, and what is carried takes one file.
#[test]
fn carrying_waits_for_room_and_takes_one_file() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let write = plain_write(1, 1..=6, 500);
    opened
        .appender
        .append(std::slice::from_ref(&write))
        .unwrap();
    let used = disk.used_bytes();
    disk.set_capacity(used + 1000);
    let refused = opened.store.carry_over(&BTreeMap::from([(1, 0)]));
    assert!(matches!(refused, Err(Error::NoSpace { .. })));
    let found = opened.reader.entries(1, 1, 7, u64::MAX).unwrap();
    assert_eq!(found, write.entries);
    disk.set_capacity(used + 4096 + 1000);
    opened.store.carry_over(&BTreeMap::from([(1, 0)])).unwrap();
    let due = opened.store.due_all().unwrap();
    assert_eq!(due.shards, []);
    opened.store.recycle(due).unwrap();
    assert_eq!(
        open(&disk).reader.entries(1, 1, 7, u64::MAX).unwrap(),
        write.entries
    );
}
