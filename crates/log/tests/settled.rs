//! What a start leaves on the disk: nothing that does not count, and everything that does.

use std::{collections::BTreeSet, io, sync::Arc};

use anser_log::{
    Error, FileSystem, Log, Opened, Options,
    disk::simulated::{Fault, FaultPoint, Image, SimulatedDisk, Times},
};

use crate::{
    driver::plain_write,
    faults::small_options,
    mending::{self, log_files, sample, snapshot_of},
};

const FIRST: &str = "wal/0000000000000001.wal";

fn open(disk: &SimulatedDisk) -> Result<Opened<SimulatedDisk>, Error> {
    Log::open(disk.clone(), small_options())
}

/// Two batches of which no mark tells.
fn two_batches() -> Image {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk).unwrap();
    mending::snapshot(&opened, 1, 1);
    for index in 2..=3 {
        let write = plain_write(1, index..=index, 60);
        opened.appender.append(&[write]).unwrap();
    }
    disk.contents()
}

fn written(image: &Image, path: &str) -> usize {
    let last = image.files[path].iter().rposition(|&byte| byte != 0);
    last.map_or(0, |at| at + 1)
}

#[test]
fn of_a_torn_batch_nothing_is_left_wherever_it_is_torn() {
    let image = two_batches();
    let end = written(&image, FIRST);
    for torn in end - 300..end {
        let mut image = image.clone();
        Arc::make_mut(image.files.get_mut(FIRST).unwrap())[torn..].fill(0);
        let disk = SimulatedDisk::from_image(&image);
        let opened = open(&disk).unwrap();
        let last = opened.shards[0].last_index;
        assert_eq!(last, 2, "{torn}");
        drop(opened);
        // The same batch again ends where it ended, and nothing stands behind it.
        let whole = SimulatedDisk::from_image(&disk.contents());
        let mut opened = open(&whole).unwrap();
        assert!(opened.report.torn_tail.is_none(), "{torn}");
        let write = plain_write(1, 3..=3, 4);
        opened.appender.append(&[write]).unwrap();
        drop(opened);
        assert!(open(&whole).unwrap().report.torn_tail.is_none(), "{torn}");
    }
}

#[test]
fn a_file_that_was_cut_short_has_its_length_again() {
    let mut image = two_batches();
    let end = written(&image, FIRST);
    let cut = image.files[FIRST][..end].to_vec();
    let length = image.files[FIRST].len();
    image.files.insert(FIRST.to_owned(), cut.into());
    let disk = SimulatedDisk::from_image(&image);
    let options = Options {
        has_peers: true,
        ..small_options()
    };
    drop(Log::open(disk.clone(), options).unwrap());
    assert_eq!(disk.contents().files[FIRST].len(), length);
}

#[test]
fn what_cannot_be_read_behind_the_end_is_written_over() {
    let options = || Options {
        wal_file_bytes: 16_384,
        has_peers: true,
        ..small_options()
    };
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), options()).unwrap();
    opened
        .appender
        .append(&[plain_write(1, 1..=3, 60)])
        .unwrap();
    let mut image = disk.contents();
    image
        .unreadable
        .insert(FIRST.to_owned(), BTreeSet::from([24]));
    let disk = SimulatedDisk::from_image(&image);
    let opened = Log::open(disk.clone(), options()).unwrap();
    assert_eq!(opened.report.holes.len(), 1);
    drop(opened);
    let opened = Log::open(disk, options()).unwrap();
    assert!(opened.report.holes.is_empty());
}

/// As a crash leaves it between the name of a file and the manifest that lists it.
#[test]
fn a_file_that_no_manifest_lists_stops_no_start_though_it_cannot_be_read() {
    let mut image = two_batches();
    let unlisted = "wal/0000000000000009.wal";
    image
        .files
        .insert(unlisted.to_owned(), vec![0; 4096].into());
    image
        .unreadable
        .insert(unlisted.to_owned(), BTreeSet::from([0]));
    let disk = SimulatedDisk::from_image(&image);
    assert_eq!(open(&disk).unwrap().shards[0].last_index, 3);
    assert!(!disk.contents().files.contains_key(unlisted), "it goes");
}

/// A file system that is mounted at a folder of the log has one of its own there.
#[test]
fn a_folder_among_the_files_stops_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Log::open(FileSystem::new(folder.path()), small_options());
    drop(open().unwrap());
    for strange in ["wal/lost+found", "shards/lost+found"] {
        std::fs::create_dir(folder.path().join(strange)).unwrap();
        open().unwrap();
    }
}

/// A start that suspects the log is in the manifest: one from before it must not make the suspicion go.
#[test]
fn a_manifest_from_before_a_suspicion_is_refused() {
    let disk = SimulatedDisk::from_image(&two_batches());
    let before = disk.contents();
    let other_boot = Options {
        boot: Some(2),
        ..small_options()
    };
    let mut opened = Log::open(disk.clone(), other_boot).unwrap();
    assert!(opened.report.suspect);
    let write = plain_write(1, 4..=4, 60);
    opened.appender.append(&[write]).unwrap();
    opened.appender.close().unwrap();
    let mut image = disk.contents();
    let manifest = before.files["manifest"].clone();
    image.files.insert("manifest".to_owned(), manifest);
    let opened = open(&SimulatedDisk::from_image(&image));
    let is_manifest =
        |error: &Error| matches!(error, Error::Corrupt { file, .. } if file == "manifest");
    assert!(opened.is_err_and(|error| is_manifest(&error)));
}

#[test]
fn files_that_are_over_are_removed_or_the_start_says_that_it_could_not() {
    let old = "wal/0000000000000000.wal";
    let mut image = sample();
    image.files.insert(old.to_owned(), vec![0; 9].into());
    let fault = |kind| Fault {
        point: FaultPoint::Remove,
        path_part: old.to_owned(),
        skip: 0,
        times: Times::Once,
        kind,
    };
    let disk = SimulatedDisk::from_image(&image);
    disk.inject(fault(io::ErrorKind::Other));
    assert!(open(&disk).is_err());
    disk.inject(fault(io::ErrorKind::NotFound));
    assert!(open(&disk).is_ok(), "somebody else removed it");
    let opened = open(&disk).unwrap();
    let read: usize = log_files(&image)
        .iter()
        .map(|file| image.files[file].len())
        .sum();
    assert_eq!(opened.report.bytes_replayed, read as u64);
    let left = disk.paths().into_iter().filter(|path| path.contains(old));
    assert_eq!(left.count(), 0);
}

/// Whatever is left shows that there was a manifest.
#[test]
fn a_disk_that_lost_its_manifest_is_not_laid_out_anew() {
    for gone in ["wal/0", "shards/"] {
        let mut image = sample();
        let files = &mut image.files;
        files.retain(|path, _| path != "manifest" && !path.starts_with(gone));
        let disk = SimulatedDisk::from_image(&image);
        let opened = open(&disk);
        let is_missed =
            |error: &Error| matches!(error, Error::MissingFile { file } if file == "manifest");
        assert!(opened.is_err_and(|error| is_missed(&error)), "{gone}");
        assert!(!disk.paths().contains(&"manifest".to_owned()));
    }
}

#[test]
fn damage_to_a_snapshot_is_named_and_a_read_that_fails_is_none() {
    let disk = SimulatedDisk::from_image(&sample());
    let snapshot = snapshot_of(&disk, "/00001/");
    disk.inject(Fault {
        point: FaultPoint::Read,
        path_part: snapshot.clone(),
        skip: 0,
        times: Times::Once,
        kind: io::ErrorKind::Other,
    });
    assert!(open(&disk).unwrap().report.damage.is_empty());
    disk.damage(&snapshot, |bytes| bytes[10] ^= 1);
    let opened = open(&disk).unwrap();
    let damaged: Vec<u16> = opened.report.damage.iter().map(|it| it.shard).collect();
    assert_eq!(damaged, [1], "the others open");
}
