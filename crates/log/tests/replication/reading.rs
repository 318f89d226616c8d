//! What a replica reads of its log: terms, kinds, the entries of one moment.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anser_log::{
    Change, Entry, EntryKind, Error, Log, SnapshotOrigin, Write, disk::simulated::SimulatedDisk,
};
use bytes::Bytes;

use super::{entries, open, quiet, state};
use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
    hooked::HookedDisk,
};

#[test]
fn terms_and_the_first_index_tell_what_the_log_holds() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    assert_eq!(opened.reader.first_index(1), 1);
    assert_eq!(opened.reader.terms(1), []);
    for write in [
        entries(1, 1..=60, 1),
        entries(1, 61..=63, 2),
        entries(1, 62..=80, 4),
    ] {
        opened.appender.append(&[write]).unwrap();
    }
    let runs = [(1, 1), (61, 2), (62, 4)];
    assert_eq!(opened.reader.terms(1), runs);
    assert_eq!(open(&disk).reader.terms(1), runs);

    let due = opened.store.due_all().unwrap();
    let last = due.shards[0].last_index;
    assert!((2..60).contains(&last));
    compact_all(&opened, 1, 1, last).unwrap();
    assert_eq!(opened.reader.first_index(1), 1);
    opened.store.recycle(due).unwrap();
    for opened in [&opened, &open(&disk)] {
        assert_eq!(opened.reader.first_index(1), last + 1);
        assert_eq!(opened.reader.terms(1), [(last + 1, 1), (61, 2), (62, 4)]);
    }

    // A snapshot from a peer voids all of them.
    let snapshot = opened.store.begin_snapshot(1, 100, 9).unwrap();
    let change = Change {
        snapshot: Some(snapshot.finish().unwrap()),
        origin: SnapshotOrigin::Peer,
        ..Change::default()
    };
    opened.store.commit(1, change).unwrap();
    for opened in [&opened, &open(&disk)] {
        assert_eq!(opened.reader.first_index(1), 101);
        assert_eq!(opened.reader.terms(1), []);
        assert_eq!(opened.reader.term(1, 100).unwrap(), Some(9));
    }
    let covered = opened.appender.append(&[entries(1, 100..=101, 9)]);
    assert!(matches!(covered, Err(Error::Refused { shard: 1, .. })));
    opened.appender.append(&[entries(1, 101..=102, 9)]).unwrap();
    assert_eq!(open(&disk).reader.terms(1), [(101, 9)]);
}

/// A replica that voted, or began, before it was given a snapshot.
#[test]
fn a_shard_without_a_snapshot_comes_back() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let batch = [quiet(5, state(3, 2)), entries(6, 1..=2, 1)];
    opened.appender.append(&batch).unwrap();
    for _ in 0..2 {
        let opened = open(&disk);
        let [voted, begun] = opened.shards[..] else {
            panic!("{:?}", opened.shards)
        };
        assert_eq!((voted.shard, begun.shard), (5, 6));
        assert_eq!(
            (voted.snapshot, voted.first_index, voted.last_index),
            (None, 1, 0)
        );
        assert_eq!(voted.hard_state, state(3, 2));
        assert_eq!(
            (begun.snapshot, begun.first_index, begun.last_index),
            (None, 1, 2)
        );
        assert_eq!(opened.reader.entries(6, 1, 3, 99).unwrap().len(), 2);
        assert!(matches!(opened.store.export(5), Err(Error::Missing { .. })));
    }
}

#[test]
fn kinds_come_back_whatever_the_data() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let kinds = [EntryKind::Normal, EntryKind::Change, EntryKind::ChangeV2];
    let entries: Vec<Entry> = (1..)
        .zip(kinds)
        .map(|(index, kind)| Entry {
            index,
            term: 1,
            kind,
            data: Bytes::from_static(b"\xff\xffno protobuf\xff"),
        })
        .collect();
    let write = Write {
        shard: 1,
        hard_state: None,
        entries: entries.clone(),
    };
    opened.appender.append(&[write]).unwrap();
    assert_eq!(open(&disk).reader.entries(1, 1, 4, 999).unwrap(), entries);
}

/// Old and new entries of the same indexes are never given as one sequence.
#[test]
fn entries_are_those_of_one_moment() {
    let mut opened = open(&SimulatedDisk::default());
    opened.appender.append(&[entries(1, 1..=9, 1)]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (reader, done) = (opened.reader.clone(), &done);
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                let found = reader.entries(1, 1, 10, u64::MAX).unwrap();
                assert_eq!(found.len(), 9);
                for entry in &found {
                    assert_eq!(entry.term, found[0].term);
                    assert_eq!(entry.data, format!("{} of {}", entry.index, entry.term));
                }
            }
        });
        for term in 2..2000 {
            opened.appender.append(&[entries(1, 1..=9, term)]).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn entries_that_are_being_recycled_are_right_or_refused() {
    let mut opened = open(&SimulatedDisk::default());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (reader, done) = (opened.reader.clone(), &done);
        let compacted = scope.spawn(move || {
            let (mut compacted, mut from) = (0, 1);
            while !done.load(Ordering::Acquire) || compacted == 0 {
                match reader.entries(1, from, from + 20, 1500) {
                    Ok(found) => {
                        for (entry, index) in found.iter().zip(from..) {
                            let expected = plain_write(1, index..=index, 200).entries.remove(0);
                            assert_eq!(entry, &expected);
                        }
                        from = 1 + (from + 7) % 400;
                    }
                    Err(Error::Compacted { first, .. }) => {
                        assert!(first > from);
                        (compacted, from) = (compacted + 1, first);
                    }
                    Err(Error::Missing { .. }) => from = 1,
                    Err(error) => panic!("{error}"),
                }
            }
            compacted
        });
        let mut covered = 0;
        for index in (1..=400).step_by(4) {
            let write = plain_write(1, index..=index + 3, 200);
            opened.appender.append(&[write]).unwrap();
            if let Some(due) = opened.store.due(&BTreeMap::new()) {
                compact_all(&opened, 1, covered + 1, due.shards[0].last_index).unwrap();
                covered = due.shards[0].last_index;
                opened.store.recycle(due).unwrap();
            }
        }
        done.store(true, Ordering::Release);
        assert!(compacted.join().unwrap() > 0);
    });
}

/// The file is recycled and holds other entries of the same shard when the reader, which has looked
/// up the place, comes to read it.
#[test]
fn an_entry_whose_file_was_used_again_is_not_taken_for_another() {
    let disk = SimulatedDisk::default();
    let hooked = HookedDisk::new(disk);
    let mut opened = Log::open(hooked.clone(), small_options()).unwrap();
    for index in 1..=20 {
        let write = plain_write(1, index..=index, 500);
        opened.appender.append(&[write]).unwrap();
    }
    let reader = opened.reader.clone();
    assert_eq!(reader.entries(1, 1, 3, 9999).unwrap().len(), 2);
    let due = opened.store.due_all().unwrap();
    let last = due.shards[0].last_index;
    compact_all(&opened, 1, 1, last).unwrap();
    hooked.before_next_read(move || {
        opened.store.recycle(due).unwrap();
        for index in 21..=60 {
            let write = plain_write(1, index..=index, 500);
            opened.appender.append(&[write]).unwrap();
        }
    });
    let refused = reader.entries(1, 1, 3, 9999);
    assert!(
        matches!(refused, Err(Error::Compacted { first, .. }) if first == last + 1),
        "{refused:?}"
    );
}
