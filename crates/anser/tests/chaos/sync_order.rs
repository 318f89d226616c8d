//! The truth about fsync, from the kernel's side: the body is written, then synced, then acknowledged.
//!
//! strace sees every system call of every thread in one order. For each send that was acknowledged the
//! trace must hold: a write of the body into the log has returned, then an fdatasync of the same file began
//! and returned without error, then the first byte of the answer was written.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anser::client::QueueSettings;
use anser_check::Body;

use super::{
    alone, folder,
    recorder::Recorder,
    say, server, skipped,
    strace::Strace,
    workload::{Load, Worker},
};

const CALLS: &str = "trace=fdatasync,fsync,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2";
/// Several at once, so that some are under way while others are being synced.
const PRODUCERS: u32 = 4;
const SENDS: u64 = 30;
/// Clients who only ask, so that the server has turns in which it writes nothing.
const ASKERS: u32 = 2;

#[test]
fn a_send_is_synced_before_it_is_acknowledged() {
    let _turn = alone();
    let folder = folder();
    let place = server::place_in(folder.path());
    let server = place.start();
    let load = Load::new(Arc::new(Recorder::new(Vec::new())), 5);
    let mut worker = Worker::new(&server, &load, 0);
    for queue in ["work", "empty"] {
        worker.with(async |client| client.create_queue(queue, &QueueSettings::default()).await);
    }
    let strace = match Strace::attach(server.id(), folder.path(), &[CALLS]) {
        Ok(strace) => strace,
        Err(why) => return skipped("order of fsync and answer", &why),
    };
    let done = Arc::new(AtomicBool::new(false));
    let askers: Vec<JoinHandle<()>> = (0..ASKERS)
        .map(|number| {
            let (worker, done) = (Worker::new(&server, &load, 100 + number), Arc::clone(&done));
            thread::spawn(move || ask(worker, &done))
        })
        .collect();
    let producers: Vec<JoinHandle<Vec<(String, String)>>> = (1..=PRODUCERS)
        .map(|number| {
            let worker = Worker::new(&server, &load, number);
            thread::spawn(move || produce(worker, number))
        })
        .collect();
    let sends: Vec<(String, String)> = producers
        .into_iter()
        .flat_map(|producer| producer.join().unwrap())
        .collect();
    done.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.join().unwrap();
    }
    // strace writes a call's line after the call has returned.
    thread::sleep(Duration::from_millis(300));
    let trace = strace.finish();
    let calls = calls(&trace);
    for (body, id) in &sends {
        if let Err(why) = synced_before_answer(&calls, &place.data.to_string_lossy(), body, id) {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sync_order.strace");
            fs::write(&path, &trace).unwrap();
            panic!("message {id}: {why}; the trace is in {}", path.display());
        }
    }
    let count = sends.len();
    say(&format!(
        "{count} sends: body written, fdatasync returned, answer sent, in this order"
    ));
    server.stop();
}

/// Sends single, batched and delayed messages; a body of each request, and its message id.
fn produce(mut worker: Worker, number: u32) -> Vec<(String, String)> {
    let mut sends = Vec::new();
    for sequence in 0..SENDS {
        let body = Body::new(5, number, sequence).text(200);
        let delay = if sequence % 4 == 3 { 60 } else { 0 };
        let id = worker.with(async |client| {
            if sequence % 3 == 2 {
                let batch = [body.as_str(), "another of the batch"];
                let sent = client.batch_send("work", &batch, delay).await?;
                return Ok(sent.msg_list[0].msg_id.clone());
            }
            Ok(client.send("work", &body, delay).await?.msg_id)
        });
        sends.push((body, id));
    }
    sends
}

fn ask(mut worker: Worker, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let none = worker.with(async |client| client.receive("empty", Some(0)).await);
        assert!(none.is_none());
        worker.with(async |client| client.queue("work").await);
    }
}

/// One system call: its text, and the lines of the trace in which it began and returned.
struct Call<'t> {
    name: &'t str,
    text: &'t str,
    began: usize,
    returned: usize,
    result: &'t str,
}

/// The calls of a trace, in the order in which they began. Each line has thread, time and call.
fn calls(trace: &str) -> Vec<Call<'_>> {
    let mut calls: Vec<Call<'_>> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((_, text)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        let result = text.rsplit_once(" = ").map_or("", |(_, result)| result);
        if text.starts_with("<...") {
            if let Some(place) = open.remove(thread) {
                calls[place].returned = number;
                calls[place].result = result;
            }
            continue;
        }
        let Some((name, _)) = text.split_once('(') else {
            continue;
        };
        let mut call = Call {
            name,
            text,
            began: number,
            returned: number,
            result,
        };
        if text.ends_with("<unfinished ...>") {
            open.insert(thread, calls.len());
            (call.returned, call.result) = (usize::MAX, "");
        }
        calls.push(call);
    }
    calls
}

fn synced_before_answer(
    calls: &[Call<'_>],
    data: &str,
    body: &str,
    id: &str,
) -> Result<(), &'static str> {
    // The socket's reads are not traced, so the body shows only where it is written.
    let written = calls
        .iter()
        .filter(|call| call.name.starts_with("pwrite") && call.text.contains(body))
        .filter(|call| file(call).contains(data))
        .min_by_key(|call| call.returned)
        .ok_or("no write of the body into the data directory")?;
    let answer_mark = format!("msgId\\\":\\\"{id}\\\"");
    let answered = calls
        .iter()
        .find(|call| !call.name.starts_with("pwrite") && call.text.contains(&answer_mark))
        .ok_or("no answer with the message's id")?;
    let synced = calls.iter().any(|call| {
        matches!(call.name, "fdatasync" | "fsync")
            && file(call) == file(written)
            && call.result.starts_with('0')
            && call.began > written.returned
            && call.returned < answered.began
    });
    if synced {
        Ok(())
    } else {
        Err("the answer left before a sync of the body's file returned")
    }
}

/// The file of a call as strace names it: number and path.
fn file<'t>(call: &Call<'t>) -> &'t str {
    let text = call
        .text
        .split_once('(')
        .map_or("", |(_, arguments)| arguments);
    text.split_once('>').map_or("", |(file, _)| file)
}

const PROPER: [&str; 5] = [
    "7 1.0 pwrite64(9</d/wal/1>, \"..BODY..\", 8192, 0 <unfinished ...>",
    "7 1.1 <... pwrite64 resumed>) = 8192",
    "7 1.2 fdatasync(9</d/wal/1> <unfinished ...>",
    "7 1.3 <... fdatasync resumed>) = 0",
    "8 1.4 writev(5<socket:[1]>, [{iov_base=\"{\\\"msgId\\\":\\\"42\\\"}\"}], 1) = 99",
];

fn proven(lines: &[&str]) -> bool {
    let trace = lines.join("\n");
    synced_before_answer(&calls(&trace), "/d/", "BODY", "42").is_ok()
}

#[test]
fn the_order_of_a_trace_is_told_right_from_wrong() {
    let [write, written, sync, synced, answer] = PROPER;
    assert!(proven(&PROPER));
    assert!(
        !proven(&[write, written, sync, answer, synced]),
        "answered while syncing"
    );
    assert!(
        !proven(&[write, sync.replace('7', "6").as_str(), written, answer]),
        "never synced"
    );
    assert!(
        !proven(&[write, "6 1.0 fdatasync(9</d/wal/1>) = 0", written, answer]),
        "synced before"
    );
    assert!(
        !proven(&[write, written, "7 1.2 fdatasync(4</d/x>) = 0", answer]),
        "another file"
    );
    let failed = "7 1.2 fdatasync(9</d/wal/1>) = -1 EIO (Input/output error) (INJECTED)";
    assert!(
        !proven(&[write, written, failed, answer]),
        "the sync failed"
    );
    assert!(
        !proven(&[answer, write, written, sync, synced]),
        "answered first"
    );
}
