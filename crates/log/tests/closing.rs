//! What a start makes of how the log ended: closed, a crash of the process, or of the machine.

use std::collections::BTreeMap;

use anser_log::{Error, Log, Opened, Options, disk::simulated::SimulatedDisk};

use crate::{driver::plain_write, faults::small_options};

fn open(disk: &SimulatedDisk, boot: Option<u64>) -> Opened<SimulatedDisk> {
    let options = Options {
        boot,
        ..small_options()
    };
    Log::open(disk.clone(), options).unwrap()
}

/// A disk with three batches of one entry each, and the length of its log after each.
fn three_batches(disk: &SimulatedDisk, boot: Option<u64>) -> Opened<SimulatedDisk> {
    let mut opened = open(disk, boot);
    assert!(!opened.report.suspect, "there is nothing to lose");
    for index in 1..=3 {
        let write = plain_write(1, index..=index, 700);
        opened.appender.append(&[write]).unwrap();
    }
    opened
}

/// Core review, finding 2: a disk that loses the last sector that it had promised makes an acknowledged batch look
/// like one that was cut short, or like nothing, if it was no longer than a sector.
#[test]
fn what_a_disk_may_have_lost_with_the_power_is_suspected() {
    for sectors in 1..=3 {
        let disk = SimulatedDisk::default();
        drop(three_batches(&disk, Some(1)));
        let mut image = disk.contents();
        let log = image
            .files
            .iter_mut()
            .find(|(name, _)| name.starts_with("wal/0"));
        let content = std::sync::Arc::make_mut(log.unwrap().1);
        let end = content.iter().rposition(|&byte| byte != 0).unwrap();
        let from = end / 512 * 512 - (sectors - 1) * 512;
        content[from..=end].fill(0);
        let disk = SimulatedDisk::from_image(&image);
        let opened = open(&disk, Some(2));
        assert!(opened.shards[0].last_index < 3, "the last batch is lost");
        assert!(opened.report.suspect);
        drop(opened);
        let opened = open(&disk, Some(2));
        assert!(opened.report.suspect, "until somebody clears it");
        opened.store.clear_suspicion().unwrap();
        drop(opened);
        assert!(!open(&disk, Some(2)).report.suspect);
    }
}

#[test]
fn a_crash_of_the_process_alone_is_no_reason_to_suspect_anything() {
    let disk = SimulatedDisk::default();
    drop(three_batches(&disk, Some(1)));
    assert!(!open(&disk, Some(1)).report.suspect);
}

#[test]
fn suspicion_that_ends_on_a_full_disk_ends_there_when_there_is_room() {
    let disk = SimulatedDisk::default();
    drop(three_batches(&disk, Some(1)));
    let opened = open(&disk, Some(2));
    assert!(opened.report.suspect);
    disk.set_capacity(disk.used_bytes());
    let refused = opened.store.clear_suspicion();
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    disk.set_capacity(u64::MAX);
    // Any manifest will do.
    opened.store.commit_all(&BTreeMap::new()).unwrap();
    drop(opened);
    assert!(!open(&disk, Some(2)).report.suspect);
}

#[test]
fn a_log_that_was_closed_may_be_moved_to_another_machine() {
    let disk = SimulatedDisk::default();
    three_batches(&disk, Some(1)).appender.close().unwrap();
    assert!(!open(&disk, Some(2)).report.suspect);
    // The start in between has ended what was said about the end before it.
    assert!(open(&disk, Some(3)).report.suspect);
}

#[test]
fn who_does_not_know_its_boot_trusts_only_what_was_closed() {
    let disk = SimulatedDisk::default();
    drop(three_batches(&disk, None));
    let opened = open(&disk, None);
    assert!(opened.report.suspect);
    opened.store.clear_suspicion().unwrap();
    opened.appender.close().unwrap();
    assert!(!open(&disk, None).report.suspect);
}
