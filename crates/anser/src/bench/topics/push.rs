//! How many pushes a second there are, and how long a message takes from publish to push when the
//! server has time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use super::{
    Scene,
    publisher::{Flood, Steady},
    receiver::Receiver,
    setup::{self, Filter, Wanted},
};
use crate::bench::{
    backlog::as_float,
    report::{mebibytes, milliseconds, one_digit},
};

const COUNTS: [usize; 2] = [1, 10];
const UNDELIVERED_MAX: u64 = 5_000;
const WARMUP: Duration = Duration::from_secs(1);

pub(super) const HEADER: &str = "\
| subscriptions | pushes/s | server CPU µs/push | connections opened | server RSS MiB | at publishes/s | publish to push p50 ms | p99 ms | server CPU µs/push |
|---|---|---|---|---|---|---|---|---|";

#[derive(Debug, Serialize)]
pub(super) struct Row {
    subscriptions: usize,
    fast: Fast,
    steady: Timed,
}

/// As fast as it goes.
#[derive(Debug, Serialize)]
struct Fast {
    pushes_per_second: f64,
    server_cpu_micros_per_push: Option<f64>,
    connections: u64,
    server_resident_bytes: Option<u64>,
}

/// At a steady rate.
#[derive(Debug, Serialize)]
pub(super) struct Timed {
    pub(super) publishes_per_second: f64,
    pub(super) pushes: u64,
    pub(super) p50_micros: u64,
    pub(super) p99_micros: u64,
    pub(super) max_micros: u64,
    pub(super) server_cpu_micros_per_push: Option<f64>,
}

pub(super) async fn run(scene: &Scene<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for subscriptions in COUNTS {
        let receiver = Arc::new(Receiver::start(subscriptions, scene.options.ports)?);
        let topic = setup::create_topic(scene.subject, Filter::Tags).await?;
        let wanted = (0..subscriptions)
            .map(|number| Wanted::of_all(&topic, number, receiver.url(number)))
            .collect();
        setup::subscribe_all(scene, wanted).await?;
        let fast = Fast::measure(scene, &receiver, &topic, subscriptions as u64).await?;
        (scene.progress)(&format!(
            "{subscriptions} subscriptions: {:.0} pushes/s",
            fast.pushes_per_second
        ));
        setup::calm(scene).await?;
        let steady = Steady {
            topics: [topic.clone()].into(),
            per_second: scene.options.rate,
            duration: Duration::from_secs(scene.options.seconds),
        };
        let steady = Timed::measure(scene, &receiver, &steady, &[subscriptions as u64]).await?;
        setup::delete_topics(scene, &[topic]).await?;
        rows.push(Row {
            subscriptions,
            fast,
            steady,
        });
    }
    Ok(rows)
}

impl Fast {
    async fn measure(
        scene: &Scene<'_>,
        receiver: &Arc<Receiver>,
        topic: &str,
        subscriptions: u64,
    ) -> Result<Self> {
        let begin = Instant::now() + WARMUP;
        let end = begin + Duration::from_secs(scene.options.seconds);
        let flood = Flood {
            topic: topic.to_owned(),
            subscriptions,
            messages: u64::MAX,
            end: Some(end),
            undelivered_max: Some(UNDELIVERED_MAX),
        };
        let watch = async {
            tokio::time::sleep_until(begin.into()).await;
            let before = (Instant::now(), receiver.received(), scene.subject.usage()?);
            tokio::time::sleep_until(end.into()).await;
            let after = (Instant::now(), receiver.received(), scene.subject.usage()?);
            anyhow::Ok((before, after))
        };
        let (published, (before, after)) = tokio::try_join!(flood.run(scene, receiver), watch)?;
        receiver.wait_for(published * subscriptions).await?;
        let pushes = as_float(after.1 - before.1);
        let used = before.2.zip(after.2);
        Ok(Self {
            pushes_per_second: pushes / (after.0 - before.0).as_secs_f64(),
            server_cpu_micros_per_push: used
                .map(|(before, after)| as_float(after.cpu_micros - before.cpu_micros) / pushes),
            connections: receiver.connections(),
            server_resident_bytes: after.2.map(|usage| usage.resident_bytes),
        })
    }
}

impl Timed {
    /// Publishes, and waits for the pushes to the subscriptions that are expected of each topic.
    pub(super) async fn measure(
        scene: &Scene<'_>,
        receiver: &Receiver,
        steady: &Steady,
        expected_of: &[u64],
    ) -> Result<Self> {
        let received = receiver.received();
        let before = scene.subject.usage()?;
        receiver.record()?;
        let published = steady.run(scene).await?;
        let pushes = published.of_topic.iter().zip(expected_of);
        let pushes = pushes.map(|(messages, subscriptions)| messages * subscriptions);
        let pushes: u64 = pushes.sum();
        receiver.wait_for(received + pushes).await?;
        let used = before.zip(scene.subject.usage()?);
        let latency = receiver.latency();
        Ok(Self {
            publishes_per_second: as_float(published.messages()) / published.elapsed.as_secs_f64(),
            pushes,
            p50_micros: latency.value_at_quantile(0.5),
            p99_micros: latency.value_at_quantile(0.99),
            max_micros: latency.max(),
            server_cpu_micros_per_push: used.map(|(before, after)| {
                as_float(after.cpu_micros - before.cpu_micros) / as_float(pushes)
            }),
        })
    }
}

impl Row {
    pub(super) fn cells(&self) -> String {
        let (fast, steady) = (&self.fast, &self.steady);
        format!(
            "| {} | {:.0} | {} | {} | {} | {:.0} | {} | {} | {} |",
            self.subscriptions,
            fast.pushes_per_second,
            one_digit(fast.server_cpu_micros_per_push),
            fast.connections,
            mebibytes(fast.server_resident_bytes),
            steady.publishes_per_second,
            milliseconds(steady.p50_micros),
            milliseconds(steady.p99_micros),
            one_digit(steady.server_cpu_micros_per_push),
        )
    }
}
