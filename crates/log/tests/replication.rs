//! What several replicas need of a log: terms of old entries, files that go to another disk, shards that
//! leave and come again.

mod forgetting;
mod importing;
mod reading;

use std::{collections::BTreeMap, io::Read as _};

use anser_log::{
    Disk, Entry, EntryKind, Error, Export, HardState, Import, Imported, Log, Opened, Write,
    disk::simulated::SimulatedDisk,
};
use bytes::Bytes;

use crate::{driver::peer, faults::small_options, random::Random};

fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), small_options()).unwrap()
}

fn state(term: u64, vote: u64) -> HardState {
    HardState {
        term,
        vote,
        commit: 0,
    }
}

fn quiet(shard: u16, hard_state: HardState) -> Write {
    Write {
        shard,
        hard_state: Some(hard_state),
        entries: Vec::new(),
    }
}

fn entries(shard: u16, indexes: std::ops::RangeInclusive<u64>, term: u64) -> Write {
    let entries = indexes.map(|index| Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::from(format!("{index} of {term}")),
    });
    Write {
        shard,
        hard_state: None,
        entries: entries.collect(),
    }
}

fn bodies(count: u64) -> BTreeMap<u64, Bytes> {
    (1..=count)
        .map(|index| (index, Bytes::from(Random::new(index).bytes(200))))
        .collect()
}

/// A replica elsewhere, at entry 40, with several segments and two chunks of snapshot.
fn ahead() -> (Opened<SimulatedDisk>, Vec<u8>) {
    let content = Random::new(1).bytes((256 << 10) + 100);
    (peer(1, (40, 7), &content, &bodies(40)), content)
}

fn begin<D: Disk>(opened: &Opened<D>, export: &Export<SimulatedDisk>) -> Import<D> {
    let segments = export.segments.clone();
    opened
        .store
        .begin_import(1, export.snapshot, segments)
        .unwrap()
}

fn pump<D: Disk>(
    import: &mut Import<D>,
    export: &Export<SimulatedDisk>,
    most: usize,
) -> Result<(), Error> {
    while let Some((file, offset)) = import.missing() {
        let piece = export.read(file, offset, most)?;
        import.write(file, offset, &piece)?;
    }
    Ok(())
}

fn import_all<D: Disk>(opened: &Opened<D>, export: &Export<SimulatedDisk>) -> Imported {
    let mut import = begin(opened, export);
    pump(&mut import, export, 10_000).unwrap();
    import.finish().unwrap()
}

fn content<D: Disk>(opened: &Opened<D>) -> Vec<u8> {
    let (_, mut reader) = opened.reader.snapshot(1).unwrap().unwrap();
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    content
}

fn kept<D: Disk>(opened: &Opened<D>) -> BTreeMap<u64, Bytes> {
    let kept = opened.reader.kept(1, 1, u64::MAX - 1, u64::MAX).unwrap();
    kept.into_iter()
        .map(|kept| (kept.index, kept.payload))
        .collect()
}

fn paths(disk: &SimulatedDisk) -> Vec<String> {
    let files = disk.contents().files;
    let paths = files.into_keys().filter(|path| path.starts_with("shards/"));
    paths.collect()
}
