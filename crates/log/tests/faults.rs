//! Errors of the disk: a failed write or sync ends the log's life, a full disk does not.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use anser_log::{
    Change, Error, Kept, Log, Opened, Options, Stored,
    disk::simulated::{Fault, FaultPoint, SECTOR_BYTES, SimulatedDisk, Times},
};
use bytes::Bytes;

use crate::{driver::plain_write, model::Model};

pub(crate) fn small_options() -> Options {
    Options {
        wal_file_bytes: 4096,
        wal_budget_bytes: 16 << 10,
        wal_held_bytes: 32 << 10,
        segment_bytes: 8192,
        open_segments: 2,
        spare_files: 1,
        boot: Some(1),
        has_peers: false,
    }
}

fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), small_options()).unwrap()
}

fn fault(point: FaultPoint, path_part: &str, kind: io::ErrorKind) -> Fault {
    Fault {
        point,
        path_part: path_part.to_owned(),
        skip: 0,
        times: Times::Once,
        kind,
    }
}

/// Keeps all entries up to `through`, as a compactor with nothing but live entries does.
pub(crate) fn compact_all<D: anser_log::Disk>(
    opened: &Opened<D>,
    shard: u16,
    from: u64,
    through: u64,
) -> Result<(), Error> {
    let mut writer = opened.store.begin_segment(shard)?;
    for index in from..=through {
        let Stored::Entry(entry) = opened.reader.read(shard, index)? else {
            panic!("{index} is in the log");
        };
        writer.append(&Kept {
            index,
            term: entry.term,
            payload: entry.data,
        })?;
    }
    let add = writer.finish()?;
    let mut snapshot = opened.store.begin_snapshot(shard, through, 1)?;
    snapshot.write_all(&[7; 1000]).map_err(|error| Error::Io {
        action: "write",
        file: String::new(),
        source: error,
    })?;
    let snapshot = Some(snapshot.finish()?);
    opened.store.commit(
        shard,
        Change {
            snapshot,
            add,
            ..Change::default()
        },
    )
}

#[test]
fn a_failed_write_or_sync_ends_the_log() {
    for point in [FaultPoint::Write, FaultPoint::Sync] {
        let disk = SimulatedDisk::default();
        let mut opened = open(&disk);
        opened
            .appender
            .append(&[plain_write(1, 1..=3, 100)])
            .unwrap();
        disk.inject(fault(point, ".wal", io::ErrorKind::Other));
        for _ in 0..2 {
            let error = opened
                .appender
                .append(&[plain_write(1, 4..=5, 100)])
                .unwrap_err();
            assert!(matches!(error, Error::Failed { .. }), "{error}");
        }
        assert!(matches!(
            opened.appender.mark_durable(),
            Err(Error::Failed { .. })
        ));
        assert!(matches!(
            opened.store.prepare_files(),
            Err(Error::Failed { .. })
        ));
        let commit = opened.store.commit(1, Change::default());
        assert!(matches!(commit, Err(Error::Failed { .. })));
        assert!(matches!(opened.reader.read(1, 3), Ok(Stored::Entry(_))));

        let durability = disk.durability();
        let nothing = vec![0; durability.choices(512).len()];
        let after = SimulatedDisk::from_image(&durability.image(512, &nothing));
        assert_eq!(open(&after).shards[0].last_index, 3);
    }
}

/// The system takes pages of a failed sync for clean: a program that starts again finds them in the cache, and perhaps not
/// on the disk.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_not_taken_for_durable() {
    for (lots, last) in [(0, 3), (u64::MAX, 5)] {
        let disk = SimulatedDisk::default();
        let mut opened = open(&disk);
        opened
            .appender
            .append(&[plain_write(1, 1..=3, 100)])
            .unwrap();
        disk.draw_lots(lots);
        disk.inject(fault(FaultPoint::Sync, ".wal", io::ErrorKind::Other));
        opened
            .appender
            .append(&[plain_write(1, 4..=5, 100)])
            .unwrap_err();
        drop(opened);
        assert_eq!(disk.adrift(".wal").len(), usize::from(lots == 0));
        let killed = SimulatedDisk::after_kill(&disk.durability());
        assert_eq!(killed.contents(), disk.contents());
        assert_eq!(open(&killed).shards[0].last_index, last);
        assert_eq!(killed.unsynced(".wal"), [""; 0]);
    }
}

/// The system was only asked to forget its cache. Whatever it kept is on the device once somebody builds on it.
#[test]
fn what_the_system_keeps_of_a_failed_sync_is_durable_once_it_counts() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=3, 100)])
        .unwrap();
    disk.inject(fault(FaultPoint::Sync, ".wal", io::ErrorKind::Other));
    opened
        .appender
        .append(&[plain_write(1, 4..=5, 100)])
        .unwrap_err();
    drop(opened);
    assert_ne!(disk.adrift(".wal"), [""; 0]);
    disk.keep_cache(true);
    let reported = open(&disk).shards;
    assert_eq!(reported[0].last_index, 5);
    assert_eq!(disk.unsynced(".wal"), [""; 0]);
    let power_lost = SimulatedDisk::from_image(&disk.durability().image(512, &[]));
    assert_eq!(open(&power_lost).shards, reported);
}

/// A mark proves a vote. One that stands in the cache alone proves nothing after a power failure, even if it says just
/// what the next start would say.
#[test]
fn a_start_builds_on_no_mark_but_its_own() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    disk.inject(fault(FaultPoint::Sync, "wal/durable", io::ErrorKind::Other));
    let vote = plain_write(1, 1..=3, 100);
    opened.appender.append(&[vote]).unwrap_err();
    drop(opened);
    disk.keep_cache(true);
    assert_eq!(open(&disk).shards[0].hard_state.vote, 2);
    let power_lost = SimulatedDisk::from_image(&disk.durability().image(512, &[]));
    assert!(power_lost.damage("wal/0000000000000001.wal", |bytes| bytes.fill(0)));
    let error = Log::open(power_lost, small_options()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

/// A sector that cannot be read stops a log from being opened, and a written one can be read again.
#[test]
fn a_log_that_cannot_be_read_is_not_opened() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=9, 100)])
        .unwrap();
    drop(opened);
    let name = "wal/0000000000000001.wal";
    assert!(disk.spoil(name, 600));
    let power_lost = SimulatedDisk::from_image(&disk.durability().image(512, &[]));
    for disk in [&disk, &power_lost] {
        let error = Log::open(disk.clone(), small_options()).unwrap_err();
        assert!(
            matches!(&error, Error::Io { file, .. } if file == name),
            "{error}"
        );
        assert!(disk.cannot_read(name));
    }
}

#[test]
fn a_manifest_that_may_or_may_not_be_switched_ends_the_log() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=3, 100)])
        .unwrap();
    disk.inject(fault(FaultPoint::SyncDirectory, "", io::ErrorKind::Other));
    // The first folder synced is the shard's parent, for its new snapshot.
    assert!(matches!(
        compact_all(&opened, 1, 1, 3),
        Err(Error::Failed { .. })
    ));
    let error = opened
        .appender
        .append(&[plain_write(1, 4..=4, 100)])
        .unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
}

#[test]
fn a_full_disk_refuses_new_files_and_recovers() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    let mut model = Model::default();
    let write = plain_write(1, 1..=4, 500);
    opened
        .appender
        .append(std::slice::from_ref(&write))
        .unwrap();
    model.append(&[write]);
    disk.set_capacity(disk.used_bytes() + 100);

    let large = plain_write(1, 5..=14, 1000);
    let error = opened
        .appender
        .append(std::slice::from_ref(&large))
        .unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(matches!(
        compact_all(&opened, 1, 1, 4),
        Err(Error::NoSpace { .. })
    ));
    let left: Vec<String> = disk.contents().files.into_keys().collect();
    assert!(!left.iter().any(|path| path.contains("temp")), "{left:?}");
    model.compare(&open(&disk)).unwrap();

    disk.set_capacity(u64::MAX);
    opened = open(&disk);
    opened
        .appender
        .append(std::slice::from_ref(&large))
        .unwrap();
    model.append(&[large]);
    compact_all(&opened, 1, 1, 4).unwrap();
    assert_eq!(opened.store.segments(1).len(), 1);
}

#[test]
fn the_same_log_goes_on_once_there_is_room_again() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=4, 500)])
        .unwrap();
    disk.set_capacity(disk.used_bytes());
    let write = plain_write(1, 5..=14, 1000);
    for _ in 0..3 {
        let error = opened
            .appender
            .append(std::slice::from_ref(&write))
            .unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(matches!(
            opened.store.prepare_files(),
            Err(Error::NoSpace { .. })
        ));
    }
    disk.set_capacity(u64::MAX);
    opened.appender.append(&[write]).unwrap();
    assert_eq!(open(&disk).shards[0].last_index, 14);
}

#[test]
fn an_unreadable_log_is_an_error_not_an_empty_one() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=3, 100)])
        .unwrap();
    for path in ["manifest", ".wal", "durable"] {
        disk.inject(Fault {
            times: Times::Forever,
            ..fault(FaultPoint::Read, path, io::ErrorKind::Other)
        });
        let error = Log::open(disk.clone(), small_options()).unwrap_err();
        assert!(
            matches!(&error, Error::Io { file, .. } if file.contains(path)),
            "{error}"
        );
        disk.clear_faults();
    }
    // What passes is no reason to stop, nor is one sector of the marks.
    disk.inject(fault(FaultPoint::Read, ".wal", io::ErrorKind::Other));
    assert!(disk.spoil("wal/durable", 0));
    assert_eq!(open(&disk).shards[0].last_index, 3);
}

/// A few bad places of a file are damage, of which others know what it cost; more, or nothing that can be read, may pass.
#[test]
fn a_log_file_of_which_little_can_be_read_is_no_damage() {
    let options = || Options {
        wal_file_bytes: 64 << 10,
        wal_budget_bytes: 256 << 10,
        wal_held_bytes: 512 << 10,
        has_peers: true,
        ..small_options()
    };
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), options()).unwrap();
    opened
        .appender
        .append(&[plain_write(1, 1..=3, 100)])
        .unwrap();
    let image = disk.contents();
    let path = "wal/0000000000000001.wal";
    let pages = image.files[path].len() / 4096;
    let sectors = 4096 / SECTOR_BYTES;
    let open = |bad: std::ops::Range<usize>| {
        let mut image = image.clone();
        let bad = bad.map(|page| page * sectors).collect();
        image.unreadable.insert(path.into(), bad);
        Log::open(SimulatedDisk::from_image(&image), options())
    };
    assert!(pages > 9, "{pages}");
    // Behind the end nothing began, so nothing may be missing there.
    let far = open(pages - 8..pages).unwrap();
    assert!(far.shards.iter().all(|it| !it.doubtful && !it.lost));
    assert_eq!(far.shards[0].last_index, 3);
    for too_many in [pages - 9..pages, 0..pages] {
        let error = open(too_many).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_named_not_called_damage() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=3, 100)])
        .unwrap();
    compact_all(&opened, 1, 1, 3).unwrap();
    opened.appender.close().unwrap();
    let image = disk.contents();
    // Where each kind of file has its version, and the checksum that covers it.
    let places = |path: &str| match path {
        "manifest" => (4, 28),
        "wal/durable" => (4, 60),
        _ if path.starts_with("wal/") => (4, 52),
        _ if path.ends_with(".segment") => (4, 28),
        _ => (4, 60),
    };
    for (path, content) in &image.files {
        let mut newer = image.clone();
        let (version, checksum) = places(path);
        let slots = if path == "wal/durable" {
            vec![0, 4096]
        } else {
            vec![0]
        };
        let mut bytes = content.to_vec();
        for slot in slots {
            bytes[slot + version] = 9;
            let sum = crc32c::crc32c(&bytes[slot..slot + checksum]).to_le_bytes();
            bytes[slot + checksum..slot + checksum + 4].copy_from_slice(&sum);
        }
        newer.files.insert(path.clone(), bytes.into());
        let error = Log::open(SimulatedDisk::from_image(&newer), small_options()).unwrap_err();
        let named =
            matches!(&error, Error::UnknownVersion { file, version: 9, .. } if file == path);
        assert!(named, "{path}: {error}");
    }
}

/// Readers ask for old and new entries while the files under them are recycled again and again.
#[test]
fn a_reader_that_races_with_recycling_finds_every_entry() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk);
    opened
        .appender
        .append(&[plain_write(1, 1..=4, 200)])
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (reader, done) = (opened.reader.clone(), &done);
        scope.spawn(move || {
            let expected = |index| plain_write(1, index..=index, 200).entries.remove(0).data;
            let mut reads = 0;
            while !done.load(Ordering::Acquire) || reads < 1000 {
                let index = 1 + reads % 4;
                let found: Bytes = match reader.read(1, index).unwrap() {
                    Stored::Entry(entry) => entry.data,
                    Stored::Kept(kept) => kept.payload,
                };
                assert_eq!(found, expected(index));
                let last = 4 + reads % 400;
                if let Ok(Stored::Entry(entry)) = reader.read(1, last) {
                    assert_eq!(entry.data, expected(last));
                }
                reads += 1;
            }
        });
        let mut covered = 0;
        for index in (5..=400).step_by(4) {
            opened
                .appender
                .append(&[plain_write(1, index..=index + 3, 200)])
                .unwrap();
            if let Some(due) = opened.store.due(&BTreeMap::new()) {
                compact_all(&opened, 1, covered + 1, due.shards[0].last_index).unwrap();
                covered = due.shards[0].last_index;
                opened.store.recycle(due).unwrap();
            }
        }
        assert!(covered > 300);
        done.store(true, Ordering::Release);
    });
}
