//! A full disk: sends are refused with the documented code, everything else works, and space heals it.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anser::client::QueueSettings;
use anser_check::{Operation, QueueFacts};

use super::{
    beside_others,
    disk::Disk,
    folder,
    recorder::Recorder,
    say,
    server::{self, Server},
    skipped,
    summary::Summary,
    workload::{Load, Worker, later},
};

const DISK_MEBIBYTES: u64 = 192;
const STORAGE: &str = "shards = 2\nwal_file_bytes = \"8MiB\"\nwal_budget_bytes = \"32MiB\"\n\
                       segment_bytes = \"4MiB\"\nreserve_bytes = \"48MiB\"";
const BODY_BYTES: usize = 60_000;
const VISIBILITY_SECONDS: u64 = 600;
/// The node looks at its disk now and then, and gives segments back in the background.
const HEAL_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_refuses_sends_and_nothing_else() {
    let _turn = beside_others();
    let folder = folder();
    let disk = match Disk::new(folder.path(), DISK_MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return skipped("full disk", &why),
    };
    let mut place = server::place_in(folder.path());
    place.data = disk.path().join("data");
    place.storage = Some(STORAGE.to_owned());
    let load = Load::new(Arc::new(Recorder::new(vec![facts()])), 1);
    let server = place.start();
    let mut worker = Worker::new(&server, &load, 1);
    create(&mut worker);

    // Until our own messages have filled it.
    let sent = fill(&mut worker);
    assert!(
        sent > 500,
        "{sent} messages filled a disk of {DISK_MEBIBYTES} MiB"
    );
    say(&format!(
        "full after {sent} messages, {} MiB free",
        disk.free_bytes() >> 20
    ));
    assert!(!send(&mut worker), "the disk is full, and a send was taken");
    take(&mut worker, sent / 4);
    drop(worker);

    // A restart finds the disk as full as it was, and gets up all the same.
    let died = load.recorder.now();
    server.kill();
    let server = place.start();
    load.recorder.add(0, "", died, Operation::Outage);
    let mut worker = Worker::new(&server, &load, 2);

    // Somebody else takes the very last byte.
    let ballast = Ballast::new(disk.path());
    say(&format!("{} KiB free", disk.free_bytes() >> 10));
    assert!(!send(&mut worker), "nothing is free, and a send was taken");
    take(&mut worker, sent / 4);
    drop(ballast);
    take(&mut worker, sent / 4);
    heals(&mut worker, &server);
    finish(worker, load, server, "full_disk");
    drop(disk);
}

#[test]
fn space_that_others_give_back_heals_a_full_disk() {
    let _turn = beside_others();
    let folder = folder();
    let disk = match Disk::new(folder.path(), DISK_MEBIBYTES) {
        Ok(disk) => disk,
        Err(why) => return skipped("full disk", &why),
    };
    let mut place = server::place_in(folder.path());
    place.data = disk.path().join("data");
    place.storage = Some(STORAGE.to_owned());
    let load = Load::new(Arc::new(Recorder::new(vec![facts()])), 2);
    let server = place.start();
    let mut worker = Worker::new(&server, &load, 1);
    create(&mut worker);
    assert!(send(&mut worker) && send(&mut worker));
    let ballast = Ballast::new(disk.path());
    let begun = Instant::now();
    // The node may need a moment to see that the disk is full; what it acknowledges it must keep.
    while send(&mut worker) {
        assert!(
            begun.elapsed() < HEAL_WITHIN,
            "sends are taken with no space left"
        );
    }
    take(&mut worker, 1);
    drop(ballast);
    heals(&mut worker, &server);
    finish(worker, load, server, "full_disk_healed");
    drop(disk);
}

fn facts() -> QueueFacts {
    QueueFacts {
        name: "work".to_owned(),
        visibility_ms: VISIBILITY_SECONDS * 1_000,
        retention_ms: 86_400_000,
        ..QueueFacts::default()
    }
}

fn create(worker: &mut Worker) {
    let settings = QueueSettings {
        visibility_timeout: Some(VISIBILITY_SECONDS),
        msg_retention_seconds: Some(86_400),
        ..QueueSettings::default()
    };
    worker.with(async |client| client.create_queue("work", &settings).await);
}

/// Sends one message; whether it was taken. Anything but a clear yes or no fails the test.
fn send(worker: &mut Worker) -> bool {
    worker
        .send("work", 1, BODY_BYTES, 0)
        .expect("a full disk is refused clearly")
}

/// Sends until refused; how many were taken.
fn fill(worker: &mut Worker) -> u64 {
    let most = DISK_MEBIBYTES << 20;
    let mut sent = 0;
    while send(worker) {
        sent += 1;
        assert!(
            sent * BODY_BYTES as u64 <= most,
            "more was taken than the disk has"
        );
    }
    sent
}

/// Receives and deletes this many messages.
fn take(worker: &mut Worker, mut count: u64) {
    while count > 0 {
        let received = worker
            .receive("work", 16, 0)
            .expect("a full disk does not stop receives");
        assert!(!received.is_empty(), "messages are missing");
        count = count.saturating_sub(received.len() as u64);
        let receipts = received
            .into_iter()
            .map(|message| message.receipt_handle)
            .collect();
        worker
            .delete("work", receipts)
            .expect("a full disk does not stop deletes");
    }
}

fn heals(worker: &mut Worker, server: &Server) {
    let begun = Instant::now();
    while !send(worker) {
        let waited = begun.elapsed();
        assert!(
            waited < HEAL_WITHIN,
            "space is back, sends are refused: {}",
            server.log_tail()
        );
        thread::sleep(Duration::from_millis(100));
    }
    say(&format!("sends work again after {:?}", begun.elapsed()));
}

fn finish(mut worker: Worker, load: Load, server: Server, name: &str) {
    let begun = load.recorder.now();
    let mut last = begun;
    // No lease is left open by this test, so that a few empty seconds are proof enough.
    while load.recorder.now() < later(last, Duration::from_secs(4)) {
        let received = worker.receive("work", 16, 1).unwrap();
        if !received.is_empty() {
            last = load.recorder.now();
            let receipts = received
                .into_iter()
                .map(|message| message.receipt_handle)
                .collect();
            worker.delete("work", receipts).unwrap();
        }
    }
    worker.receive("work", 16, 0).unwrap();
    load.recorder.add(1, "work", begun, Operation::Drain);
    drop(worker);
    let report = Arc::into_inner(load.recorder)
        .expect("all clients have ended")
        .judged(name);
    Summary::new(name, (load.seed, 1), &report).say();
    server.stop();
    assert!(report.passed(), "{report}");
}

/// A file that takes all the space there is; gone with this value.
struct Ballast(PathBuf);

impl Ballast {
    fn new(folder: &Path) -> Self {
        let path = folder.join("ballast");
        let mut file = File::create(&path).unwrap();
        for bytes in [1 << 20, 64 << 10, 4 << 10, 1] {
            let piece = vec![7; bytes];
            while file.write_all(&piece).is_ok() {}
        }
        file.sync_all().unwrap();
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
