//! Whether one endpoint that hangs holds up the others: many subscriptions, the time from publish to
//! push of all that are good, without and with one that never answers.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    Scene,
    endpoints::Silent,
    publisher::Steady,
    push::Timed,
    receiver::Receiver,
    setup::{self, Filter, Wanted},
};
use crate::bench::report::{mebibytes, milliseconds, one_digit};

const SUBSCRIPTIONS_OF_TOPIC: usize = 500;
const WARMUP: Duration = Duration::from_secs(5);

pub(super) const HEADER: &str = "\
| subscriptions | hanging | publishes/s | pushes | publish to push p50 ms | p99 ms | max ms | server CPU µs/push | server RSS MiB |
|---|---|---|---|---|---|---|---|---|";

#[derive(Debug, Serialize)]
pub(super) struct Row {
    subscriptions: usize,
    hanging: usize,
    /// Of the subscriptions that do not hang.
    #[serde(flatten)]
    timed: Timed,
    server_resident_bytes: Option<u64>,
}

pub(super) async fn run(scene: &Scene<'_>) -> Result<Vec<Row>> {
    let count = scene.options.subscriptions;
    let receiver = Receiver::start(count, scene.options.ports)?;
    let mut topics = Vec::new();
    for _ in 0..count.div_ceil(SUBSCRIPTIONS_OF_TOPIC) {
        topics.push(setup::create_topic(scene.subject, Filter::Tags).await?);
    }
    let topic_of = |number: usize| &topics[number / SUBSCRIPTIONS_OF_TOPIC];
    let wanted = (0..count)
        .map(|number| Wanted::of_all(topic_of(number), number, receiver.url(number)))
        .collect();
    setup::subscribe_all(scene, wanted).await?;
    setup::calm(scene).await?;

    let mut good = vec![0; topics.len()];
    for number in 0..count {
        good[number / SUBSCRIPTIONS_OF_TOPIC] += 1;
    }
    let topics: Arc<[String]> = topics.into();
    let mut rows = vec![measure(scene, &receiver, &topics, &good, 0).await?];
    let silent = Silent::start().await?;
    replace_first(scene, &topics[0], silent.url()).await?;
    good[0] -= 1;
    rows.push(measure(scene, &receiver, &topics, &good, 1).await?);
    setup::delete_topics(scene, &topics).await?;
    Ok(rows)
}

/// Leads the first subscription elsewhere.
async fn replace_first(scene: &Scene<'_>, topic: &str, url: String) -> Result<()> {
    let wanted = Wanted::of_all(topic, 0, url);
    let mut client = scene.subject.access.client()?;
    client
        .unsubscribe(topic, &wanted.name)
        .await
        .context("cannot end a subscription")?;
    wanted
        .subscribe(&mut client)
        .await
        .context("cannot make a subscription")
}

async fn measure(
    scene: &Scene<'_>,
    receiver: &Receiver,
    topics: &Arc<[String]>,
    good: &[u64],
    hanging: usize,
) -> Result<Row> {
    (scene.progress)(&format!(
        "publishing to {} subscriptions, {hanging} of them hanging",
        scene.options.subscriptions
    ));
    let mut steady = Steady {
        topics: Arc::clone(topics),
        per_second: scene.options.hanging_rate,
        duration: WARMUP,
    };
    Timed::measure(scene, receiver, &steady, good).await?;
    steady.duration = Duration::from_secs(scene.options.hanging_seconds);
    let timed = Timed::measure(scene, receiver, &steady, good).await?;
    Ok(Row {
        subscriptions: scene.options.subscriptions,
        hanging,
        timed,
        server_resident_bytes: scene.subject.usage()?.map(|usage| usage.resident_bytes),
    })
}

impl Row {
    pub(super) fn cells(&self) -> String {
        let timed = &self.timed;
        format!(
            "| {} | {} | {:.1} | {} | {} | {} | {} | {} | {} |",
            self.subscriptions,
            self.hanging,
            timed.publishes_per_second,
            timed.pushes,
            milliseconds(timed.p50_micros),
            milliseconds(timed.p99_micros),
            milliseconds(timed.max_micros),
            one_digit(timed.server_cpu_micros_per_push),
            mebibytes(self.server_resident_bytes),
        )
    }
}
