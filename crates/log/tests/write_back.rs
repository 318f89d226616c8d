//! One damaged record of the write-ahead log is written back, with what another node has of the entry: its very bytes, or
//! none.

use std::sync::Arc;

use anser_log::{
    Entry, Error, Log, Opened, Standing, Stored, Verified, Write,
    disk::simulated::{Image, SimulatedDisk},
};
use bytes::Bytes;

use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
    hooked::HookedDisk,
};

const HEADER_BYTES: usize = 56;
const LAST: u64 = 40;

/// Batches of two entries of shard 1, whose bodies need no padding.
fn writes() -> impl Iterator<Item = Write> {
    (1..=LAST)
        .step_by(2)
        .map(|first| plain_write(1, first..=first + 1, 160))
}

fn entry(index: u64) -> Entry {
    let mut entries = writes().flat_map(|write| write.entries);
    entries.find(|entry| entry.index == index).unwrap()
}

fn log() -> (SimulatedDisk, Opened<SimulatedDisk>) {
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), small_options()).unwrap();
    for write in writes() {
        opened.appender.append(&[write]).unwrap();
    }
    opened.appender.mark_durable().unwrap();
    (disk, opened)
}

/// Where the record of an entry of shard 1 begins (`docs/formats/wal.md`).
fn place_of(image: &Image, index: u64) -> (String, usize) {
    let logs = image.files.iter().filter(|(name, _)| is_log(name));
    let mut found = logs.filter_map(|(name, content)| {
        let sequence: u64 = name[4..20].parse().unwrap();
        let is_it = |at: &usize| {
            content[*at..].starts_with(b"AWAL")
                && content[at + 5] == 3
                && content[at + 16..at + 24] == sequence.to_le_bytes()
                && content[at + 32..at + 40] == index.to_le_bytes()
        };
        let mut places = (0..content.len() - HEADER_BYTES).step_by(8);
        Some((name.clone(), places.find(is_it)?))
    });
    found.next().unwrap()
}

fn is_log(name: &str) -> bool {
    name.strip_suffix(".wal").is_some()
}

fn check_whole(opened: &Opened<SimulatedDisk>) {
    for index in 1..=LAST {
        let stored = opened.reader.read(1, index).unwrap();
        assert_eq!(stored, Stored::Entry(entry(index)));
    }
    let mut verified = Verified::default();
    while opened
        .reader
        .verify_log(&mut verified, 1_000)
        .unwrap()
        .is_some()
    {}
}

/// In a file at rest and in the one being written: a bit of the header, of the body, of both, and a whole sector.
#[test]
fn a_damaged_record_is_written_back_as_it_was() {
    for index in [3, 4, LAST - 1, LAST] {
        let (disk, opened) = log();
        let before = disk.contents();
        let (name, at) = place_of(&before, index);
        let bits = [
            vec![at + 20],
            vec![at + HEADER_BYTES + 9],
            vec![at + 8, at + HEADER_BYTES],
        ];
        for flipped in bits {
            for &byte in &flipped {
                disk.damage(&name, |content| content[byte] ^= 4);
            }
            let error = opened.reader.read(1, index).unwrap_err();
            let Error::Corrupt { file, offset, .. } = error else {
                panic!("{error}");
            };
            assert_eq!((&file, offset), (&name, at as u64));
            let standing = opened.store.standing(1, &file, offset);
            assert_eq!(standing, Standing::Entry { index, term: 1 });
            opened.store.write_back(1, &entry(index)).unwrap();
            check_whole(&opened);
            assert_eq!(disk.contents().files[&name], before.files[&name]);
        }
        let again = Log::open(SimulatedDisk::from_image(&disk.contents()), small_options());
        let again = again.unwrap();
        assert!(!again.report.suspect && again.report.damage.is_empty());
        check_whole(&again);
    }
}

/// Each by what can still be read of it, or before and behind it.
#[test]
fn neighbours_that_are_damaged_together_are_written_back() {
    for order in [[3, 4], [4, 3]] {
        let (disk, opened) = log();
        let (name, at) = place_of(&disk.contents(), 3);
        disk.damage(&name, |content| {
            content[at + 10] ^= 1;
            content[at + 2 * HEADER_BYTES + 160 + 10] ^= 1;
        });
        for index in order {
            opened.store.write_back(1, &entry(index)).unwrap();
        }
        check_whole(&opened);
    }
}

#[test]
fn what_nothing_vouches_for_is_not_written_back() {
    let (disk, opened) = log();
    let (name, at) = place_of(&disk.contents(), 3);
    disk.damage(&name, |content| {
        content[at + 10] ^= 1;
        content[at + HEADER_BYTES + 160 + 10] ^= 1;
    });
    for index in [3, 4] {
        let refused = opened.store.write_back(1, &entry(index));
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
}

/// Of another term, with another body, or longer; whether its own header can be read or only the record behind it.
#[test]
fn nothing_is_written_back_that_never_stood_there() {
    for spoilt in [HEADER_BYTES, 20] {
        let (disk, opened) = log();
        let (name, at) = place_of(&disk.contents(), 5);
        disk.damage(&name, |content| content[at + spoilt] ^= 1);
        let before = disk.contents();
        let own = entry(5);
        let other = |data: Vec<u8>| Entry {
            data: Bytes::from(data),
            ..own.clone()
        };
        let wrong = [
            Entry {
                term: 2,
                ..own.clone()
            },
            Entry {
                index: 6,
                ..own.clone()
            },
            other(vec![1; 160]),
            other([&own.data[..], b"more"].concat()),
            other(vec![1; 8_000]),
        ];
        for entry in wrong {
            let refused = opened.store.write_back(1, &entry);
            let is_refused = matches!(
                refused,
                Err(Error::Refused { .. } | Error::Overtaken { .. })
            );
            assert!(is_refused, "{refused:?}");
            let of_nobody = opened.store.write_back(2, &entry);
            assert!(matches!(of_nobody, Err(Error::Overtaken { .. })));
        }
        assert_eq!(disk.contents().files, before.files);
    }
}

/// The file got another number, and batches of it, between the look at it and the write.
#[test]
fn a_file_that_is_recycled_meanwhile_is_not_written_to() {
    let simulated = SimulatedDisk::default();
    let disk = HookedDisk::new(simulated.clone());
    let mut opened = Log::open(disk.clone(), small_options()).unwrap();
    for write in writes() {
        opened.appender.append(&[write]).unwrap();
    }
    let (name, at) = place_of(&simulated.contents(), 3);
    simulated.damage(&name, |content| content[at + HEADER_BYTES] ^= 1);
    let (store, entry) = (opened.store.clone(), entry(3));
    let (done, left) = std::sync::mpsc::channel();
    disk.after_next_read(move || {
        simulated.damage(&name, |content| content[at + HEADER_BYTES] ^= 1);
        compact_all(&opened, 1, 1, LAST).unwrap();
        let due = opened.store.due_all().unwrap();
        opened.store.recycle(due).unwrap();
        // Into the recycled file too.
        for index in LAST + 1..=LAST + 60 {
            let write = plain_write(1, index..=index, 160);
            opened.appender.append(&[write]).unwrap();
        }
        done.send((simulated.contents(), simulated, opened))
            .unwrap();
    });
    let overtaken = store.write_back(1, &entry);
    assert!(
        matches!(overtaken, Err(Error::Overtaken { .. })),
        "{overtaken:?}"
    );
    let (before, simulated, _opened) = left.recv().unwrap();
    assert_eq!(simulated.contents().files, before.files);
}

/// Cut short anywhere, with any of its sectors on the device: the next start finds the record damaged or whole, and
/// nothing else changed.
#[test]
fn a_crash_in_the_middle_changes_nothing_else() {
    for (index, spoilt) in [(3, 20), (LAST, HEADER_BYTES + 3), (LAST - 1, 8)] {
        let (disk, opened) = log();
        let (name, at) = place_of(&disk.contents(), index);
        disk.damage(&name, |content| content[at + spoilt] ^= 1);
        let image = disk.contents();
        let durability = disk.durability();
        disk.record();
        opened.store.write_back(1, &entry(index)).unwrap();
        let operations = disk.recorded();
        for end in 0..=operations.len() {
            let mut during = durability.clone();
            operations[..end].iter().for_each(|it| during.apply(it));
            let choices = during.choices(512);
            for number in 0..1 << choices.len() {
                let picks = choices.iter().enumerate();
                let picks = picks.map(|(at, most)| most * (number >> at & 1));
                let crashed = during.image(512, &picks.collect::<Vec<_>>());
                let differs = |(path, content): (&String, &Arc<Vec<u8>>)| {
                    let before = image.files[path].iter().zip(content.iter());
                    before.enumerate().any(|(byte, (before, after))| {
                        before != after && !(path == &name && byte == at + spoilt)
                    })
                };
                let mut logs = crashed.files.iter().filter(|(it, _)| is_log(it));
                assert!(!logs.any(differs), "{index}, after {end}");
            }
        }
    }
}

/// A write-back that fails is a failed write, and one that the device does not take is told.
#[test]
fn what_cannot_be_written_back_is_told() {
    use anser_log::disk::simulated::{Fault, FaultPoint, Times};
    for point in [FaultPoint::Write, FaultPoint::Sync] {
        let (disk, opened) = log();
        let (name, at) = place_of(&disk.contents(), 3);
        disk.damage(&name, |content| content[at + HEADER_BYTES] ^= 1);
        disk.inject(Fault {
            point,
            path_part: name,
            skip: 0,
            times: Times::Once,
            kind: std::io::ErrorKind::Other,
        });
        let failed = opened.store.write_back(1, &entry(3));
        assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    }
}

#[test]
fn an_error_tells_what_stands_where_it_was_met() {
    let (disk, opened) = log();
    compact_all(&opened, 1, 1, 10).unwrap();
    let paths = disk.paths();
    let of_kind = |kind: &str| paths.iter().find(|path| path.ends_with(kind)).unwrap();
    let standing = |path: &str| opened.store.standing(1, path, 32);
    let info = opened.store.segments(1)[0];
    assert_eq!(standing(of_kind(".segment")), Standing::Segment(info));
    assert_eq!(standing(of_kind(".snapshot")), Standing::Other);
    assert_eq!(standing(of_kind(".wal")), Standing::Nothing);
    assert_eq!(standing("manifest"), Standing::Other);
    let gone = of_kind(".segment").replace("1.segment", "9.segment");
    assert_eq!(standing(&gone), Standing::Nothing);
}
