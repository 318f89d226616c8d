//! Publishers of marked bodies: as fast as pushes keep up, or at a steady rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::{Scene, marks::marked_body, receiver::Receiver};
use crate::client::{Client, Error, Labels};

const BATCH: u64 = 16;
/// Of a steady publisher: an answer that is late holds up few.
const STEADY_CONNECTIONS: u64 = 8;
const THROTTLED: Duration = Duration::from_millis(1);

/// Publishes batches as fast as it can.
#[derive(Debug, Clone)]
pub(super) struct Flood {
    pub(super) topic: String,
    /// Who get each message.
    pub(super) subscriptions: u64,
    /// Whole batches; the end may come before.
    pub(super) messages: u64,
    pub(super) end: Option<Instant>,
    /// With more pushes than this to come, nothing is published. Needs an end.
    pub(super) undelivered_max: Option<u64>,
}

impl Flood {
    /// Gives how many messages were published.
    pub(super) async fn run(&self, scene: &Scene<'_>, receiver: &Arc<Receiver>) -> Result<u64> {
        let left = Arc::new(AtomicU64::new(self.messages / BATCH));
        let taken = Arc::new(AtomicU64::new(0));
        let received_before = receiver.received();
        let mut running = JoinSet::new();
        for _ in 0..scene.options.connections {
            let worker = Worker {
                flood: self.clone(),
                client: scene.subject.access.client()?,
                body_bytes: scene.options.body_bytes,
                left: Arc::clone(&left),
                taken: Arc::clone(&taken),
                receiver: Arc::clone(receiver),
                received_before,
            };
            running.spawn(worker.run());
        }
        while let Some(ended) = running.join_next().await {
            ended?.context("publishing failed")?;
        }
        Ok(taken.load(Ordering::Relaxed) * BATCH)
    }
}

struct Worker {
    flood: Flood,
    client: Client,
    body_bytes: usize,
    left: Arc<AtomicU64>,
    /// Batches that were published, or are being published.
    taken: Arc<AtomicU64>,
    receiver: Arc<Receiver>,
    received_before: u64,
}

impl Worker {
    async fn run(mut self) -> Result<(), Error> {
        loop {
            if self.flood.end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
            if self.is_ahead() {
                tokio::time::sleep(THROTTLED).await;
                continue;
            }
            let take = |left: u64| left.checked_sub(1);
            let took = self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            if took.is_err() {
                return Ok(());
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            let bodies: Vec<String> = (0..BATCH).map(|_| marked_body(self.body_bytes)).collect();
            let topic = &self.flood.topic;
            self.client
                .batch_publish(topic, &bodies, Labels::default())
                .await?;
        }
    }

    /// Whether pushes do not keep up.
    fn is_ahead(&self) -> bool {
        let pushes = self.taken.load(Ordering::Relaxed) * BATCH * self.flood.subscriptions;
        let received = self.receiver.received() - self.received_before;
        let most = self.flood.undelivered_max.unwrap_or(u64::MAX);
        pushes.saturating_sub(received) > most
    }
}

/// Publishes single messages at a rate, to one topic after the other.
#[derive(Debug, Clone)]
pub(super) struct Steady {
    pub(super) topics: Arc<[String]>,
    pub(super) per_second: u64,
    pub(super) duration: Duration,
}

/// What a steady publisher did.
#[derive(Debug)]
pub(super) struct Published {
    /// How many messages each topic got.
    pub(super) of_topic: Vec<u64>,
    /// Until the last answer.
    pub(super) elapsed: Duration,
}

impl Published {
    pub(super) fn messages(&self) -> u64 {
        self.of_topic.iter().sum()
    }
}

impl Steady {
    pub(super) async fn run(&self, scene: &Scene<'_>) -> Result<Published> {
        let begin = Instant::now();
        let mut running = JoinSet::new();
        for first in 0..STEADY_CONNECTIONS {
            let client = scene.subject.access.client()?;
            let body_bytes = scene.options.body_bytes;
            running.spawn(self.clone().worker(client, body_bytes, begin, first));
        }
        let mut of_topic = vec![0; self.topics.len()];
        while let Some(ended) = running.join_next().await {
            for (sum, count) in of_topic
                .iter_mut()
                .zip(ended?.context("publishing failed")?)
            {
                *sum += count;
            }
        }
        Ok(Published {
            of_topic,
            elapsed: begin.elapsed(),
        })
    }

    /// Publishes the messages `first`, `first` + connections, and so on, each when it is due.
    async fn worker(
        self,
        mut client: Client,
        body_bytes: usize,
        begin: Instant,
        first: u64,
    ) -> Result<Vec<u64>, Error> {
        let mut of_topic = vec![0; self.topics.len()];
        let all = self.duration.as_secs().saturating_mul(self.per_second);
        let mut number = first;
        while number < all {
            let due = Duration::from_micros(number.saturating_mul(1_000_000) / self.per_second);
            tokio::time::sleep_until((begin + due).into()).await;
            let place = usize::try_from(number).unwrap_or(0) % self.topics.len();
            let body = marked_body(body_bytes);
            client
                .publish(&self.topics[place], &body, Labels::default())
                .await?;
            of_topic[place] += 1;
            number += STEADY_CONNECTIONS;
        }
        Ok(of_topic)
    }
}
