//! Measures a log on real files: `append <folder> [seconds]`. Prints synced appends a second for some
//! batch sizes, with maintenance in a second thread as a node does it, and the speed of recovery.

use std::{
    error::Error,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anser_log::{Change, Entry, EntryKind, FileSystem, HardState, Log, Options, Store, Write};
use bytes::Bytes;

const SHARDS: u16 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let mut out = std::io::stdout();
    for (body, shards) in [
        (1 << 10, 1),
        (4 << 10, 1),
        (16 << 10, SHARDS),
        (256 << 10, 4),
    ] {
        let line = append(
            Path::new(&folder),
            body,
            shards,
            Duration::from_secs(seconds),
        )?;
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Appends one entry for each of some shards at a time, then opens the log again.
fn append(
    folder: &Path,
    body: usize,
    shards: u16,
    time: Duration,
) -> Result<String, Box<dyn Error>> {
    let root = folder.join(format!("append-{body}-{shards}"));
    std::fs::create_dir_all(&root)?;
    let disk = FileSystem::new(&root);
    let mut opened = Log::open(disk.clone(), Options::default())?;
    opened.store.prepare_files()?;
    let data = Bytes::from(vec![0x5a; body]);
    let (mut index, mut waits) = (0, Vec::new());
    let start = Instant::now();
    let store = opened.store.clone();
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let maintenance = scope.spawn(move || maintain(&store, start, time));
        while start.elapsed() < time {
            index += 1;
            let writes: Vec<Write> = (0..shards)
                .map(|shard| write(shard, index, data.clone()))
                .collect();
            let began = Instant::now();
            opened.appender.append(&writes)?;
            waits.push(began.elapsed());
        }
        maintenance.join().expect("maintenance")?;
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    opened.appender.close()?;
    let began = Instant::now();
    let report = Log::open(disk, Options::default())?.report;
    let recovery = began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&root)?;
    waits.sort_unstable();
    let bytes = waits.len() * body * usize::from(shards);
    Ok(format!(
        "{shards} x {body} bytes: {:.0} appends/s, {:.0} MiB/s, p50 {:?}, p99 {:?}, max {:?}; recovery \
         {} MiB in {recovery:.3} s",
        precise(waits.len()) / seconds,
        precise(bytes >> 20) / seconds,
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        waits[waits.len() - 1],
        report.bytes_replayed >> 20,
    ))
}

fn precise(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn write(shard: u16, index: u64, data: Bytes) -> Write {
    let entry = Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        data,
    };
    let hard_state = Some(HardState {
        term: 1,
        vote: 1,
        commit: index - 1,
    });
    Write {
        shard,
        hard_state,
        entries: vec![entry],
    }
}

/// Everything dies young: due files are recycled behind an empty snapshot.
fn maintain(
    store: &Store<FileSystem>,
    start: Instant,
    time: Duration,
) -> Result<(), anser_log::Error> {
    while start.elapsed() < time {
        store.prepare_files()?;
        if let Some(due) = store.due(&std::collections::BTreeMap::new()) {
            for shard in &due.shards {
                let snapshot = store
                    .begin_snapshot(shard.shard, shard.last_index, 1)?
                    .finish()?;
                let change = Change {
                    snapshot: Some(snapshot),
                    ..Change::default()
                };
                store.commit(shard.shard, change)?;
            }
            store.recycle(due)?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
