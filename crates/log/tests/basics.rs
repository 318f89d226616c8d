//! What a log does when nothing goes wrong.

use std::collections::BTreeMap;

use anser_log::{
    Change, Entry, EntryKind, Error, FileSystem, HardState, Log, Opened, Options, Stored, Write,
    disk::simulated::SimulatedDisk,
};
use bytes::Bytes;

use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
    model::Model,
};

fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), small_options()).unwrap()
}

#[test]
fn a_new_disk_is_an_empty_log() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    assert!(opened.shards.is_empty());
    assert_eq!(
        (opened.report.torn_tail, opened.report.suspect),
        (None, false)
    );
    assert_eq!(opened.reader.term(3, 1).unwrap(), None);
    assert!(matches!(
        opened.reader.entries(3, 1, 2, 100),
        Err(Error::Missing { .. })
    ));
    assert!(open(&disk).shards.is_empty());
}

#[test]
fn entries_of_several_shards_come_back_in_order() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let mut model = Model::default();
    for batch in [
        vec![plain_write(1, 1..=3, 100), plain_write(2, 1..=1, 0)],
        vec![plain_write(2, 2..=5, 50)],
        vec![
            plain_write(1, 4..=4, 700),
            plain_write(0, 1..=2, 9),
            plain_write(1, 5..=6, 3),
        ],
    ] {
        opened.appender.append(&batch).unwrap();
        model.append(&batch);
    }
    let all = opened.reader.entries(1, 1, 7, u64::MAX).unwrap();
    assert_eq!(all.len(), 6);
    assert_eq!(opened.reader.entries(1, 1, 7, 250).unwrap().len(), 2);
    assert_eq!(opened.reader.entries(1, 4, 7, 1).unwrap().len(), 1);
    assert!(opened.reader.entries(1, 4, 4, 1).unwrap().is_empty());
    model.compare(&open(&disk)).unwrap();
}

#[test]
fn an_entry_at_a_known_index_replaces_it_and_all_after_it() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let entry = |index, term| Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::from(format!("{index} of {term}")),
    };
    let write = |entries| {
        vec![Write {
            shard: 1,
            hard_state: None,
            entries,
        }]
    };
    opened
        .appender
        .append(&write((1..=9).map(|index| entry(index, 1)).collect()))
        .unwrap();
    opened
        .appender
        .append(&write(vec![entry(4, 2), entry(5, 2)]))
        .unwrap();
    for opened in [&opened, &open(&disk)] {
        let found = opened.reader.entries(1, 1, 99, u64::MAX).unwrap();
        let terms: Vec<u64> = found.iter().map(|entry| entry.term).collect();
        assert_eq!(terms, [1, 1, 1, 2, 2]);
        assert_eq!(opened.reader.term(1, 6).unwrap(), None);
    }
}

#[test]
fn a_gap_and_a_body_too_large_are_refused_and_change_nothing() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=2, 10)])
        .unwrap();
    let written = disk.bytes_written();
    let gap = opened
        .appender
        .append(&[plain_write(1, 4..=4, 10)])
        .unwrap_err();
    assert!(
        matches!(
            gap,
            Error::Gap {
                shard: 1,
                expected: 3,
                found: 4
            }
        ),
        "{gap}"
    );
    let gap = opened
        .appender
        .append(&[plain_write(2, 2..=2, 10)])
        .unwrap_err();
    assert!(
        matches!(
            gap,
            Error::Gap {
                shard: 2,
                expected: 1,
                found: 2
            }
        ),
        "{gap}"
    );
    let large = opened
        .appender
        .append(&[plain_write(1, 3..=3, 5000)])
        .unwrap_err();
    let Error::TooLarge { limit, .. } = large else {
        panic!("{large}")
    };
    assert_eq!(disk.bytes_written(), written);
    let limit = usize::try_from(limit).unwrap();
    opened
        .appender
        .append(&[plain_write(1, 3..=3, limit)])
        .unwrap();
    assert_eq!(open(&disk).shards[0].last_index, 3);
}

#[test]
fn a_batch_larger_than_a_file_goes_into_several() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let batch = [plain_write(1, 1..=30, 900), plain_write(2, 1..=30, 10)];
    opened.appender.append(&batch).unwrap();
    let mut model = Model::default();
    model.append(&batch);
    model.compare(&open(&disk)).unwrap();
    assert!(opened.store.wal_bytes_in_use() > 7 * 4096);
}

#[test]
fn a_vote_outlives_the_files_it_was_written_to() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let vote = HardState {
        term: 9,
        vote: 3,
        commit: 0,
    };
    let quiet = Write {
        shard: 7,
        hard_state: Some(vote),
        entries: Vec::new(),
    };
    opened.appender.append(&[quiet]).unwrap();
    for index in 1..=40 {
        opened
            .appender
            .append(&[plain_write(1, index..=index, 500)])
            .unwrap();
    }
    let due = opened.store.due_all().unwrap();
    assert!(matches!(
        opened.store.recycle(due.clone()),
        Err(Error::NotCovered { .. })
    ));
    compact_all(&opened, 1, 1, due.shards[0].last_index).unwrap();
    opened.store.recycle(due).unwrap();
    let again = open(&disk);
    assert_eq!(
        (again.shards[1].shard, again.shards[1].hard_state),
        (7, vote)
    );
}

#[test]
fn recycled_entries_are_read_from_segments() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    for index in 1..=40 {
        opened
            .appender
            .append(&[plain_write(1, index..=index, 500)])
            .unwrap();
    }
    let due = opened.store.due(&BTreeMap::new()).unwrap();
    let last = due.shards[0].last_index;
    compact_all(&opened, 1, 1, last).unwrap();
    assert!(matches!(opened.reader.read(1, 1), Ok(Stored::Entry(_))));
    opened.store.recycle(due).unwrap();
    for opened in [&opened, &open(&disk)] {
        let Ok(Stored::Kept(kept)) = opened.reader.read(1, 1) else {
            panic!("entry 1 is kept")
        };
        assert_eq!(kept.payload, plain_write(1, 1..=1, 500).entries[0].data);
        let compacted = opened.reader.entries(1, last, last + 2, 1).unwrap_err();
        assert!(matches!(compacted, Error::Compacted { first, .. } if first == last + 1));
        assert_eq!(
            opened
                .reader
                .entries(1, last + 1, 41, u64::MAX)
                .unwrap()
                .len() as u64,
            40 - last
        );
        assert_eq!(opened.reader.term(1, last).unwrap(), Some(1));
    }
}

/// A body that dies before its file's turn is written once; the files are used again and again.
#[test]
fn dead_entries_are_never_copied_and_files_are_used_again() {
    let disk = SimulatedDisk::default();
    let options = Options {
        wal_file_bytes: 64 << 10,
        wal_budget_bytes: 256 << 10,
        ..small_options()
    };
    let mut opened = Log::open(disk.clone(), options).unwrap();
    let (mut bodies, mut rounds) = (0, 0);
    for batch in 0..400 {
        let first = batch * 20 + 1;
        opened
            .appender
            .append(&[plain_write(1, first..=first + 19, 700)])
            .unwrap();
        bodies += 20 * 700;
        if let Some(due) = opened.store.due(&BTreeMap::new()) {
            let through = due.shards[0].last_index;
            let snapshot = opened
                .store
                .begin_snapshot(1, through, 1)
                .unwrap()
                .finish()
                .unwrap();
            let change = Change {
                snapshot: Some(snapshot),
                ..Change::default()
            };
            opened.store.commit(1, change).unwrap();
            opened.store.recycle(due).unwrap();
            rounds += 1;
        }
    }
    assert!(rounds > 80, "{rounds}");
    assert_eq!(opened.store.segment_bytes(), 0);
    let files = disk.contents().files;
    assert!(
        files
            .keys()
            .filter(|path| path.starts_with("wal/0"))
            .count()
            <= 7
    );
    // Headers, the rest of the last page of each batch, the first zeros of the files, manifests and snapshots.
    let amplification = disk.bytes_written() * 100 / bodies;
    assert!(amplification < 140, "{amplification} %");
}

#[test]
fn a_commit_that_contradicts_the_shard_is_refused() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=6, 10)])
        .unwrap();
    compact_all(&opened, 1, 1, 4).unwrap();
    let overlapping = compact_all(&opened, 1, 3, 5);
    assert!(matches!(overlapping, Err(Error::Overtaken { .. })));
    let mut twice = opened.store.segments(1);
    let remove = vec![twice[0].id];
    twice.push(twice[0]);
    let twice = Change {
        add: twice,
        remove,
        ..Change::default()
    };
    assert!(matches!(
        opened.store.commit(1, twice),
        Err(Error::Refused { .. })
    ));
    let older = opened
        .store
        .begin_snapshot(1, 2, 1)
        .unwrap()
        .finish()
        .unwrap();
    let older = Change {
        snapshot: Some(older),
        ..Change::default()
    };
    assert!(matches!(
        opened.store.commit(1, older),
        Err(Error::Overtaken { shard: 1 })
    ));
    let ahead = opened
        .store
        .begin_snapshot(1, 9, 1)
        .unwrap()
        .finish()
        .unwrap();
    let ahead = Change {
        snapshot: Some(ahead),
        ..Change::default()
    };
    assert!(matches!(
        opened.store.commit(1, ahead),
        Err(Error::Refused { .. })
    ));
    let unknown = Change {
        remove: vec![99],
        ..Change::default()
    };
    assert!(matches!(
        opened.store.commit(1, unknown),
        Err(Error::Overtaken { shard: 1 })
    ));
}

#[test]
fn a_log_on_real_files_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        wal_file_bytes: 64 << 10,
        ..small_options()
    };
    let mut model = Model::default();
    let disk = FileSystem::new(folder.path());
    for round in 0..3 {
        let mut opened = Log::open(disk.clone(), options.clone()).unwrap();
        model.compare(&opened).unwrap();
        for index in round * 100 + 1..=round * 100 + 100 {
            let batch = [
                plain_write(1, index..=index, 3000),
                plain_write(2, index..=index, 10),
            ];
            opened.appender.append(&batch).unwrap();
            model.append(&batch);
        }
        model
            .compare(&Log::open(disk.clone(), options.clone()).unwrap())
            .unwrap();
        assert!(opened.store.free_bytes().unwrap() > 0);
    }
}

/// What a follower needs keeps its file and all after it from being used again, up to a bound.
#[test]
fn entries_that_a_follower_needs_are_not_due() {
    let mut opened = open(&SimulatedDisk::default());
    for index in 1..=32 {
        opened
            .appender
            .append(&[plain_write(1, index..=index, 500)])
            .unwrap();
    }
    let nobody = BTreeMap::new();
    let due = opened.store.due(&nobody).unwrap();
    let last = due.shards[0].last_index;
    assert_eq!(opened.store.due(&BTreeMap::from([(1, 0)])), None);
    assert_eq!(opened.store.due(&BTreeMap::from([(1, last - 1)])), None);
    let needed_later = BTreeMap::from([(1, last), (2, 0)]);
    assert_eq!(opened.store.due(&needed_later), Some(due));
    for index in 33..=80 {
        opened
            .appender
            .append(&[plain_write(1, index..=index, 500)])
            .unwrap();
    }
    assert!(opened.store.wal_bytes_in_use() > small_options().wal_held_bytes);
    let all = opened.store.due(&nobody);
    assert_eq!(opened.store.due(&BTreeMap::from([(1, 0)])), all);
}
