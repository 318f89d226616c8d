//! The load: so many connections, each doing one thing after the other, for so long.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::subject::Subject;
use crate::client::{Client, Error, Labels, Outcome, QueueSettings};

const BATCH: usize = 16;
pub(super) const LATENCY_MICROS_MAX: u64 = 120_000_000;
/// A connection that fails this often without a success gives up.
const FAILURES_IN_A_ROW_MAX: u64 = 50;

/// What a connection does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Send one message.
    Send,
    /// Send one message, receive one, delete it: three requests.
    Cycle,
    /// Send sixteen messages in one request.
    BatchSend,
    /// Send sixteen messages, receive up to sixteen, delete them: three requests.
    BatchCycle,
    /// Publish one message to a topic.
    #[value(skip)]
    Publish,
    /// Publish sixteen messages to a topic in one request.
    #[value(skip)]
    BatchPublish,
}

impl Workload {
    pub fn title(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Cycle => "send + receive + delete",
            Self::BatchSend => "send, batches of 16",
            Self::BatchCycle => "send + receive + delete, batches of 16",
            Self::Publish => "publish",
            Self::BatchPublish => "publish, batches of 16",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub workload: Workload,
    pub connections: usize,
    pub body_bytes: usize,
    pub duration: Duration,
    /// Load before the measurement begins.
    pub warmup: Duration,
    /// What messages are published with.
    pub routing_key: Option<&'static str>,
}

/// What came out of a plan.
#[derive(Debug)]
pub struct Measured {
    pub messages: u64,
    pub elapsed: Duration,
    /// Microseconds an operation, all its requests together.
    pub latency: Histogram<u64>,
    pub failures: u64,
    pub first_failure: Option<String>,
    /// CPU time of the server while it was measured.
    pub server_cpu_micros: Option<u64>,
    /// Memory of the server at the end.
    pub server_resident_bytes: Option<u64>,
}

pub async fn create_queues(subject: &Subject, count: usize) -> Result<Vec<String>> {
    let mut client = subject.access.client()?;
    let mut names = Vec::new();
    for _ in 0..count {
        let name = unique_name();
        // Room for whatever the load leaves behind.
        let settings = QueueSettings {
            max_msg_heap_num: Some(1_000_000_000),
            ..Default::default()
        };
        client
            .create_queue(&name, &settings)
            .await
            .context("cannot make a queue")?;
        names.push(name);
    }
    Ok(names)
}

pub async fn delete_queues(subject: &Subject, queues: &[String]) -> Result<()> {
    let mut client = subject.access.client()?;
    for queue in queues {
        client
            .delete_queue(queue)
            .await
            .context("cannot delete a queue")?;
    }
    // What the deletion sets going should not be counted against the next measurement.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// Loads the server as planned. The connections are spread over the queues, which are topics if the
/// plan is to publish.
pub async fn measure(plan: &Plan, subject: &Subject, queues: &[String]) -> Result<Measured> {
    let mut workers = Vec::new();
    for number in 0..plan.connections {
        let queue = queues[number % queues.len()].clone();
        let mut worker = Worker::new(plan, subject.access.client()?, queue, number)?;
        worker
            .client
            .connect()
            .await
            .context("cannot open a connection")?;
        workers.push(worker);
    }
    let begin = Instant::now() + plan.warmup;
    let end = begin + plan.duration;
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(worker.run(begin, end));
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = subject.usage()?;
    tokio::time::sleep_until(end.into()).await;
    let after = subject.usage()?;
    let elapsed = begin.elapsed();

    let mut total = Tally::new()?;
    while let Some(tally) = running.join_next().await {
        total.add(tally?)?;
    }
    if total.latency.is_empty() {
        let reason = total
            .first_failure
            .unwrap_or_else(|| "no answer came in time".into());
        bail!("{}: nothing succeeded: {reason}", plan.workload.title());
    }
    Ok(Measured {
        messages: total.messages,
        elapsed: elapsed.min(plan.duration),
        latency: total.latency,
        failures: total.failures,
        first_failure: total.first_failure,
        server_cpu_micros: before
            .zip(after)
            .map(|(before, after)| after.cpu_micros - before.cpu_micros),
        server_resident_bytes: after.map(|after| after.resident_bytes),
    })
}

struct Worker {
    client: Client,
    workload: Workload,
    queue: String,
    routing_key: Option<&'static str>,
    bodies: Bodies,
    tally: Tally,
}

impl Worker {
    fn new(plan: &Plan, client: Client, queue: String, number: usize) -> Result<Self> {
        Ok(Self {
            client,
            workload: plan.workload,
            queue,
            routing_key: plan.routing_key,
            bodies: Bodies::new(plan.body_bytes, number),
            tally: Tally::new()?,
        })
    }

    /// Only what ends between the two moments counts.
    async fn run(mut self, begin: Instant, end: Instant) -> Tally {
        let mut failures_in_a_row = 0;
        loop {
            let began = Instant::now();
            if began >= end || failures_in_a_row > FAILURES_IN_A_ROW_MAX {
                return self.tally;
            }
            let outcome = self.operation().await;
            let ended = Instant::now();
            let counts = ended >= begin && ended < end;
            match outcome {
                Ok(messages) => {
                    failures_in_a_row = 0;
                    if counts {
                        self.tally.succeeded(messages, ended - began);
                    }
                }
                Err(error) => {
                    failures_in_a_row += 1;
                    self.tally.failed(&error);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// Gives how many messages went all the way.
    async fn operation(&mut self) -> Outcome<u64> {
        let (client, queue) = (&mut self.client, self.queue.as_str());
        let labels = Labels {
            tags: &[],
            routing_key: self.routing_key,
        };
        match self.workload {
            Workload::Send => {
                client.send(queue, self.bodies.next(), 0).await?;
                Ok(1)
            }
            Workload::Cycle => {
                client.send(queue, self.bodies.next(), 0).await?;
                let Some(message) = client.receive(queue, Some(1)).await? else {
                    return Ok(0);
                };
                client.delete(queue, &message.receipt_handle).await?;
                Ok(1)
            }
            Workload::BatchSend => {
                client.batch_send(queue, &self.bodies.batch(), 0).await?;
                Ok(BATCH as u64)
            }
            Workload::BatchCycle => {
                client.batch_send(queue, &self.bodies.batch(), 0).await?;
                let messages = client.batch_receive(queue, BATCH as u64, Some(1)).await?;
                if messages.is_empty() {
                    return Ok(0);
                }
                let handles: Vec<&str> = messages
                    .iter()
                    .map(|message| message.receipt_handle.as_str())
                    .collect();
                let deleted = client.batch_delete(queue, &handles).await?;
                Ok((handles.len() - deleted.error_list.len()) as u64)
            }
            Workload::Publish => {
                client.publish(queue, self.bodies.next(), labels).await?;
                Ok(1)
            }
            Workload::BatchPublish => {
                let bodies = self.bodies.batch();
                client.batch_publish(queue, &bodies, labels).await?;
                Ok(BATCH as u64)
            }
        }
    }
}

/// Bodies of one size, each different from all others.
pub(super) struct Bodies {
    connection: usize,
    number: u64,
    text: String,
    current: String,
}

impl Bodies {
    pub(super) fn new(bytes: usize, connection: usize) -> Self {
        const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
        let letters = (0..bytes).map(|place| char::from(LETTERS[place * 7 % LETTERS.len()]));
        Self {
            connection,
            number: 0,
            text: letters.collect(),
            current: String::new(),
        }
    }

    pub(super) fn next(&mut self) -> &str {
        let mark = format!("{}-{}-", self.connection, self.number);
        self.number += 1;
        self.current.clear();
        self.current.push_str(&mark);
        self.current.push_str(&self.text);
        self.current.truncate(self.text.len().max(1));
        &self.current
    }

    pub(super) fn batch(&mut self) -> Vec<String> {
        (0..BATCH).map(|_| self.next().to_owned()).collect()
    }
}

struct Tally {
    latency: Histogram<u64>,
    messages: u64,
    failures: u64,
    first_failure: Option<String>,
}

impl Tally {
    fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3)?;
        Ok(Self {
            latency,
            messages: 0,
            failures: 0,
            first_failure: None,
        })
    }

    fn succeeded(&mut self, messages: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
        self.messages += messages;
    }

    fn failed(&mut self, error: &Error) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.latency.add(other.latency)?;
        self.messages += other.messages;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        Ok(())
    }
}

/// A name that no other run and no other queue or topic of this run has.
pub(super) fn unique_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static QUEUES: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let number = QUEUES.fetch_add(1, Ordering::Relaxed);
    format!("bench-{seconds}-{}-{number}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_size_and_differ() {
        let mut bodies = Bodies::new(64, 3);
        let batch = bodies.batch();
        assert!(batch.iter().all(|body| body.len() == 64));
        let mut sorted = batch.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), BATCH);
    }
}
