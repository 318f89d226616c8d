//! The backlog run: what a queue costs when nobody receives from it.
//!
//! It measures sends on an empty queue, fills a queue, measures sends on the full one, and, if the
//! server is ours, restarts it and checks that the whole backlog is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    load::{self, Bodies, Plan, Workload},
    report::Row,
    subject::{Ending, Subject},
};

const BATCH: u64 = 16;

#[derive(Debug, Clone)]
pub struct Backlog {
    /// Rounded up to whole batches.
    pub messages: u64,
    pub connections: usize,
    pub body_bytes: usize,
    pub seconds: u64,
    pub ending: Ending,
}

#[derive(Debug, Serialize)]
pub struct Findings {
    pub messages: u64,
    pub fill_messages_per_second: f64,
    pub empty: Row,
    pub full: Row,
    pub resident_bytes_before: Option<u64>,
    pub resident_bytes_full: Option<u64>,
    pub resident_bytes_per_message: Option<f64>,
    pub restart: Option<Restart>,
}

#[derive(Debug, Serialize)]
pub struct Restart {
    /// From the start of the process until it said that it serves.
    pub ready_seconds: f64,
    /// From the start of the process until a message of the backlog was received.
    pub first_receive_seconds: f64,
    pub resident_bytes: Option<u64>,
}

impl Backlog {
    pub async fn run(&self, subject: &mut Subject, progress: impl Fn(&str)) -> Result<Findings> {
        let plan = Plan {
            workload: Workload::Send,
            connections: self.connections,
            body_bytes: self.body_bytes,
            duration: Duration::from_secs(self.seconds),
            warmup: Duration::from_secs(1),
            routing_key: None,
        };
        progress("measuring sends on an empty queue");
        let empty_queue = load::create_queues(subject, 1).await?;
        let empty = Row::new(&plan, &load::measure(&plan, subject, &empty_queue).await?);
        load::delete_queues(subject, &empty_queue).await?;

        let queues = load::create_queues(subject, 1).await?;
        let queue = &queues[0];
        let resident_bytes_before = resident(subject)?;
        let began = Instant::now();
        self.fill(subject, queue, &progress).await?;
        let fill_messages_per_second = per_second(self.messages, began.elapsed());
        // Copying to segments goes on after the last answer; its buffers are no cost of waiting.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let resident_bytes_full = resident(subject)?;
        let resident_bytes_per_message = resident_bytes_before
            .zip(resident_bytes_full)
            .map(|(before, full)| difference(before, full) / as_float(self.messages));

        progress("measuring sends on the full queue");
        let full = Row::new(&plan, &load::measure(&plan, subject, &queues).await?);
        let restart = self.restart(subject, queue, &progress).await?;
        load::delete_queues(subject, &queues).await?;
        Ok(Findings {
            messages: self.messages,
            fill_messages_per_second,
            empty,
            full,
            resident_bytes_before,
            resident_bytes_full,
            resident_bytes_per_message,
            restart,
        })
    }

    pub(super) async fn fill(
        &self,
        subject: &Subject,
        queue: &str,
        progress: &impl Fn(&str),
    ) -> Result<()> {
        let left = Arc::new(AtomicU64::new(self.messages.div_ceil(BATCH)));
        let mut running = JoinSet::new();
        for number in 0..self.connections {
            let mut client = subject.access.client()?;
            let mut bodies = Bodies::new(self.body_bytes, number);
            let (left, queue) = (Arc::clone(&left), queue.to_owned());
            running.spawn(async move {
                let take = |left: u64| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    client.batch_send(&queue, &bodies.batch(), 0).await?;
                }
                Ok::<_, crate::client::Error>(())
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                done = running.join_next() => match done {
                    Some(done) => done?.context("filling the queue failed")?,
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    let messages = left.load(Ordering::Relaxed) * BATCH;
                    progress(&format!("filling: {messages} messages to go"));
                }
            }
        }
    }

    async fn restart(
        &self,
        subject: &mut Subject,
        queue: &str,
        progress: &impl Fn(&str),
    ) -> Result<Option<Restart>> {
        let before = subject.access.client()?.queue(queue).await?.active_msg_num;
        progress("restarting the server");
        let Some(ready) = subject.restart(self.ending)? else {
            return Ok(None);
        };
        let began = Instant::now();
        let mut client = subject.access.client()?;
        let received = client.receive(queue, Some(0)).await?;
        let first_receive = ready + began.elapsed();
        ensure!(received.is_some(), "the backlog is gone after the restart");
        let details = client.queue(queue).await?;
        let after = details.active_msg_num + details.inactive_msg_num;
        ensure!(
            before == after,
            "{before} messages before the restart, {after} after it"
        );
        Ok(Some(Restart {
            ready_seconds: ready.as_secs_f64(),
            first_receive_seconds: first_receive.as_secs_f64(),
            resident_bytes: resident(subject)?,
        }))
    }
}

fn resident(subject: &Subject) -> Result<Option<u64>> {
    Ok(subject.usage()?.map(|usage| usage.resident_bytes))
}

fn per_second(messages: u64, elapsed: Duration) -> f64 {
    as_float(messages) / elapsed.as_secs_f64()
}

fn difference(before: u64, after: u64) -> f64 {
    as_float(after) - as_float(before)
}

#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits")]
pub(super) fn as_float(number: u64) -> f64 {
    number as f64
}
