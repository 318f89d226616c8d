//! The story that the kill and power tests share: queues, what clients do, the final drain, the judgment.
//!
//! `work` takes plain, batched and delayed messages; its consumers delete most, let some leases end and
//! use some receipts too late. What comes three times from `doomed` without being deleted goes to `dead`.

use std::{
    collections::BTreeSet,
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anser::client::QueueSettings;
use anser_check::{DeadLetter, Operation, QueueFacts, Report};

use super::{
    recorder::Recorder,
    say,
    served::Served,
    workload::{Gone, Load, Turn, Worker, later},
};

pub(crate) const VISIBILITY_SECONDS: u64 = 2;
pub(crate) const RETENTION_SECONDS: u64 = 86_400;
const DELAY_SECONDS_MAX: u64 = 3;
const RECEIVES_MAX: u32 = 3;
pub(crate) const QUEUES: [&str; 3] = ["work", "doomed", "dead"];
/// As many as a queue takes at once.
const BATCH: usize = 16;
/// Lateness that is promised, moves to the dead-letter queue, and the machine being busy.
const DRAIN_MARGIN: Duration = Duration::from_secs(4);

pub(crate) const CLIENTS: &[Turn] = &[
    produce_singles,
    produce_batches,
    produce_doomed,
    consume_work,
    consume_work,
    consume_work_singly,
    neglect_doomed,
];

#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) load: Load,
    name: &'static str,
    rounds: u64,
    /// Queues that only hold what they were filled with.
    bulk: Vec<String>,
}

impl Story {
    pub(crate) fn new(name: &'static str, rounds_default: u64) -> Self {
        Self::with_bulk(name, rounds_default, 0)
    }

    /// With so many queues more that can be filled.
    pub(crate) fn with_bulk(name: &'static str, rounds_default: u64, queues: usize) -> Self {
        let (seed, rounds) = seed_and_rounds(name, rounds_default);
        let bulk: Vec<String> = (0..queues).map(|number| format!("bulk-{number}")).collect();
        let all = QUEUES.into_iter().chain(bulk.iter().map(String::as_str));
        let facts = all.map(|queue| QueueFacts {
            name: queue.to_owned(),
            visibility_ms: VISIBILITY_SECONDS * 1_000,
            retention_ms: RETENTION_SECONDS * 1_000,
            dead_letter: (queue == "doomed").then(|| DeadLetter {
                queue: "dead".to_owned(),
                receives_max: RECEIVES_MAX,
                age_ms: None,
            }),
            ..QueueFacts::default()
        });
        let recorder = Arc::new(Recorder::new(facts.collect()));
        Self {
            load: Load::new(recorder, seed),
            name,
            rounds,
            bulk,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    pub(crate) fn create_queues(&self, server: &impl Served) {
        let mut worker = Worker::new(server, &self.load, 90);
        let policy = format!(
            "{{\"deadLetterQueue\":\"dead\",\"policy\":0,\"maxReceiveCount\":{RECEIVES_MAX}}}"
        );
        let bulk = self.bulk.iter().map(String::as_str);
        for queue in ["work", "dead", "doomed"].into_iter().chain(bulk) {
            let settings = QueueSettings {
                visibility_timeout: Some(VISIBILITY_SECONDS),
                msg_retention_seconds: Some(RETENTION_SECONDS),
                dead_letter_policy: (queue == "doomed").then(|| policy.clone()),
                ..QueueSettings::default()
            };
            worker.with(async |client| client.create_queue(queue, &settings).await);
        }
    }

    /// Sends so many bytes to the queues that hold them, all alike, and says how many it were.
    pub(crate) fn fill(&self, server: &impl Served, bytes: u64) -> u64 {
        const BODY_BYTES: usize = 48_000;
        let bytes_of_one = (BODY_BYTES * BATCH) as u64;
        let batches = bytes.div_ceil(bytes_of_one * self.bulk.len() as u64);
        self.fill_each(server, batches, BODY_BYTES);
        batches * bytes_of_one * self.bulk.len() as u64
    }

    /// Sends so many batches to each queue that holds them.
    pub(crate) fn fill_each(&self, server: &impl Served, batches: u64, body_bytes: usize) {
        self.for_all_bulk(server, |worker, queue| {
            for _ in 0..batches {
                let taken = worker.send(queue, BATCH, body_bytes, 0);
                assert!(taken.is_ok_and(|taken| taken), "{queue} does not take them");
            }
        });
    }

    /// Receives what each queue was filled with and leaves it there: the queues of which not all `batches` came.
    pub(crate) fn incomplete(
        &self,
        server: &impl Served,
        batches: u64,
        patience: Duration,
    ) -> Vec<String> {
        let incomplete = Mutex::new(Vec::new());
        let until = Instant::now() + patience;
        let expected = usize::try_from(batches).expect("a few") * BATCH;
        self.for_all_bulk(server, |worker, queue| {
            let mut seen = BTreeSet::new();
            while seen.len() < expected && Instant::now() < until {
                // Without an answer another node is asked.
                let received = worker.receive(queue, 16, 1).unwrap_or_default();
                seen.extend(received.into_iter().map(|message| message.msg_id));
            }
            if seen.len() < expected {
                let mut incomplete = incomplete.lock().unwrap_or_else(PoisonError::into_inner);
                incomplete.push(format!("{queue}: {} of {expected}", seen.len()));
            }
        });
        incomplete
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn for_all_bulk(&self, server: &impl Served, act: impl Fn(&mut Worker, &str) + Sync) {
        const CLIENTS_MAX: usize = 4;
        let act = &act;
        thread::scope(|scope| {
            for (queues, number) in self
                .bulk
                .chunks(self.bulk.len().div_ceil(CLIENTS_MAX))
                .zip(80..)
            {
                let mut worker = Worker::new(server, &self.load, number);
                scope.spawn(move || {
                    for queue in queues {
                        act(&mut worker, queue);
                    }
                });
            }
        });
    }

    /// Every queue of the story.
    pub(crate) fn queues(&self) -> Vec<&str> {
        let bulk = self.bulk.iter().map(String::as_str);
        QUEUES.into_iter().chain(bulk).collect()
    }

    /// Starts all clients against this server.
    pub(crate) fn run(&self, server: &impl Served) -> Running {
        Running::start(&self.load, server, CLIENTS)
    }

    /// Receives and deletes everything, to the end, and asks the judge.
    pub(crate) fn finish(self, server: &impl Served) -> Report {
        let queues = self.queues();
        thread::scope(|scope| {
            for (queue, number) in queues.iter().zip(100..) {
                let mut worker = Worker::new(server, &self.load, number);
                scope.spawn(move || drain(&mut worker, queue).expect("the server answers"));
            }
        });
        let mut worker = Worker::new(server, &self.load, 91);
        for queue in queues {
            worker.count(queue);
        }
        drop(worker);
        let recorder = Arc::into_inner(self.load.recorder).expect("all clients have ended");
        let report = recorder.judged(self.name);
        say(&format!("{}: {report}", self.name));
        report
    }
}

/// Reads length and seed from the environment and says how to run the same again.
pub(crate) fn seed_and_rounds(name: &str, rounds_default: u64) -> (u64, u64) {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect(name))
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let seed = number("CHAOS_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    let rounds = number("CHAOS_ROUNDS").unwrap_or(rounds_default);
    // A name is that of the module, with what is particular after a dash.
    let module = name.split('-').next().expect("a split has a first part");
    say(&format!(
        "{name}: {rounds} rounds, seed {seed}; again with CHAOS_SEED={seed} \
         CHAOS_ROUNDS={rounds} cargo test -p anser --test main chaos::{module} -- --include-ignored --nocapture"
    ));
    (seed, rounds)
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(load: &Load, server: &impl Served, turns: &[Turn]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = load.start(server, turns, &stop);
        Self { stop, clients }
    }

    /// Lets every client end what it does, and waits for them.
    pub(crate) fn join(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
    }
}

/// Until nothing can come any more: all leases and delays over, and all moves made. A leader that
/// changes leaves a request without an answer, and the drain begins again.
pub(crate) fn drain(worker: &mut Worker, queue: &str) -> Result<(), Gone> {
    const TIMES: usize = 5;
    for _ in 1..TIMES {
        match drain_once(worker, queue) {
            Err(Gone) if worker.has_choice() => {}
            done => return done,
        }
    }
    drain_once(worker, queue)
}

fn drain_once(worker: &mut Worker, queue: &str) -> Result<(), Gone> {
    let recorder = Arc::clone(&worker.recorder);
    let begun = recorder.now();
    if queue != "dead" {
        // A drain that finds nothing proves nothing, so there is always something to find.
        worker.send(queue, 16, 100, 0)?;
    }
    // The other queues may still feed the dead-letter queue until they are quiet themselves.
    let quiet = Duration::from_secs(VISIBILITY_SECONDS.max(DELAY_SECONDS_MAX)) + DRAIN_MARGIN;
    let quiet = if queue == "dead" { quiet * 2 } else { quiet };
    let mut last = begun;
    while recorder.now() < later(last, quiet) {
        let received = worker.receive(queue, 16, 1)?;
        if !received.is_empty() {
            last = recorder.now();
            let receipts = received
                .into_iter()
                .map(|message| message.receipt_handle)
                .collect();
            worker.delete(queue, receipts)?;
        }
    }
    // What was asked after all that is the proof that the judge wants.
    worker.receive(queue, 16, 0)?;
    recorder.add(100, queue, begun, Operation::Drain);
    Ok(())
}

/// Mostly small, some nearly as large as a queue takes by default, so that log files fill up and are
/// recycled within a run.
fn produce_singles(worker: &mut Worker) -> Result<(), Gone> {
    let delay = delay_once_in(worker, 5);
    let bytes_max = if worker.chance.below(4) == 0 {
        60_000
    } else {
        2_000
    };
    let bytes = usize::try_from(80 + worker.chance.below(bytes_max)).expect("small");
    worker.send("work", 1, bytes, delay)?;
    pause(worker, 6);
    Ok(())
}

fn produce_batches(worker: &mut Worker) -> Result<(), Gone> {
    let count = usize::try_from(2 + worker.chance.below(15)).expect("small");
    let delay = delay_once_in(worker, 8);
    worker.send("work", count, 3_000, delay)?;
    pause(worker, 30);
    Ok(())
}

/// A delay in seconds for one in so many, none for the others.
fn delay_once_in(worker: &mut Worker, times: u64) -> u64 {
    if worker.chance.below(times) > 0 {
        return 0;
    }
    1 + worker.chance.below(DELAY_SECONDS_MAX)
}

fn produce_doomed(worker: &mut Worker) -> Result<(), Gone> {
    worker.send("doomed", 1, 200, 0)?;
    pause(worker, 40);
    Ok(())
}

fn consume_work(worker: &mut Worker) -> Result<(), Gone> {
    let received = worker.receive("work", 16, 1)?;
    let mut receipts: Vec<String> = Vec::new();
    for message in received {
        // One in ten is left to come again.
        if worker.chance.below(10) > 0 {
            receipts.push(message.receipt_handle);
        }
    }
    if worker.chance.below(40) == 0 {
        // Too late: all of these must be refused, or the lease was still running.
        thread::sleep(Duration::from_millis(
            VISIBILITY_SECONDS * 1_000 - 200 + worker.chance.below(1_400),
        ));
    }
    if receipts.is_empty() {
        Ok(())
    } else {
        worker.delete("work", receipts)
    }
}

fn consume_work_singly(worker: &mut Worker) -> Result<(), Gone> {
    for message in worker.receive("work", 1, 2)? {
        if worker.chance.below(10) > 0 {
            worker.delete("work", vec![message.receipt_handle])?;
        }
    }
    Ok(())
}

/// Receives and mostly forgets, so that messages give up.
fn neglect_doomed(worker: &mut Worker) -> Result<(), Gone> {
    for message in worker.receive("doomed", 8, 1)? {
        if worker.chance.below(6) == 0 {
            worker.delete("doomed", vec![message.receipt_handle])?;
        }
    }
    Ok(())
}

pub(crate) fn pause(worker: &mut Worker, milliseconds: u64) {
    thread::sleep(Duration::from_millis(worker.chance.below(2 * milliseconds)));
}
