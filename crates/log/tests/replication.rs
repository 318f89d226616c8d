//! What several replicas need of a log: terms of old entries, files that go to another disk, shards that
//! leave and come again.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anser_log::{
    Change, Disk, Entry, EntryKind, Error, Export, ExportedFile, FileSystem, HardState, Import,
    Imported, Kept, Log, Opened, Options, SnapshotOrigin, Stored, Write,
    disk::simulated::{Fault, FaultPoint, SimulatedDisk, Times},
};
use bytes::Bytes;

use crate::{
    driver::{peer, plain_write},
    faults::{compact_all, small_options},
    hooked::HookedDisk,
    random::Random,
};

/// Makes a description of a segment untrue.
type Lie = fn(&mut anser_log::SegmentInfo);

fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), small_options()).unwrap()
}

fn state(term: u64, vote: u64) -> HardState {
    HardState {
        term,
        vote,
        commit: 0,
    }
}

fn quiet(shard: u16, hard_state: HardState) -> Write {
    Write {
        shard,
        hard_state: Some(hard_state),
        entries: Vec::new(),
    }
}

fn entries(shard: u16, indexes: std::ops::RangeInclusive<u64>, term: u64) -> Write {
    let entries = indexes.map(|index| Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::from(format!("{index} of {term}")),
    });
    Write {
        shard,
        hard_state: None,
        entries: entries.collect(),
    }
}

fn bodies(count: u64) -> BTreeMap<u64, Bytes> {
    (1..=count)
        .map(|index| (index, Bytes::from(Random::new(index).bytes(200))))
        .collect()
}

/// A replica elsewhere, at entry 40, with several segments and two chunks of snapshot.
fn ahead() -> (Opened<SimulatedDisk>, Vec<u8>) {
    let content = Random::new(1).bytes((256 << 10) + 100);
    (peer(1, (40, 7), &content, &bodies(40)), content)
}

fn begin<D: Disk>(opened: &Opened<D>, export: &Export<SimulatedDisk>) -> Import<D> {
    let segments = export.segments.clone();
    opened
        .store
        .begin_import(1, export.snapshot, segments)
        .unwrap()
}

fn pump<D: Disk>(
    import: &mut Import<D>,
    export: &Export<SimulatedDisk>,
    most: usize,
) -> Result<(), Error> {
    while let Some((file, offset)) = import.missing() {
        let piece = export.read(file, offset, most)?;
        import.write(file, offset, &piece)?;
    }
    Ok(())
}

fn import_all<D: Disk>(opened: &Opened<D>, export: &Export<SimulatedDisk>) -> Imported {
    let mut import = begin(opened, export);
    pump(&mut import, export, 10_000).unwrap();
    import.finish().unwrap()
}

fn content<D: Disk>(opened: &Opened<D>) -> Vec<u8> {
    let (_, mut reader) = opened.reader.snapshot(1).unwrap().unwrap();
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    content
}

fn kept<D: Disk>(opened: &Opened<D>) -> BTreeMap<u64, Bytes> {
    let kept = opened.reader.kept(1, 1, u64::MAX - 1, u64::MAX).unwrap();
    kept.into_iter()
        .map(|kept| (kept.index, kept.payload))
        .collect()
}

fn paths(disk: &SimulatedDisk) -> Vec<String> {
    let files = disk.contents().files;
    let paths = files.into_keys().filter(|path| path.starts_with("shards/"));
    paths.collect()
}

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
            if let Some(due) = opened.store.due() {
                compact_all(&opened, 1, covered + 1, due.shards[0].last_index).unwrap();
                covered = due.shards[0].last_index;
                opened.store.recycle(due).unwrap();
            }
        }
        done.store(true, Ordering::Release);
        assert!(compacted.join().unwrap() > 0);
    });
}

/// The files are replaced and removed; the export still reads them to the end.
fn export_outlives<D: Disk>(disk: D) {
    let mut opened = Log::open(disk, small_options()).unwrap();
    let batch = [plain_write(1, 1..=6, 100)];
    opened.appender.append(&batch).unwrap();
    compact_all(&opened, 1, 1, 6).unwrap();
    let export = opened.store.export(1).unwrap();
    let names = [
        (ExportedFile::Snapshot, export.snapshot.id, "snapshot"),
        (
            ExportedFile::Segment(export.segments[0].id),
            export.segments[0].id,
            "segment",
        ),
    ];
    let before: Vec<Vec<u8>> = names
        .iter()
        .map(|(file, ..)| export.read(*file, 0, usize::MAX).unwrap())
        .collect();
    let lengths: usize = before.iter().map(Vec::len).sum();
    assert_eq!(opened.store.shard_bytes(1), lengths as u64);
    opened.store.forget(1).unwrap();
    assert_eq!(opened.store.shard_bytes(1), 0);
    for ((file, id, ending), before) in names.iter().zip(&before) {
        assert!(before.len() > 100);
        let mut read = Vec::new();
        loop {
            let piece = export.read(*file, read.len() as u64, 77).unwrap();
            if piece.is_empty() {
                break;
            }
            read.extend(piece);
        }
        assert_eq!(&read, before, "{id}.{ending}");
    }
    let other = export.read(ExportedFile::Segment(99), 0, 1);
    assert!(matches!(other, Err(Error::Refused { .. })));
}

#[test]
fn an_export_outlives_the_files_on_a_simulated_disk() {
    let disk = SimulatedDisk::default();
    export_outlives(disk.clone());
    assert_eq!(paths(&disk), [] as [&str; 0]);
}

#[test]
fn an_export_outlives_the_files_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    export_outlives(FileSystem::new(folder.path()));
    let left = std::fs::read_dir(folder.path().join("shards/00001")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn an_import_in_pieces_of_any_size_is_the_same_shard() {
    let (there, expected) = ahead();
    let export = there.store.export(1).unwrap();
    assert!(export.segments.len() > 1);
    for most in [1, 7, 64, 1000, 70_000, 1 << 20] {
        let disk = SimulatedDisk::default();
        // Smaller segments than those that come.
        let options = Options {
            segment_bytes: 4096,
            ..small_options()
        };
        let mut opened = Log::open(disk.clone(), options.clone()).unwrap();
        // Both disks have used other numbers.
        opened.appender.append(&[quiet(1, state(8, 3))]).unwrap();
        let mut import = begin(&opened, &export);
        let all = there.store.shard_bytes(1);
        assert_eq!(import.missing_bytes(), all);
        pump(&mut import, &export, most).unwrap();
        assert_eq!(import.missing_bytes(), 0);
        let imported = import.finish().unwrap();
        assert!(imported.segments.len() > export.segments.len());
        opened.store.install(1, &imported).unwrap();
        opened.appender.append(&[entries(1, 41..=42, 8)]).unwrap();
        for opened in [&opened, &Log::open(disk.clone(), options).unwrap()] {
            assert_eq!(content(opened), expected);
            assert_eq!(kept(opened), bodies(40));
        }
        let found = open(&disk).shards[0];
        assert_eq!((found.first_index, found.last_index), (41, 42));
        assert_eq!((found.hard_state.term, found.hard_state.vote), (8, 3));
    }
}

/// A lagging replica: entries, segments and a snapshot of its own are replaced in one step.
#[test]
fn an_import_replaces_all_that_a_shard_had() {
    let (there, expected) = ahead();
    let export = there.store.export(1).unwrap();
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=30, 100), plain_write(2, 1..=3, 9)])
        .unwrap();
    compact_all(&opened, 1, 1, 10).unwrap();
    let before = paths(&disk);
    let imported = import_all(&opened, &export);
    let crashed = SimulatedDisk::from_image(&disk.contents());
    assert_eq!(open(&crashed).shards[0].last_index, 30);
    assert_eq!(paths(&crashed), before);
    let segments: Vec<u64> = opened
        .store
        .segments(1)
        .iter()
        .map(|info| info.id)
        .collect();
    opened
        .store
        .commit(
            1,
            Change {
                snapshot: Some(imported.snapshot),
                origin: SnapshotOrigin::Peer,
                add: imported.segments.clone(),
                remove: segments,
            },
        )
        .unwrap();
    assert!(before.iter().all(|path| !paths(&disk).contains(path)));
    assert!(matches!(
        opened.reader.read(1, 30),
        Ok(Stored::Kept(found)) if found.payload == bodies(40)[&30]
    ));
    let gap = opened.appender.append(&[entries(1, 42..=42, 7)]);
    assert!(matches!(gap, Err(Error::Gap { expected: 41, .. })));
    opened.appender.append(&[entries(1, 41..=41, 7)]).unwrap();
    for opened in [&opened, &open(&disk)] {
        assert_eq!(content(opened), expected);
        assert_eq!(kept(opened), bodies(40));
        assert_eq!(opened.reader.terms(1), [(41, 7)]);
        assert_eq!(opened.reader.first_index(2), 1);
    }

    // Maintenance that looked before the import came too late.
    let stale = opened.store.begin_snapshot(1, 30, 1).unwrap();
    let snapshot = Some(stale.finish().unwrap());
    let stale = Change {
        snapshot,
        ..Change::default()
    };
    assert!(matches!(
        opened.store.commit(1, stale),
        Err(Error::Overtaken { shard: 1 })
    ));
}

#[test]
fn a_piece_out_of_turn_changes_nothing() {
    let (there, expected) = ahead();
    let export = there.store.export(1).unwrap();
    let opened = open(&SimulatedDisk::default());
    let mut import = begin(&opened, &export);
    let segment = ExportedFile::Segment(export.segments[0].id);
    let piece = export.read(ExportedFile::Snapshot, 0, 100).unwrap();
    import.write(ExportedFile::Snapshot, 0, &piece).unwrap();
    for (file, offset) in [
        (ExportedFile::Snapshot, 0),
        (ExportedFile::Snapshot, 99),
        (ExportedFile::Snapshot, 101),
        (segment, 0),
    ] {
        let refused = import.write(file, offset, &piece);
        assert!(matches!(refused, Err(Error::Refused { .. })));
        assert_eq!(import.missing(), Some((ExportedFile::Snapshot, 100)));
    }
    pump(&mut import, &export, 5000).unwrap();
    assert!(import.write(segment, 0, &piece).is_err());
    opened.store.install(1, &import.finish().unwrap()).unwrap();
    assert_eq!(content(&opened), expected);
}

#[test]
fn an_import_that_is_given_up_leaves_nothing() {
    let (there, _) = ahead();
    let export = there.store.export(1).unwrap();
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let mut import = begin(&opened, &export);
    let last = export.segments.last().unwrap().id;
    while let Some((file, offset)) = import.missing() {
        if (file, offset > 0) == (ExportedFile::Segment(last), true) {
            break;
        }
        let piece = export.read(file, offset, 1000).unwrap();
        import.write(file, offset, &piece).unwrap();
    }
    assert!(paths(&disk).len() > 2);
    let crashed = SimulatedDisk::from_image(&disk.contents());
    assert!(open(&crashed).shards.is_empty());
    assert_eq!(paths(&crashed), [] as [&str; 0]);
    assert!(matches!(import.finish(), Err(Error::Refused { .. })));
    assert_eq!(paths(&disk), [] as [&str; 0]);

    let imported = import_all(&opened, &export);
    opened.store.discard_import(1, &imported);
    assert_eq!(paths(&disk), [] as [&str; 0]);
}

/// Whatever byte changes on the way, the file is refused by name or its content is right; then it is
/// fetched again.
#[test]
fn damage_on_the_way_is_named_and_fetched_again() {
    let there = peer(1, (9, 7), &[5; 200], &bodies(9));
    let export = there.store.export(1).unwrap();
    let files = [
        (ExportedFile::Snapshot, ".snapshot"),
        (ExportedFile::Segment(export.segments[0].id), ".segment"),
    ];
    let (mut refused, mut random) = (0, Random::new(4));
    for (damaged, ending) in files {
        let bytes = export.read(damaged, 0, usize::MAX).unwrap().len();
        for at in 0..bytes {
            let opened = open(&SimulatedDisk::default());
            let mut import = begin(&opened, &export);
            let mut is_damaged = false;
            while let Some((file, offset)) = import.missing() {
                let mut piece = export.read(file, offset, 700).unwrap();
                let place = usize::try_from(offset).unwrap();
                let here = (place..place + piece.len()).contains(&at);
                if file == damaged && here && !is_damaged {
                    piece[at - place] ^= 1 << random.up_to(7);
                    is_damaged = true;
                }
                match import.write(file, offset, &piece) {
                    Ok(()) => {}
                    Err(Error::Corrupt { file: name, .. }) => {
                        assert!(is_damaged && name.ends_with(ending), "{name}");
                        assert_eq!(import.missing(), Some((file, 0)));
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let imported = import.finish().unwrap();
            opened.store.install(1, &imported).unwrap();
            assert_eq!((content(&opened), kept(&opened)), (vec![5; 200], bodies(9)));
        }
    }
    assert!(refused > 1500, "{refused}");
}

#[test]
fn files_that_are_not_those_announced_are_refused() {
    let (there, _) = ahead();
    let export = there.store.export(1).unwrap();
    let opened = open(&SimulatedDisk::default());
    let (snapshot, segments) = (export.snapshot, export.segments.clone());
    let begin = |snapshot, segments| opened.store.begin_import(1, snapshot, segments);

    let mut longer = snapshot;
    longer.bytes = u64::MAX;
    let mut behind = snapshot;
    behind.index = 39;
    let mut twice = segments.clone();
    twice[1] = twice[0];
    let mut empty = segments.clone();
    empty[0].records = 0;
    let mut short = segments.clone();
    short[0].bytes = 3;
    for (snapshot, segments) in [
        (longer, segments.clone()),
        (behind, segments.clone()),
        (snapshot, twice),
        (snapshot, empty),
        (snapshot, short),
    ] {
        let refused = begin(snapshot, segments);
        assert!(matches!(refused, Err(Error::Refused { .. })));
    }

    let changes: [(usize, Lie); 6] = [
        (0, |info| info.records -= 1),
        (0, |info| info.last_index += 1),
        (1, |info| info.first_index -= 1),
        (0, |info| info.bytes += 8),
        (0, |info| info.bytes -= 8),
        (0, |info| info.id += 100),
    ];
    for (number, change) in changes {
        let mut other = segments[number];
        change(&mut other);
        let mut import = begin(snapshot, vec![other]).unwrap();
        let error = loop {
            let (file, offset) = import.missing().unwrap();
            let file_there = match file {
                ExportedFile::Snapshot => file,
                ExportedFile::Segment(_) => ExportedFile::Segment(segments[number].id),
            };
            let mut piece = export.read(file_there, offset, 1000).unwrap();
            if piece.is_empty() {
                piece = vec![0; 8];
            }
            if let Err(error) = import.write(file, offset, &piece) {
                break error;
            }
        };
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }

    let mut other = snapshot;
    other.checksum ^= 1;
    let mut import = begin(other, Vec::new()).unwrap();
    let error = pump(&mut import, &export, 1 << 20).unwrap_err();
    assert!(matches!(
        error,
        Error::Corrupt {
            what: "content checksum",
            ..
        }
    ));
}

#[test]
fn an_import_waits_for_room() {
    let (there, expected) = ahead();
    let export = there.store.export(1).unwrap();
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let mut import = begin(&opened, &export);
    disk.set_capacity(disk.used_bytes() + 1000);
    let error = pump(&mut import, &export, 10_000).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(import.missing(), Some((ExportedFile::Snapshot, 0)));
    assert_eq!(paths(&disk), [] as [&str; 0]);
    disk.set_capacity(u64::MAX);
    pump(&mut import, &export, 10_000).unwrap();
    opened.store.install(1, &import.finish().unwrap()).unwrap();
    assert_eq!(content(&opened), expected);
}

#[test]
fn a_forgotten_shard_stays_forgotten() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let mut batch = vec![plain_write(1, 1..=20, 100), plain_write(2, 1..=1, 9)];
    batch.push(quiet(3, state(4, 1)));
    opened.appender.append(&batch).unwrap();
    compact_all(&opened, 1, 1, 9).unwrap();
    let written = disk.bytes_written();
    opened.store.forget(9).unwrap();
    assert_eq!(disk.bytes_written(), written);
    opened.store.forget(1).unwrap();
    opened.store.forget(3).unwrap();
    assert_eq!(paths(&disk), [] as [&str; 0]);
    // New files begin with the hard states of all shards, old ones are used again.
    for index in 2..=60 {
        let numbers: Vec<u16> = open(&disk).shards.iter().map(|it| it.shard).collect();
        assert_eq!(numbers, [2]);
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
    opened.store.forget(1).unwrap();
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
        let forgetting = thread::spawn(move || store.forget(1).unwrap());
        // Time enough to do it, if nothing holds it up.
        thread::sleep(Duration::from_millis(100));
        sender.send(forgetting).unwrap();
    });
    opened
        .appender
        .append(&[plain_write(2, 1..=1, 3500)])
        .unwrap();
    forgotten.recv().unwrap().join().unwrap();
    let numbers: Vec<u16> = open(&disk).shards.iter().map(|it| it.shard).collect();
    assert_eq!(numbers, [2]);
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
    assert!(matches!(opened.store.forget(1), Err(Error::NoSpace { .. })));
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
