//! Files that go to another disk.

use anser_log::{
    Change, Disk, Error, ExportedFile, FileSystem, Kept, Log, Options, SnapshotOrigin, Stored,
    disk::simulated::SimulatedDisk,
};

use super::{
    ahead, begin, bodies, content, entries, import_all, kept, open, paths, pump, quiet, state,
};
use crate::{
    driver::{peer, plain_write},
    faults::{compact_all, small_options},
    random::Random,
};

/// Makes a description of a segment untrue.
type Lie = fn(&mut anser_log::SegmentInfo);

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
    opened.store.forget(1, 1, false).unwrap();
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
                ..Change::default()
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

/// Maintenance copies what a snapshot that is there already covers, and a copy of the shard is installed before it is
/// done.
#[test]
fn segments_begun_before_an_import_are_overtaken_by_it() {
    let (there, expected) = ahead();
    let opened = open(&SimulatedDisk::default());
    let mut writer = opened.store.begin_segment(1).unwrap();
    writer
        .append(&Kept {
            index: 3,
            term: 1,
            payload: bodies(3)[&3].clone(),
        })
        .unwrap();
    let add = writer.finish().unwrap();
    let imported = import_all(&opened, &there.store.export(1).unwrap());
    opened.store.install(1, &imported).unwrap();
    let late = Change {
        add: add.clone(),
        ..Change::default()
    };
    let overtaken = opened.store.commit(1, late).unwrap_err();
    assert!(
        matches!(overtaken, Error::Overtaken { shard: 1 }),
        "{overtaken}"
    );
    opened.store.discard(1, &add);
    assert_eq!(content(&opened), expected);
    assert_eq!(kept(&opened), bodies(40));
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

/// A newer offer takes the place of the one that is under way, as after a broken copy.
#[test]
fn segments_that_are_here_do_not_come_again() {
    let source = peer(1, (150, 7), &[1; 100], &bodies(150));
    let export = source.store.export(1).unwrap();
    assert!(export.segments.len() > 3, "{:?}", export.segments);
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let mut import = begin(&opened, &export);
    // The snapshot, two whole segments and a part of the third.
    let third = ExportedFile::Segment(export.segments[2].id);
    while import.missing() != Some((third, 0)) {
        let (file, offset) = import.missing().unwrap();
        let piece = export.read(file, offset, 10_000).unwrap();
        import.write(file, offset, &piece).unwrap();
    }
    let piece = export.read(third, 0, 1_000).unwrap();
    import.write(third, 0, &piece).unwrap();

    // The source goes on: its first segment dies, its snapshot is another one.
    let newer = Random::new(2).bytes(100);
    let mut snapshot = source.store.begin_snapshot(1, 151, 7).unwrap();
    std::io::Write::write_all(&mut snapshot, &newer).unwrap();
    let change = Change {
        snapshot: Some(snapshot.finish().unwrap()),
        origin: SnapshotOrigin::Peer,
        remove: vec![export.segments[0].id],
        ..Change::default()
    };
    source.store.commit(1, change).unwrap();
    let export = source.store.export(1).unwrap();
    let mut import = import.renew(export.snapshot, &export.segments).unwrap();
    assert_eq!(import.missing(), Some((ExportedFile::Snapshot, 0)));
    let here = export.segments[0].bytes;
    assert_eq!(import.missing_bytes(), bytes_of(&export) - here);
    pump(&mut import, &export, 10_000).unwrap();
    opened.store.install(1, &import.finish().unwrap()).unwrap();
    for opened in [&opened, &open(&disk)] {
        assert_eq!(content(opened), newer);
        assert_eq!(kept(opened), kept(&source));
    }
    let snapshot = 1;
    let listed = opened.store.segments(1).len();
    assert_eq!(paths(&disk).len(), snapshot + listed);
}

/// Of all files that an export offers.
fn bytes_of(export: &anser_log::Export<SimulatedDisk>) -> u64 {
    begin(&open(&SimulatedDisk::default()), export).missing_bytes()
}
