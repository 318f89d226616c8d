//! A damaged log written anew: what counts is right, what does not is counted, and no index comes twice.

use std::{collections::BTreeMap, io, io::Write as _, path::Path};

use anser_log::{
    Change, Kept, Log, Mended, MendedState, Opened, Options, Stored,
    disk::simulated::{Fault, FaultPoint, Image, SimulatedDisk, Times},
};

use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
};

/// Behind which entry the first ones stand.
pub(crate) const BEGINNING: u64 = 1;
pub(crate) const SHARDS: u16 = 3;
pub(crate) const LAST: u64 = 40;

pub(crate) fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), small_options()).unwrap()
}

pub(crate) fn snapshot(log: &Opened<SimulatedDisk>, shard: u16, index: u64) {
    let mut writer = log.store.begin_snapshot(shard, index, 1).unwrap();
    writer.write_all(&[7; 500]).unwrap();
    let snapshot = Some(writer.finish().unwrap());
    let change = Change {
        snapshot,
        ..Change::default()
    };
    log.store.commit(shard, change).unwrap();
}

/// A closed log of some files: each batch has an entry of one shard, and shard 0 has a later snapshot.
pub(crate) fn sample() -> Image {
    sample_with(&small_options())
}

pub(crate) fn sample_with(options: &Options) -> Image {
    let disk = SimulatedDisk::default();
    let mut log = Log::open(disk.clone(), options.clone()).unwrap();
    for shard in 0..SHARDS {
        snapshot(&log, shard, BEGINNING);
    }
    for index in BEGINNING + 1..=LAST {
        for shard in 0..SHARDS {
            let write = plain_write(shard, index..=index, 60);
            log.appender.append(&[write]).unwrap();
        }
    }
    snapshot(&log, 0, 20);
    log.appender.close().unwrap();
    disk.contents()
}

pub(crate) fn log_files(image: &Image) -> Vec<String> {
    let files = image.files.keys();
    let logs = files.filter(|path| Path::new(path).extension().is_some_and(|it| it == "wal"));
    let begun = logs.filter(|path| image.files[*path].starts_with(b"AWAL"));
    begun.cloned().collect()
}

/// Mends, and the highest index that was told of as left out, by shard.
pub(crate) fn mend(disk: &SimulatedDisk) -> (Mended, BTreeMap<u16, u64>) {
    let mut left_out = BTreeMap::new();
    let mended = Log::mend(disk, &small_options(), BEGINNING, &mut |shard, entry| {
        *left_out.entry(shard).or_insert(0) += 1;
        let right = plain_write(shard, entry.index..=entry.index, 60);
        assert_eq!(*entry, right.entries[0]);
    });
    (mended.unwrap(), left_out)
}

/// Everything that the mended log says is right, and its next entries have indexes that nobody had.
fn check(disk: &SimulatedDisk, mended: &Mended) {
    let mut log = open(disk);
    assert!(log.report.damage.is_empty(), "{:?}", log.report.damage);
    assert!(log.report.mended, "its shards do not agree yet");
    let image = disk.contents();
    let files = log_files(&image);
    let lengths = files.iter().map(|file| image.files[file].len());
    assert!(
        lengths.max() <= Some(4096),
        "files are as long as they may be"
    );
    assert!(files.len() <= 13, "and no more than it takes: {files:?}");
    log.store.note_agreed().unwrap();
    for (&shard, of) in &mended.shards {
        assert_eq!(of.state, MendedState::Snapshot, "{of:?}");
        let found = log.shards.iter().find(|it| it.shard == shard).unwrap();
        let may_lack = of.loses() || mended.unreadable_bytes > 0;
        assert_eq!(found.damaged, may_lack, "{of:?}");
        assert!(of.passed >= LAST, "{of:?}");
        let lost = of.left_out + of.missing;
        assert!(
            of.kept + lost >= LAST || mended.unreadable_bytes > 0,
            "{of:?}"
        );
        for index in BEGINNING + 1..=of.passed {
            let is_covered = shard == 0 && index <= 20;
            let Ok(Stored::Entry(entry)) = log.reader.read(shard, index) else {
                assert!(is_covered, "{shard} {index}: {of:?}");
                continue;
            };
            let right = &plain_write(shard, index..=index, 60).entries[0];
            let is_nothing = entry.data.is_empty();
            assert!(is_nothing || entry == *right, "{shard} {index}");
            assert!(
                is_covered || is_nothing == (index > of.kept),
                "{shard} {index} {of:?}"
            );
        }
        let next = plain_write(shard, of.passed + 1..=of.passed + 1, 60);
        log.appender.append(&[next]).unwrap();
    }
    log.appender.close().unwrap();
    assert!(
        Log::mend(disk, &small_options(), BEGINNING, &mut |_, _| ())
            .unwrap()
            .damage
            .is_empty()
    );
    assert!(!open(disk).report.mended);
}

#[test]
fn a_whole_log_stays_as_it_is() {
    let image = sample();
    let disk = SimulatedDisk::from_image(&image);
    assert!(mend(&disk).0.damage.is_empty());
    assert_eq!(disk.contents().files, image.files);
}

#[test]
fn one_flipped_bit_takes_entries_of_one_shard() {
    let image = sample();
    let disk = SimulatedDisk::from_image(&image);
    // A body, so that its header tells whose it is.
    let body = plain_write(1, 14..=14, 60).entries[0].data.clone();
    let mut places = Vec::new();
    for file in log_files(&image) {
        let windows = image.files[&file].windows(60).enumerate();
        let found = windows.filter(|(_, bytes)| *bytes == &body[..]);
        places.extend(found.map(|(at, _)| (file.clone(), at)));
    }
    // Each shard has the same one; they were sent in the order of the shards.
    let (file, at) = &places[1];
    let at = *at;
    disk.damage(file, |bytes| bytes[at] ^= 1);
    assert!(Log::open(disk.clone(), small_options()).is_err());

    let (mended, left_out) = mend(&disk);
    assert_eq!(mended.damage.len(), 1);
    assert!(
        mended.damage[0]
            .to_string()
            .contains(&format!("at byte {}", at - 56))
    );
    let kept: Vec<u64> = mended.shards.values().map(|of| of.kept).collect();
    assert_eq!(kept, [LAST, 13, LAST]);
    assert_eq!((mended.shards[&1].missing, left_out[&1]), (1, LAST - 14));
    assert!(mended.shards[&1].loses() && !mended.shards[&2].loses());
    check(&disk, &mended);
    let aside = disk.paths();
    assert!(aside.contains(&format!("{file}.damaged")), "{aside:?}");
}

#[test]
fn whatever_byte_is_changed_what_counts_afterwards_is_right() {
    let image = sample();
    let mut mended_times = 0;
    for file in log_files(&image) {
        for at in (0..image.files[&file].len()).step_by(41) {
            let disk = SimulatedDisk::from_image(&image);
            disk.damage(&file, |bytes| bytes[at] ^= 1 << (at % 8));
            if Log::open(SimulatedDisk::from_image(&disk.contents()), small_options()).is_ok() {
                continue;
            }
            let (mended, _) = mend(&disk);
            assert!(!mended.damage.is_empty(), "{file} {at}");
            check(&disk, &mended);
            mended_times += 1;
        }
    }
    assert!(mended_times > 60, "{mended_times}");
}

#[test]
fn files_that_are_gone_or_short_or_zeros_or_cannot_be_read_are_done_without() {
    for harm in HARMS {
        for file in log_files(&sample()) {
            let mut image = sample();
            harm(&mut image, &file);
            let disk = SimulatedDisk::from_image(&image);
            let (mended, _) = mend(&disk);
            assert!(
                !mended.damage.is_empty() && mended.unreadable_bytes > 0,
                "{file}"
            );
            check(&disk, &mended);
        }
    }
}

/// What may become of a file.
pub(crate) const HARMS: [fn(&mut Image, &str); 4] = [
    |image, file| drop(image.files.remove(file)),
    |image, file| {
        let short = image.files[file][..1000].to_vec();
        image.files.insert(file.to_owned(), short.into());
    },
    |image, file| {
        let sectors = std::iter::once(1).collect();
        image.unreadable.insert(file.to_owned(), sectors);
    },
    |image, file| {
        let zeros = vec![0; image.files[file].len()];
        image.files.insert(file.to_owned(), zeros.into());
    },
];

#[test]
fn what_the_snapshot_covers_is_not_missed() {
    let mut image = sample();
    let first = log_files(&image).remove(0);
    image.files.remove(&first);
    let disk = SimulatedDisk::from_image(&image);
    let (mended, _) = mend(&disk);
    assert_eq!(mended.shards[&0].kept, LAST, "its snapshot is of entry 20");
    assert_eq!(mended.shards[&1].kept, BEGINNING);
    check(&disk, &mended);
}

#[test]
fn a_damaged_snapshot_is_done_without_if_the_log_has_all_entries() {
    let mut image = sample();
    let snapshot = snapshot_of(&SimulatedDisk::from_image(&image), "/00000/");
    image.files.remove(&snapshot);
    let disk = SimulatedDisk::from_image(&image);
    let (mended, _) = mend(&disk);
    let all = mended.shards[&0];
    assert_eq!((all.state, all.kept), (MendedState::Entries, LAST));
    assert!(!all.loses());
    assert!(
        open(&disk).shards[0].damaged,
        "its state is to be made anew"
    );

    // Not so if the oldest files were used again.
    let disk = recycled();
    let snapshot = snapshot_of(&disk, "/00001/");
    disk.damage(&snapshot, |bytes| bytes[100] ^= 1);
    let (mended, _) = mend(&disk);
    let lost = mended.shards[&1];
    assert_eq!((lost.state, lost.kept), (MendedState::Lost, 0));
    assert!(lost.loses() && lost.passed >= LAST);
    let log = open(&disk);
    let shard = log.shards.iter().find(|it| it.shard == 1).unwrap();
    assert_eq!((shard.last_index, shard.snapshot), (0, None));
    assert!(log.store.segments(1).is_empty());
    assert!(disk.paths().contains(&format!("{snapshot}.damaged")));
}

/// Shards with segments, of which the oldest log files are no more.
fn recycled() -> SimulatedDisk {
    let disk = SimulatedDisk::from_image(&sample());
    let log = open(&disk);
    for shard in 0..SHARDS {
        compact_all(&log, shard, BEGINNING + 1, 30).unwrap();
    }
    let due = log.store.due(&BTreeMap::new());
    let mut due = due.unwrap_or_else(|| log.store.due_all().unwrap());
    due.through_file = due.through_file.min(2);
    log.store.recycle(due).unwrap();
    log.appender.close().unwrap();
    disk
}

pub(crate) fn snapshot_of(disk: &SimulatedDisk, shard: &str) -> String {
    let mut files = disk.paths().into_iter();
    let file = files.find(|path| path.contains(shard) && path.ends_with(".snapshot"));
    file.unwrap()
}

/// Changes a bit of the last entry of a shard that the log has.
pub(crate) fn damage_last(disk: &SimulatedDisk, of: usize) {
    let body = plain_write(0, LAST..=LAST, 60).entries[0].data.clone();
    let image = disk.contents();
    let mut places = Vec::new();
    for file in log_files(&image) {
        let windows = image.files[&file].windows(60).enumerate();
        let found = windows.filter(|(_, bytes)| *bytes == &body[..]);
        places.extend(found.map(|(at, _)| (file.clone(), at)));
    }
    // Each shard has the same one.
    let (file, at) = places.swap_remove(of);
    disk.damage(&file, |bytes| bytes[at] ^= 1);
}

#[test]
fn what_a_lost_shard_had_is_passed_by_a_second_mending_too() {
    let disk = recycled();
    let snapshot = snapshot_of(&disk, "/00001/");
    disk.damage(&snapshot, |bytes| bytes[100] ^= 1);
    let (mended, _) = mend(&disk);
    let passed = mended.shards[&1].passed;
    assert!(passed >= LAST);
    // Whoever mends did not see to the rest, and another entry is damaged meanwhile.
    damage_last(&disk, 1);
    let (again, _) = mend(&disk);
    let lost = again.shards[&1];
    assert_eq!(lost.state, MendedState::Lost);
    assert!(lost.passed >= passed, "{lost:?}");
    assert!(again.shards[&2].loses(), "{again:?}");
    let log = open(&disk);
    let shard = log.shards.iter().find(|it| it.shard == 1).unwrap();
    assert_eq!(shard.last_index, 0);
    assert!(shard.floor > passed && shard.damaged, "{shard:?}");
}

#[test]
fn what_a_damaged_snapshot_covers_is_passed() {
    let disk = recycled();
    let mut image = disk.contents();
    for file in log_files(&image) {
        image.files.remove(&file);
    }
    let disk = SimulatedDisk::from_image(&image);
    let snapshot = snapshot_of(&disk, "/00001/");
    disk.damage(&snapshot, |bytes| bytes[100] ^= 1);
    let (mended, _) = mend(&disk);
    let lost = mended.shards[&1];
    assert_eq!(lost.state, MendedState::Lost);
    assert!(lost.passed >= 30, "{lost:?}");
}

#[test]
fn a_shard_that_was_given_away_is_nothing_that_mending_lost() {
    let disk = recycled();
    let log = open(&disk);
    log.store.forget(2, LAST + 1, false).unwrap();
    log.appender.close().unwrap();
    damage_last(&disk, 1);
    let (mended, _) = mend(&disk);
    assert!(mended.shards[&1].loses(), "{mended:?}");
    let log = open(&disk);
    let shard = log.shards.iter().find(|it| it.shard == 2).unwrap();
    assert!(shard.floor > LAST && !shard.damaged, "{shard:?}");
}

#[test]
fn what_a_segment_has_of_an_entry_is_found_though_the_log_lost_it() {
    let disk = SimulatedDisk::from_image(&sample());
    let log = open(&disk);
    let mut writer = log.store.begin_segment(0).unwrap();
    let kept = Kept {
        index: 10,
        term: 1,
        payload: b"alive".to_vec().into(),
    };
    writer.append(&kept).unwrap();
    let change = Change {
        add: writer.finish().unwrap(),
        ..Change::default()
    };
    log.store.commit(0, change).unwrap();
    log.appender.close().unwrap();
    let body = plain_write(0, 10..=10, 60).entries[0].data.clone();
    let image = disk.contents();
    let mut files = log_files(&image).into_iter();
    let place = |file: &String| {
        let mut windows = image.files[file].windows(60);
        windows.position(|bytes| bytes == &body[..])
    };
    // The first one is that of shard 0.
    let found = files.find_map(|file| place(&file).map(|at| (file, at)));
    let (file, at) = found.unwrap();
    disk.damage(&file, |bytes| bytes[at] ^= 1);
    let (mended, _) = mend(&disk);
    assert_eq!(mended.shards[&0].kept, LAST, "its snapshot covers it");
    let log = open(&disk);
    match log.reader.read(0, 10).unwrap() {
        Stored::Kept(found) => assert_eq!(found.payload, kept.payload),
        Stored::Entry(entry) => panic!("{entry:?}"),
    }
}

#[test]
fn what_is_damaged_is_kept_though_mending_ends_before_it_is_set_aside() {
    let disk = SimulatedDisk::from_image(&sample());
    let log_file = log_files(&disk.contents()).remove(1);
    let damaged = [log_file, snapshot_of(&disk, "/00001/")];
    for path in &damaged {
        disk.damage(path, |bytes| bytes[200] ^= 1);
    }
    let image = disk.contents();
    for part in [".wal", ".snapshot"] {
        disk.inject(Fault {
            point: FaultPoint::Rename,
            path_part: part.into(),
            skip: 0,
            times: Times::Forever,
            kind: io::ErrorKind::Other,
        });
    }
    mend(&disk);
    let disk = SimulatedDisk::from_image(&disk.contents());
    // Whoever starts a server meanwhile is told to repair.
    assert!(open(&disk).report.mended);
    let kept = disk.contents();
    for path in &damaged {
        let aside = kept.files.get(&format!("{path}.damaged"));
        assert_eq!(aside, image.files.get(path), "{path}");
    }
}

#[test]
fn mending_that_is_cut_short_begins_again() {
    let mut image = sample();
    let file = log_files(&image).remove(1);
    image.files.remove(&file);
    let disk = SimulatedDisk::from_image(&image);
    disk.inject(Fault {
        point: FaultPoint::Rename,
        path_part: "manifest".into(),
        skip: 0,
        times: Times::Once,
        kind: io::ErrorKind::Other,
    });
    let options: Options = small_options();
    let cut = Log::mend(&disk, &options, BEGINNING, &mut |_, _| ());
    assert!(cut.is_err());
    let (mended, _) = mend(&disk);
    check(&disk, &mended);
}
