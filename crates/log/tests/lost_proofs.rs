//! What proves that something was durable may be damaged or lost itself, and places that cannot be read are written over.

use std::sync::Arc;

use anser_log::{
    Entry, EntryKind, HardState, Log, Opened, Options, Write,
    disk::simulated::{Image, SECTOR_BYTES, SimulatedDisk},
};
use bytes::Bytes;

use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
};

const PAGE_BYTES: usize = 4096;
const MARKS: &str = "wal/durable";
const LOG: &str = "wal/0000000000000001.wal";

fn options(has_peers: bool) -> Options {
    Options {
        wal_file_bytes: 16 << 10,
        wal_budget_bytes: 64 << 10,
        wal_held_bytes: 128 << 10,
        has_peers,
        ..small_options()
    }
}

fn open(disk: &SimulatedDisk, has_peers: bool) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), options(has_peers)).unwrap()
}

fn append(opened: &mut Opened<SimulatedDisk>, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        let write = plain_write(1, index..=index, 700);
        opened.appender.append(&[write]).unwrap();
    }
}

/// Where the log ends.
fn end(disk: &SimulatedDisk) -> usize {
    let content = &disk.contents().files[LOG];
    content.iter().rposition(|&byte| byte != 0).unwrap() + 1
}

fn change(image: &mut Image, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    change(Arc::make_mut(image.files.get_mut(path).unwrap()));
}

#[test]
fn marks_are_written_over_a_page_that_cannot_be_read() {
    for slot in 0..2 {
        let disk = SimulatedDisk::default();
        append(&mut open(&disk, false), 1..=3);
        assert!(disk.spoil(MARKS, slot * PAGE_BYTES));
        for _ in 0..3 {
            let mut opened = open(&disk, false);
            assert_eq!(opened.shards[0].last_index, 3);
            opened.appender.mark_durable().unwrap();
        }
        assert!(!disk.cannot_read(MARKS), "both slots were written since");
    }
}

/// What a file holds that is used again counts no more, and so it does not matter that it cannot be read.
#[test]
fn a_bad_page_behind_the_end_of_the_log_is_written_over() {
    for has_peers in [false, true] {
        let disk = SimulatedDisk::default();
        let mut opened = open(&disk, has_peers);
        append(&mut opened, 1..=3);
        for page in 1..=2 {
            assert!(disk.spoil(LOG, page * PAGE_BYTES + SECTOR_BYTES));
        }
        // Batches end in the middle of the first one, and begin there.
        append(&mut opened, 4..=7);
        drop(opened);
        assert!(
            disk.cannot_read(LOG),
            "the second one is still behind the end"
        );
        let mut opened = open(&disk, has_peers);
        let found = opened.shards[0];
        assert_eq!(found.last_index, 7);
        assert!(!found.doubtful && !found.lost, "nothing began there");
        append(&mut opened, 8..=16);
        assert!(!disk.cannot_read(LOG));
    }
}

/// Two nodes: the first decided alone, made the second a voter, and decided with it. A disk that loses all of that with the power
/// must not leave a log that says that the first may decide alone.
#[test]
fn the_loss_of_a_change_of_members_is_noticed() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk, true);
    append(&mut opened, 1..=3);
    compact_all(&opened, 1, 1, 3).unwrap();
    let before = end(&disk);
    let entry = Entry {
        index: 4,
        term: 1,
        kind: EntryKind::ChangeV2,
        data: Bytes::from_static(b"another voter"),
    };
    let write = Write {
        shard: 1,
        hard_state: None,
        entries: vec![entry],
    };
    opened.appender.append(&[write]).unwrap();
    let image = SimulatedDisk::from_image(&disk.durability().image(SECTOR_BYTES, &[]));
    append(&mut opened, 5..=6);
    let marks = image.contents().files[MARKS].clone();
    let mut image = disk.contents();
    // Marks that are not synced are lost with the power.
    image.files.insert(MARKS.to_owned(), marks);
    change(&mut image, LOG, |log| log[before..].fill(0));
    let opened = open(&SimulatedDisk::from_image(&image), true);
    let found = opened.shards[0];
    assert_eq!(found.last_index, 3);
    assert!(found.doubtful, "{found:?}");
}

/// A vote stands in the last batch, and the mark that says so is damaged as well, by a disk that did not lose its power.
#[test]
fn a_damaged_mark_may_have_been_the_one_that_tells_of_a_vote() {
    let disk = SimulatedDisk::default();
    let mut opened = open(&disk, true);
    append(&mut opened, 1..=3);
    compact_all(&opened, 1, 1, 3).unwrap();
    let before = end(&disk);
    let state = HardState {
        term: 7,
        vote: 2,
        commit: 3,
    };
    let write = Write {
        shard: 1,
        hard_state: Some(state),
        entries: Vec::new(),
    };
    opened.appender.append(&[write]).unwrap();
    let after = end(&disk);
    drop(opened);
    let number = |marks: &[u8], slot: usize| marks[slot * PAGE_BYTES + 8];
    let damage_mark = |marks: &mut Vec<u8>| {
        let newest = usize::from(number(marks, 1) > number(marks, 0));
        marks[newest * PAGE_BYTES + 20] ^= 1;
    };
    // Cut short, and gone without a trace.
    for from in [after - 8, before] {
        let mut image = disk.contents();
        change(&mut image, LOG, |log| log[from..].fill(0));
        change(&mut image, MARKS, damage_mark);
        let opened = open(&SimulatedDisk::from_image(&image), true);
        let found = opened.shards[0];
        assert_eq!(found.hard_state.term, 1);
        assert!(opened.report.suspect, "cut at {from}");
        assert_eq!(found.lost, from > before, "cut at {from}: {found:?}");
    }
}
