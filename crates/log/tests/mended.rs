//! What a mended log says of its shards, and what mending leaves as it is.

use std::io::Write as _;

use anser_log::{
    Change, Error, HardState, Log, MendedState, Options, SnapshotOrigin, Write,
    disk::simulated::{Image, SimulatedDisk},
};

use crate::{
    driver::plain_write,
    faults::small_options,
    mending::{
        BEGINNING, HARMS, LAST, SHARDS, damage_last, log_files, mend, open, sample, sample_with,
        snapshot_of,
    },
};

fn state(disk: &SimulatedDisk, shard: u16) -> HardState {
    let log = open(disk);
    let mut shards = log.shards.iter();
    shards.find(|it| it.shard == shard).unwrap().hard_state
}

#[test]
fn a_mended_log_has_the_terms_and_the_votes_of_the_old_one() {
    let disk = SimulatedDisk::from_image(&sample());
    let promised = HardState {
        term: 7,
        vote: 3,
        commit: 30,
    };
    let mut log = open(&disk);
    let write = Write {
        shard: 2,
        hard_state: Some(promised),
        entries: Vec::new(),
    };
    log.appender.append(&[write]).unwrap();
    log.appender.close().unwrap();
    damage_last(&disk, 1);
    let before: Vec<HardState> = vec![
        HardState {
            term: 1,
            vote: 2,
            commit: LAST,
        };
        2
    ];
    let (mended, _) = mend(&disk);
    assert_eq!(mended.damage.len(), 1);
    assert_eq!([state(&disk, 0), state(&disk, 1)], before[..]);
    assert_eq!(state(&disk, 2), promised);
}

/// Of the entries themselves nothing is left, but each file begins with what was committed.
#[test]
fn what_is_known_to_be_committed_is_missing_if_it_is_not_there() {
    let disk = SimulatedDisk::from_image(&sample());
    let files = log_files(&sample());
    let mut log = open(&disk);
    let write = Write {
        shard: 2,
        hard_state: Some(HardState {
            term: 1,
            vote: 2,
            commit: LAST,
        }),
        entries: Vec::new(),
    };
    // As many as begin another file.
    while log_files(&disk.contents()).len() == files.len() {
        log.appender.append(std::slice::from_ref(&write)).unwrap();
    }
    log.appender.close().unwrap();
    let mut image = disk.contents();
    for file in files {
        image.files.remove(&file);
    }
    let disk = SimulatedDisk::from_image(&image);
    let (mended, _) = mend(&disk);
    let missing: Vec<u64> = mended.shards.values().map(|of| of.missing).collect();
    assert_eq!(missing, [LAST - 20, LAST - BEGINNING, LAST - BEGINNING]);
}

/// The entries from before it was let go of were of a replica that is no more.
#[test]
fn what_a_copy_made_void_does_not_count_in_a_mended_log() {
    let disk = SimulatedDisk::from_image(&sample());
    let log = open(&disk);
    log.store.forget(1, 29, false).unwrap();
    let mut writer = log.store.begin_snapshot(1, 30, 1).unwrap();
    writer.write_all(b"state").unwrap();
    let change = Change {
        snapshot: Some(writer.finish().unwrap()),
        origin: SnapshotOrigin::Peer,
        ..Change::default()
    };
    log.store.commit(1, change).unwrap();
    let found = |disk: &SimulatedDisk| {
        let log = open(disk);
        log.shards
            .iter()
            .find(|it| it.shard == 1)
            .unwrap()
            .last_index
    };
    log.appender.close().unwrap();
    assert_eq!(found(&disk), 30, "what stood behind it is void");
    damage_last(&disk, 2);
    let (mended, left_out) = mend(&disk);
    assert_eq!(mended.shards[&1].kept, 30);
    assert_eq!(left_out.get(&1), None);
}

/// Repair may be tried on the disk of a node that had peers.
#[test]
fn a_log_is_mended_as_one_that_nobody_else_has() {
    let disk = SimulatedDisk::from_image(&sample());
    damage_last(&disk, 1);
    let options = Options {
        has_peers: true,
        ..small_options()
    };
    let mended = Log::mend(&disk, &options, BEGINNING, &mut |_, _| ()).unwrap();
    assert!(mended.shards[&1].loses());
}

/// A closed log, and the same some files later.
fn earlier_and_later() -> [Image; 2] {
    let disk = SimulatedDisk::from_image(&sample());
    let mut log = open(&disk);
    for index in LAST + 1..=3 * LAST {
        for shard in 0..SHARDS {
            let write = plain_write(shard, index..=index, 60);
            log.appender.append(&[write]).unwrap();
        }
        log.store.prepare_files().unwrap();
    }
    log.appender.close().unwrap();
    [sample(), disk.contents()]
}

fn is_manifest(error: &Error) -> bool {
    matches!(error, Error::Corrupt { file, .. } if file == "manifest")
}

#[test]
fn an_old_manifest_is_refused_and_costs_nothing() {
    let [earlier, mut later] = earlier_and_later();
    for path in ["manifest", "wal/durable"] {
        let old = earlier.files[path].clone();
        later.files.insert(path.to_owned(), old);
    }
    let disk = SimulatedDisk::from_image(&later);
    let opened = Log::open(disk.clone(), small_options());
    assert!(opened.is_err_and(|error| is_manifest(&error)));
    let mended = Log::mend(&disk, &small_options(), BEGINNING, &mut |_, _| ());
    assert!(mended.is_err_and(|error| is_manifest(&error)));
    assert_eq!(disk.contents().files, later.files);
}

/// Nothing else says that the manifest is old.
#[test]
fn a_file_of_the_log_that_was_begun_is_not_removed_though_no_manifest_lists_it() {
    let [earlier, later] = earlier_and_later();
    let new = log_files(&later)
        .into_iter()
        .filter(|file| !earlier.files.contains_key(file));
    let new: Vec<String> = new.collect();
    assert!(!new.is_empty());
    for (bytes, is_begun) in [(20, false), (1_000, true)] {
        let mut image = earlier.clone();
        for file in &new {
            let content = later.files[file][..bytes].to_vec();
            image.files.insert(file.clone(), content.into());
        }
        let disk = SimulatedDisk::from_image(&image);
        let opened = Log::open(disk.clone(), small_options());
        match opened {
            Ok(_) => assert!(!is_begun),
            Err(error) => assert!(is_begun && is_manifest(&error), "{error}"),
        }
        let paths = disk.paths();
        assert!(new.iter().all(|file| paths.contains(file) == is_begun));
    }
}

#[test]
fn a_snapshot_of_a_newer_version_is_not_mended_away() {
    let disk = SimulatedDisk::from_image(&sample());
    let snapshot = snapshot_of(&disk, "/00001/");
    disk.damage(&snapshot, |bytes| {
        bytes[4] = 99;
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    });
    damage_last(&disk, 1);
    let before = disk.contents().files;
    let mended = Log::mend(&disk, &small_options(), BEGINNING, &mut |_, _| ());
    let is_version = |error: &Error| matches!(error, Error::UnknownVersion { .. });
    assert!(mended.is_err_and(|error| is_version(&error)));
    assert_eq!(disk.contents().files, before);
}

/// For so many bytes indexes are passed. What is missing at a place and what is known to have stood there may both be counted:
/// then more are passed than it takes, never fewer.
#[test]
fn what_cannot_be_read_is_counted_the_same_in_every_run() {
    let mut counted = Vec::new();
    for bytes in [4_096, 16_384] {
        let options = Options {
            wal_file_bytes: bytes,
            wal_budget_bytes: 16 * bytes,
            wal_held_bytes: 32 * bytes,
            ..small_options()
        };
        let image = sample_with(&options);
        for harm in HARMS {
            let mut unreadable = Vec::new();
            for file in log_files(&image) {
                let mut image = image.clone();
                harm(&mut image, &file);
                let disk = SimulatedDisk::from_image(&image);
                let mended = Log::mend(&disk, &options, BEGINNING, &mut |_, _| ()).unwrap();
                unreadable.push(mended.unreadable_bytes);
            }
            counted.push(unreadable);
        }
    }
    let expected: [&[u64]; 8] = [
        &[
            4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096,
        ],
        &[
            6_168, 6_048, 6_048, 6_048, 6_048, 6_048, 6_048, 6_048, 6_048, 6_048, 4_408,
        ],
        &[
            8_184, 8_048, 8_048, 8_048, 8_048, 8_048, 8_048, 8_048, 8_048, 8_048, 8_192,
        ],
        &[
            4_088, 3_960, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_096, 4_240,
        ],
        &[16_384, 16_384, 16_384],
        &[30_592, 30_472, 21_288],
        &[8_272, 8_256, 8_256],
        &[16_224, 16_248, 16_680],
    ];
    assert_eq!(counted, expected);
}

/// Changes a bit of an entry of shard 0.
fn damage_entry(disk: &SimulatedDisk, index: u64) {
    let body = plain_write(0, index..=index, 60).entries[0].data.clone();
    let image = disk.contents();
    let place = |file: &String| {
        let mut windows = image.files[file].windows(60);
        windows.position(|bytes| bytes == &body[..])
    };
    // The first one is that of shard 0.
    let mut files = log_files(&image).into_iter();
    let found = files.find_map(|file| place(&file).map(|at| (file, at)));
    let (file, at) = found.unwrap();
    disk.damage(&file, |bytes| bytes[at] ^= 1);
}

#[test]
fn the_last_entry_that_a_snapshot_covers_is_not_missed_and_the_next_one_is() {
    for (index, kept) in [(20, LAST), (21, 20)] {
        let disk = SimulatedDisk::from_image(&sample());
        damage_entry(&disk, index);
        let (mended, _) = mend(&disk);
        assert_eq!(mended.shards[&0].kept, kept, "{index}");
    }
}

#[test]
fn entries_count_up_to_the_first_that_is_missing_where_the_snapshot_is_damaged_too() {
    let disk = SimulatedDisk::from_image(&sample());
    let snapshot = snapshot_of(&disk, "/00000/");
    disk.damage(&snapshot, |bytes| bytes[100] ^= 1);
    damage_entry(&disk, 30);
    let (mended, _) = mend(&disk);
    let of = mended.shards[&0];
    assert_eq!((of.state, of.kept), (MendedState::Entries, 29));
}

/// No state says that it was committed, but its header tells whose it was.
#[test]
fn an_entry_of_which_only_the_header_can_be_read_is_missing() {
    let disk = SimulatedDisk::from_image(&sample());
    let mut log = open(&disk);
    let mut write = plain_write(0, LAST + 1..=LAST + 1, 60);
    write.hard_state = None;
    log.appender.append(&[write]).unwrap();
    log.appender.close().unwrap();
    damage_entry(&disk, LAST + 1);
    let (mended, _) = mend(&disk);
    let of = mended.shards[&0];
    assert_eq!((of.kept, of.missing, of.passed), (LAST, 1, LAST + 1));
}
