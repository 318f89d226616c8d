//! How many bytes the server writes for each byte that is published and pushed to ten subscriptions,
//! and for each byte that is sent to a queue.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    Scene,
    publisher::{Flood, Steady},
    receiver::Receiver,
    setup::{self, Filter, Wanted},
    written::Written,
};
use crate::bench::{
    backlog::{Backlog, as_float},
    load,
    subject::Ending,
};

const SUBSCRIPTIONS: usize = 10;
/// Copying from the log to where messages stay goes on after the last answer.
const UNTIL_COPIED: Duration = Duration::from_secs(3);

pub(super) const HEADER: &str = "\
Bytes written, in MiB and (for each published byte). Log: by the server's own count. Disk: by the whole
machine. Pages: `write_bytes` of the server, which counts whole large folios. Calls: `wchar` of the
server, sockets included.

| what | messages | published | log | disk | pages | calls |
|---|---|---|---|---|---|---|";

#[derive(Debug, Serialize)]
pub(super) struct Row {
    what: String,
    messages: u64,
    published_bytes: u64,
    written: Written,
}

/// How messages are published to the topic.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// In batches, as fast as it goes.
    Fast,
    /// One by one, a few at a time: there is little to put together in one write.
    Steady,
}

pub(super) async fn run(scene: &Scene<'_>) -> Result<Vec<Row>> {
    (scene.progress)("measuring what sends to a queue write");
    let queue = to_a_queue(scene).await?;
    (scene.progress)("measuring what publishes to ten subscriptions write");
    let fast = to_a_topic(scene, Pace::Fast).await?;
    let steady = to_a_topic(scene, Pace::Steady).await?;
    Ok(vec![queue, fast, steady])
}

async fn to_a_queue(scene: &Scene<'_>) -> Result<Row> {
    let queues = load::create_queues(scene.subject, 1).await?;
    setup::calm(scene).await?;
    let before = Written::until_now(scene)?;
    let options = scene.options;
    let sends = Backlog {
        messages: options.messages,
        connections: options.connections,
        body_bytes: options.body_bytes,
        seconds: options.seconds,
        ending: Ending::Orderly,
    };
    sends
        .fill(scene.subject, &queues[0], &scene.progress)
        .await?;
    tokio::time::sleep(UNTIL_COPIED).await;
    let written = Written::until_now(scene)?.since(&before);
    load::delete_queues(scene.subject, &queues).await?;
    let what = "sends to a queue, batches of 16".into();
    Ok(Row::new(scene, what, options.messages, written))
}

async fn to_a_topic(scene: &Scene<'_>, pace: Pace) -> Result<Row> {
    let receiver = Arc::new(Receiver::start(SUBSCRIPTIONS, scene.options.ports)?);
    let topic = setup::create_topic(scene.subject, Filter::Tags).await?;
    let wanted = (0..SUBSCRIPTIONS)
        .map(|number| Wanted::of_all(&topic, number, receiver.url(number)))
        .collect();
    setup::subscribe_all(scene, wanted).await?;
    setup::calm(scene).await?;
    let before = Written::until_now(scene)?;
    let messages = publish(scene, pace, &receiver, &topic).await?;
    receiver.wait_for(messages * SUBSCRIPTIONS as u64).await?;
    tokio::time::sleep(UNTIL_COPIED).await;
    let written = Written::until_now(scene)?.since(&before);
    let fewest = receiver.fewest();
    ensure!(
        fewest >= messages,
        "a subscription got {fewest} of {messages} messages"
    );
    setup::delete_topics(scene, &[topic]).await?;
    let how = match pace {
        Pace::Fast => "batches of 16".into(),
        Pace::Steady => format!("{} a second", scene.options.rate),
    };
    let what = format!("publishes to {SUBSCRIPTIONS} subscriptions until all are pushed, {how}");
    Ok(Row::new(scene, what, messages, written))
}

/// Gives how many messages were published.
async fn publish(
    scene: &Scene<'_>,
    pace: Pace,
    receiver: &Arc<Receiver>,
    topic: &str,
) -> Result<u64> {
    match pace {
        Pace::Fast => {
            let flood = Flood {
                topic: topic.to_owned(),
                subscriptions: SUBSCRIPTIONS as u64,
                messages: scene.options.messages,
                end: None,
                undelivered_max: None,
            };
            flood.run(scene, receiver).await
        }
        Pace::Steady => {
            let steady = Steady {
                topics: [topic.to_owned()].into(),
                per_second: scene.options.rate,
                duration: Duration::from_secs(scene.options.seconds),
            };
            Ok(steady.run(scene).await?.messages())
        }
    }
}

impl Row {
    fn new(scene: &Scene<'_>, what: String, messages: u64, written: Written) -> Self {
        Self {
            what,
            messages,
            published_bytes: messages * scene.options.body_bytes as u64,
            written,
        }
    }

    pub(super) fn cells(&self) -> String {
        let mebibytes = |bytes| as_float(bytes) / f64::from(1 << 20);
        let cell = |bytes: u64| {
            let each = as_float(bytes) / as_float(self.published_bytes);
            format!("{:.1} ({each:.2})", mebibytes(bytes))
        };
        let known = |bytes: Option<u64>| bytes.map_or("–".into(), cell);
        format!(
            "| {} | {} | {:.1} | {} | {} | {} | {} |",
            self.what,
            self.messages,
            mebibytes(self.published_bytes),
            known(self.written.log),
            known(self.written.disk),
            cell(self.written.pages),
            cell(self.written.calls),
        )
    }
}
