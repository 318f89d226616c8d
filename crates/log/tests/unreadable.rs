//! Places of the log that cannot be read, of a node whose shards others have too: near the end a batch may have stood there.

use anser_log::{
    Error, Log, Opened, Options,
    disk::simulated::{Image, SECTOR_BYTES, SimulatedDisk},
};

use crate::{driver::plain_write, faults::small_options, mending};

const PAGE_BYTES: usize = 4096;
const FIRST: &str = "wal/0000000000000001.wal";
const SECOND: &str = "wal/0000000000000002.wal";

/// Files of two pages.
fn options() -> Options {
    Options {
        wal_file_bytes: 2 * PAGE_BYTES as u64,
        has_peers: true,
        ..small_options()
    }
}

/// A log with a batch of each of these lengths, from entry 2 on, of which no mark tells.
fn written(lengths: &[usize]) -> Image {
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), options()).unwrap();
    // Who has no state has no vote, and nothing that it could have lost.
    mending::snapshot(&opened, 1, 1);
    for (index, &length) in (2..).zip(lengths) {
        let write = plain_write(1, index..=index, length);
        opened.appender.append(&[write]).unwrap();
    }
    disk.contents()
}

/// Where the last batch of a file ends.
fn end(image: &Image, path: &str) -> usize {
    let last = image.files[path].iter().rposition(|&byte| byte != 0);
    last.map_or(0, |at| at + 1)
}

fn open_without(
    image: &Image,
    path: &str,
    pages: std::ops::Range<usize>,
) -> Result<Opened<SimulatedDisk>, Error> {
    let mut image = image.clone();
    let sectors = pages.map(|page| page * PAGE_BYTES / SECTOR_BYTES);
    image.unreadable.insert(path.to_owned(), sectors.collect());
    Log::open(SimulatedDisk::from_image(&image), options())
}

/// The last entry that is there, and whether there may have been more.
fn found(opened: &Opened<SimulatedDisk>) -> (u64, bool) {
    let shard = opened.shards.iter().find(|it| it.shard == 1).unwrap();
    assert!(!shard.lost, "a vote would have been marked");
    (shard.last_index, shard.doubtful)
}

#[test]
fn a_batch_that_cannot_be_read_wherever_it_began_makes_its_shard_doubtful() {
    let mut began_behind = 0;
    for length in (3_400..3_840).step_by(8) {
        let one = written(&[length]);
        let two = written(&[length, 200]);
        let lost = end(&two, FIRST) > PAGE_BYTES && end(&one, FIRST) <= PAGE_BYTES;
        let opened = open_without(&two, FIRST, 1..2).unwrap();
        if lost {
            assert_eq!(found(&opened), (2, true), "{length}");
            began_behind += usize::from(end(&one, FIRST) + 40 > PAGE_BYTES);
        }
        // Where the beginning of a batch could be read there was none.
        if end(&one, FIRST) < PAGE_BYTES - 256 {
            let opened = open_without(&one, FIRST, 1..2).unwrap();
            assert_eq!(found(&opened), (2, false), "{length}");
        }
    }
    assert!(began_behind > 2, "{began_behind}");
}

#[test]
fn a_next_file_that_cannot_be_read_from_its_beginning_makes_its_shard_doubtful() {
    let image = written(&[3_000, 3_000, 3_000]);
    assert!(end(&image, SECOND) > 0);
    let opened = open_without(&image, SECOND, 0..1).unwrap();
    assert_eq!(found(&opened), (3, true));
    let unused = written(&[3_000, 3_000]);
    let opened = open_without(&unused, SECOND, 1..2).unwrap();
    assert_eq!(found(&opened), (3, false));
}

/// A device that gives nothing at all may give it later.
#[test]
fn a_small_file_of_which_nothing_can_be_read_is_no_damage() {
    let image = written(&[200]);
    let error = open_without(&image, FIRST, 0..2).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(open_without(&image, FIRST, 1..2).is_ok());
}
