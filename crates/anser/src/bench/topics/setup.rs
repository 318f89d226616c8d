//! Making topics with many subscriptions, and taking them away without a trace in the next row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::Scene;
use crate::{
    bench::{load::unique_name, subject::Subject},
    client::{Client, Outcome, SubscriptionSettings},
};

/// Who make subscriptions at the same time.
const MAKERS: usize = 16;
/// How long the server may be busy after a row.
const CALM_PATIENCE: Duration = Duration::from_secs(60);
const CALM_LOOK: Duration = Duration::from_millis(500);
/// CPU time in that while of a server that has nothing to do.
const CALM_MICROS: u64 = 30_000;

/// What decides which subscriptions a message goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filter {
    Tags = 1,
    RoutingKeys = 2,
}

/// A subscription to be made.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) topic: String,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) binding_keys: Vec<String>,
}

impl Wanted {
    /// One that gets every message.
    pub(super) fn of_all(topic: &str, number: usize, url: String) -> Self {
        Self {
            topic: topic.to_owned(),
            name: format!("s{number}"),
            url,
            binding_keys: Vec::new(),
        }
    }

    pub(super) async fn subscribe(&self, client: &mut Client) -> Outcome<()> {
        let settings = SubscriptionSettings {
            // The body alone, so that the mark is at its beginning.
            notify_content_format: Some("SIMPLIFIED".into()),
            binding_keys: self.binding_keys.clone(),
            ..Default::default()
        };
        let endpoint = ("http", self.url.as_str());
        client
            .subscribe(&self.topic, &self.name, endpoint, &settings)
            .await?;
        Ok(())
    }
}

pub(super) async fn create_topic(subject: &Subject, filter: Filter) -> Result<String> {
    let name = unique_name();
    let mut client = subject.access.client()?;
    client
        .create_topic(&name, filter as u64, None)
        .await
        .context("cannot make a topic")?;
    Ok(name)
}

/// Makes subscriptions, several at a time.
pub(super) async fn subscribe_all(scene: &Scene<'_>, wanted: Vec<Wanted>) -> Result<()> {
    let wanted: Arc<[Wanted]> = wanted.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS.min(wanted.len()) {
        let mut client = scene.subject.access.client()?;
        let (wanted, next) = (Arc::clone(&wanted), Arc::clone(&next));
        makers.spawn(async move {
            while let Some(wanted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                wanted.subscribe(&mut client).await?;
            }
            Ok::<_, crate::client::Error>(())
        });
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    ticks.tick().await;
    loop {
        tokio::select! {
            done = makers.join_next() => match done {
                Some(done) => done?.context("cannot make a subscription")?,
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                let made = next.load(Ordering::Relaxed).min(wanted.len());
                (scene.progress)(&format!("{made} of {} subscriptions made", wanted.len()));
            }
        }
    }
}

/// Deletes topics with their subscriptions, and waits until the server has nothing to do any more.
pub(super) async fn delete_topics(scene: &Scene<'_>, topics: &[String]) -> Result<()> {
    let mut deleting = JoinSet::new();
    for topic in topics {
        deleting.spawn(delete_topic(scene.subject.access.client()?, topic.clone()));
    }
    while let Some(ended) = deleting.join_next().await {
        ended?.context("cannot delete a topic")?;
    }
    calm(scene).await
}

/// A topic that still has subscriptions is not deleted.
async fn delete_topic(mut client: Client, topic: String) -> Outcome<()> {
    loop {
        let page = client.list_subscriptions(&topic, "", 0).await?;
        if page.subscription_list.is_empty() {
            break;
        }
        for subscription in page.subscription_list {
            client
                .unsubscribe(&topic, &subscription.subscription_name)
                .await?;
        }
    }
    client.delete_topic(&topic).await?;
    Ok(())
}

/// Waits until the server has nothing to do, if that can be seen.
pub(super) async fn calm(scene: &Scene<'_>) -> Result<()> {
    let began = Instant::now();
    let mut before = scene.subject.usage()?;
    while began.elapsed() < CALM_PATIENCE {
        tokio::time::sleep(CALM_LOOK).await;
        let after = scene.subject.usage()?;
        let used = before.zip(after);
        let used = used.map(|(before, after)| after.cpu_micros - before.cpu_micros);
        if used.is_none_or(|micros| micros <= CALM_MICROS) {
            return Ok(());
        }
        before = after;
    }
    (scene.progress)(&format!(
        "the server is still busy after {} s; the next row shares the machine with that",
        CALM_PATIENCE.as_secs()
    ));
    Ok(())
}
