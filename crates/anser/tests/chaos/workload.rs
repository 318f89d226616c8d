//! The load: producers and consumers, a thread and a connection each, that record what they see.
//!
//! A client goes on until it is told to stop or gets no answer; then the server is gone and so is the
//! client. Whether what it last asked for has happened is for the judge to find out. A client of a cluster
//! asks a random node each time, another one only if the connection is refused, and goes on without an
//! answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser::client::{self, Client, Error, Received};
use anser_check::{Answer, Body, Delivery, Labels, Nanos, Operation, Outcome, SentBody, checksum};

use super::{failures::Failures, recorder::Recorder, served::Served};

const CODE_RECEIPT: i64 = 4430;
/// How long a client of a cluster looks for a node that is there.
const NOBODY_WITHIN: Duration = Duration::from_secs(20);
/// How the server says that it took nothing because the disk is full; the code alone says less.
const MODULE_SEND_FAILED: &str = "(10090)";

/// A sequence of numbers that one seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One client: its connections, its chance, and where it notes what it sees.
pub(crate) struct Worker {
    /// One for each node that it may ask.
    clients: Vec<Client>,
    /// The node that it asks next.
    next: usize,
    runtime: tokio::runtime::Runtime,
    pub(crate) recorder: Arc<Recorder>,
    number: u32,
    pub(crate) chance: Chance,
    run: u64,
    bodies: Arc<AtomicU64>,
    failures: Arc<Failures>,
}

/// The server gave no answer and is not to be asked again.
#[derive(Debug)]
pub(crate) struct Gone;

impl Worker {
    pub(crate) fn new(server: &impl Served, load: &Load, number: u32) -> Self {
        let doors = server.doors();
        let client = |endpoint: &String| {
            let client = Client::new(endpoint, doors.key_id, doors.secret).unwrap();
            client.with_patience(Duration::from_secs(10))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let round = load.round.load(Ordering::Relaxed);
        Self {
            clients: doors.endpoints.iter().map(client).collect(),
            next: 0,
            runtime,
            recorder: Arc::clone(&load.recorder),
            number,
            chance: Chance::new(load.seed ^ (round << 32) ^ u64::from(number)),
            run: load.seed,
            bodies: Arc::clone(&load.bodies),
            failures: Arc::clone(&load.failures),
        }
    }

    /// Sends `count` new bodies of about `bytes`; the outcome says whether they were taken.
    pub(crate) fn send(
        &mut self,
        queue: &str,
        count: usize,
        bytes: usize,
        delay_seconds: u64,
    ) -> Result<bool, Gone> {
        let (texts, sent) = self.new_bodies(count, bytes);
        let invoked = self.recorder.now();
        self.choose();
        let client = &mut self.clients[self.next];
        let answer = self.runtime.block_on(async {
            if count == 1 {
                client
                    .send(queue, &texts[0], delay_seconds)
                    .await
                    .map(|sent| vec![sent.msg_id])
            } else {
                let sent = client.batch_send(queue, &texts, delay_seconds).await?;
                Ok(sent.msg_list.into_iter().map(|sent| sent.msg_id).collect())
            }
        });
        let (outcome, went_on) = self.judged(answer)?;
        let taken = matches!(outcome, Outcome::Ok(_));
        let delay_ms = delay_seconds * 1_000;
        let operation = Operation::Send {
            delay_ms: Some(delay_ms),
            bodies: sent,
            outcome,
        };
        self.recorder.add(self.number, queue, invoked, operation);
        went_on.map(|()| taken)
    }

    /// Publishes `count` new bodies of about `bytes`.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        count: usize,
        bytes: usize,
        labels: Labels,
    ) -> Result<(), Gone> {
        let (texts, bodies) = self.new_bodies(count, bytes);
        let carried = client::Labels {
            tags: &labels.tags,
            routing_key: labels.routing_key.as_deref(),
        };
        let invoked = self.recorder.now();
        self.choose();
        let client = &mut self.clients[self.next];
        let answer = self.runtime.block_on(async {
            if count == 1 {
                let sent = client.publish(topic, &texts[0], carried).await?;
                Ok(vec![sent.msg_id])
            } else {
                let sent = client.batch_publish(topic, &texts, carried).await?;
                Ok(sent.msg_list.into_iter().map(|sent| sent.msg_id).collect())
            }
        });
        let (outcome, went_on) = self.judged(answer)?;
        let operation = Operation::Publish {
            labels,
            bodies,
            outcome,
        };
        self.recorder.add(self.number, topic, invoked, operation);
        went_on
    }

    fn new_bodies(&self, count: usize, bytes: usize) -> (Vec<String>, Vec<SentBody>) {
        let new_body = |_| {
            let sequence = self.bodies.fetch_add(1, Ordering::Relaxed);
            let body = Body::new(self.run, self.number, sequence);
            let text = body.text(bytes);
            let sent = body.sent(&text);
            (text, sent)
        };
        (0..count).map(new_body).unzip()
    }

    pub(crate) fn receive(
        &mut self,
        queue: &str,
        most: u32,
        wait_seconds: u64,
    ) -> Result<Vec<Received>, Gone> {
        let invoked = self.recorder.now();
        self.choose();
        let client = &mut self.clients[self.next];
        let answer = self.runtime.block_on(async {
            if most == 1 {
                let one = client.receive(queue, Some(wait_seconds)).await?;
                Ok(one.into_iter().collect())
            } else {
                client
                    .batch_receive(queue, most.into(), Some(wait_seconds))
                    .await
            }
        });
        let (outcome, went_on) = self.judged(answer)?;
        let received = match &outcome {
            Outcome::Ok(received) => received.clone(),
            _ => Vec::new(),
        };
        let outcome = mapped(outcome, |received| received.iter().map(delivery).collect());
        let operation = Operation::Receive {
            most,
            wait_ms: wait_seconds * 1_000,
            outcome,
        };
        self.recorder.add(self.number, queue, invoked, operation);
        went_on.map(|()| received)
    }

    pub(crate) fn delete(&mut self, queue: &str, receipts: Vec<String>) -> Result<(), Gone> {
        let invoked = self.recorder.now();
        self.choose();
        let client = &mut self.clients[self.next];
        let failures = &self.failures;
        let answer = self.runtime.block_on(async {
            if receipts.len() == 1 {
                match client.delete(queue, &receipts[0]).await {
                    Ok(_) => Ok(vec![Answer::Done]),
                    Err(Error::Refused { code, .. }) => Ok(vec![refusal(code, failures)]),
                    Err(error) => Err(error),
                }
            } else {
                let failed = client.batch_delete(queue, &receipts).await?.error_list;
                let of = |receipt: &String| {
                    let failure = failed.iter().find(|one| one.receipt_handle == *receipt);
                    failure.map_or(Answer::Done, |one| refusal(one.code, failures))
                };
                Ok(receipts.iter().map(of).collect())
            }
        });
        let (outcome, went_on) = self.judged(answer)?;
        self.recorder.add(
            self.number,
            queue,
            invoked,
            Operation::Delete { receipts, outcome },
        );
        went_on
    }

    /// Asks for a queue's counters; only in a quiet moment.
    pub(crate) fn count(&mut self, queue: &str) {
        let invoked = self.recorder.now();
        let details = self.with(async |client| client.queue(queue).await);
        let counters = anser_check::Counters {
            active: details.active_msg_num,
            inactive: details.inactive_msg_num,
            delayed: details.delay_msg_num,
        };
        self.recorder
            .add(self.number, queue, invoked, Operation::Count(counters));
    }

    /// Does anything that is not part of the history.
    pub(crate) fn with<T>(
        &mut self,
        act: impl AsyncFnOnce(&mut Client) -> anser::client::Outcome<T>,
    ) -> T {
        self.choose();
        let client = &mut self.clients[self.next];
        self.runtime.block_on(act(client)).unwrap()
    }

    fn judged<T>(&self, answer: Result<T, Error>) -> Result<Judged<T>, Gone> {
        if let Err(error) = &answer {
            self.failures.note(error);
        }
        judged(answer)
    }

    /// Whether there is another node to ask if one is gone.
    pub(crate) fn has_choice(&self) -> bool {
        self.clients.len() > 1
    }

    /// Chooses any node that takes the connection; only refused connections are tried elsewhere.
    fn choose(&mut self) {
        if !self.has_choice() {
            return;
        }
        let nodes = self.clients.len() as u64;
        let until = Instant::now() + NOBODY_WITHIN;
        while Instant::now() < until {
            self.next = usize::try_from(self.chance.below(nodes)).expect("a few nodes");
            let client = &mut self.clients[self.next];
            if self.runtime.block_on(client.connect()).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What all clients of one test share.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) seed: u64,
    pub(crate) round: AtomicU64,
    pub(crate) failures: Arc<Failures>,
    bodies: Arc<AtomicU64>,
}

/// What one client does, again and again.
pub(crate) type Turn = fn(&mut Worker) -> Result<(), Gone>;

impl Load {
    pub(crate) fn new(recorder: Arc<Recorder>, seed: u64) -> Self {
        Self {
            recorder,
            seed,
            round: AtomicU64::new(0),
            failures: Arc::default(),
            bodies: Arc::default(),
        }
    }

    /// Starts a client per turn; they end when `stop` is set or the server is gone.
    pub(crate) fn start(
        &self,
        server: &impl Served,
        turns: &[Turn],
        stop: &Arc<AtomicBool>,
    ) -> Vec<JoinHandle<()>> {
        self.round.fetch_add(1, Ordering::Relaxed);
        let start = |(number, &turn): (usize, &Turn)| {
            let number = u32::try_from(number).expect("a handful of clients");
            let mut worker = Worker::new(server, self, number);
            let stop = Arc::clone(stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && (turn(&mut worker).is_ok() || worker.has_choice())
                {}
            })
        };
        turns.iter().enumerate().map(start).collect()
    }
}

type Judged<T> = (Outcome<T>, Result<(), Gone>);

/// What to record of an answer, and whether to go on. What never left is not recorded at all.
fn judged<T>(answer: Result<T, Error>) -> Result<Judged<T>, Gone> {
    match answer {
        Ok(value) => Ok((Outcome::Ok(value), Ok(()))),
        Err(Error::Refused { code, .. }) => Ok((Outcome::Refused(code), Ok(()))),
        Err(Error::Unknown(text)) if text.contains(MODULE_SEND_FAILED) => {
            Ok((Outcome::Refused(6000), Ok(())))
        }
        Err(Error::Unknown(_)) => Ok((Outcome::Unknown, Err(Gone))),
        Err(Error::Unreachable { .. } | Error::Endpoint(_)) => Err(Gone),
    }
}

fn mapped<T, U>(outcome: Outcome<T>, change: impl FnOnce(T) -> U) -> Outcome<U> {
    match outcome {
        Outcome::Ok(value) => Outcome::Ok(change(value)),
        Outcome::Refused(code) => Outcome::Refused(code),
        Outcome::Unknown => Outcome::Unknown,
    }
}

fn refusal(code: i64, failures: &Failures) -> Answer {
    if code == CODE_RECEIPT {
        Answer::Stale
    } else {
        failures.note_code(code, "for one of a batch");
        Answer::Refused(code)
    }
}

fn delivery(received: &Received) -> Delivery {
    Delivery {
        body: Body::parse(&received.msg_body).map(|body| body.id),
        checksum: checksum(received.msg_body.as_bytes()),
        message: received.msg_id.clone(),
        receipt: received.receipt_handle.clone(),
        count: u32::try_from(received.dequeue_count).unwrap_or(u32::MAX),
        enqueued_at: received.enqueue_time,
    }
}

/// A moment on the recorder's clock, some time later.
pub(crate) fn later(moment: Nanos, by: Duration) -> Nanos {
    moment.saturating_add(Nanos::try_from(by.as_nanos()).expect("a short time"))
}
