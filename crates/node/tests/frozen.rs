//! Bytes that nodes have on their disks: the files of a log and the snapshot of a replica stay as they are.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Read, path::Path};

use anser_broker::{id::ShardId, shard::Shard};
use anser_log::{
    Change, Entry, EntryKind, FileSystem, HardState, Kept, Log, Opened, Options, Write,
};
use anser_replica::{Image, Membership, Place, read_snapshot};
use bytes::Bytes;

const SHARD: u16 = 1;

fn open(folder: &Path) -> Opened<FileSystem> {
    let options = Options {
        wal_file_bytes: 4096,
        wal_budget_bytes: 16 << 10,
        segment_bytes: 8192,
        ..Options::default()
    };
    Log::open(FileSystem::new(folder), options).unwrap()
}

fn entry(index: u64, data: &'static [u8]) -> Entry {
    Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        data: Bytes::from_static(data),
    }
}

/// A log with some of everything: two entries, of which the first is in a segment, a vote, a snapshot.
fn write_log(folder: &Path) {
    let mut opened = open(folder);
    let write = Write {
        shard: SHARD,
        hard_state: Some(HardState {
            term: 1,
            vote: 2,
            commit: 1,
        }),
        entries: vec![entry(1, b"first"), entry(2, b"second")],
    };
    opened.appender.append(&[write]).unwrap();
    let mut writer = opened.store.begin_segment(SHARD).unwrap();
    let kept = Kept {
        index: 1,
        term: 1,
        payload: Bytes::from_static(b"kept"),
    };
    writer.append(&kept).unwrap();
    let add = writer.finish().unwrap();
    let mut snapshot = opened.store.begin_snapshot(SHARD, 1, 1).unwrap();
    std::io::Write::write_all(&mut snapshot, b"a state").unwrap();
    let snapshot = Some(snapshot.finish().unwrap());
    let change = Change {
        snapshot,
        add,
        ..Change::default()
    };
    opened.store.commit(SHARD, change).unwrap();
    opened.appender.close().unwrap();
}

fn check_log(folder: &Path) {
    let opened = open(folder);
    assert!(!opened.report.suspect && opened.report.torn_tail.is_none());
    let shard = &opened.shards[0];
    assert_eq!((shard.shard, shard.last_index), (SHARD, 2));
    assert_eq!((shard.hard_state.term, shard.hard_state.vote), (1, 2));
    let entries = opened.reader.entries(SHARD, 1, 3, u64::MAX).unwrap();
    let data: Vec<&[u8]> = entries.iter().map(|entry| &entry.data[..]).collect();
    assert_eq!(data, [&b"first"[..], b"second"]);
    let (info, mut snapshot) = opened.reader.snapshot(SHARD).unwrap().unwrap();
    let mut state = Vec::new();
    snapshot.read_to_end(&mut state).unwrap();
    assert_eq!((info.index, &state[..]), (1, &b"a state"[..]));
}

/// Every file of a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap();
                found.insert(name.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A file as a line: its name, its length, its bytes up to the zeros at its end.
fn line(name: &str, bytes: &[u8]) -> String {
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    format!("{name} {} {}", bytes.len(), hex(&bytes[..used]))
}

#[test]
fn the_files_of_a_log_are_frozen() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path());
    let lines = files(folder.path());
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, bytes)| line(name, bytes))
        .collect();
    let frozen: Vec<&str> = include_str!("golden/log.hex").lines().collect();
    assert_eq!(lines, frozen, "\n{}\n", lines.join("\n"));
}

#[test]
fn the_frozen_files_of_a_log_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for line in include_str!("golden/log.hex").lines() {
        let [name, length, bytes] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = unhex(bytes);
        bytes.resize(length.parse().unwrap(), 0);
        fs::write(path, bytes).unwrap();
    }
    check_log(folder.path());
}

#[test]
fn the_snapshot_of_a_replica_is_frozen() {
    let membership = Membership {
        voters: vec![1, 2],
        learners: vec![3],
        ..Membership::default()
    };
    let place = Place { index: 1, term: 1 };
    let image = Image::initial(place, membership.clone(), Shard::new(ShardId(SHARD), 2));
    let mut bytes = Vec::new();
    image.save(&mut |piece| bytes.extend_from_slice(piece));
    let frozen = include_str!("golden/snapshot.hex").trim();
    let line = hex(&bytes);
    assert_eq!(line, frozen, "\n{line}\n");
    let read = read_snapshot(&unhex(frozen)).unwrap();
    assert_eq!(read.membership, membership);
    assert_eq!(read.shard.id(), ShardId(SHARD));
    let mut unknown = unhex(frozen);
    unknown[0] += 1;
    assert!(read_snapshot(&unknown).is_err());
}
