//! Short words for tests: a subscription of usual shape, a pusher that may dial loopback.

use std::time::Duration;

use anser_broker::{
    attributes::BodyFormat,
    id::{AccountId, MessageId, SubscriptionId},
    labels::Labels,
    name::{SubscriptionName, TopicName},
    op::DeliveryFailure,
    outboxes::Subscriber,
    retry::RetryStrategy,
};
use anser_push::{Config, Pusher};

use crate::memory::{Memory, PATIENCE};

pub(crate) const FIRST: SubscriptionId = SubscriptionId(1);

/// A subscription with exponential decay that gets bare bodies.
pub(crate) fn subscriber(number: u64, url: &str) -> Subscriber {
    Subscriber {
        subscription: SubscriptionId(number),
        account: AccountId(1_250_000_000),
        topic: TopicName::new("orders").unwrap(),
        name: SubscriptionName::new("billing").unwrap(),
        url: url.into(),
        retry: RetryStrategy::ExponentialDecay,
        format: BodyFormat::Simplified,
    }
}

/// Loopback is allowed.
pub(crate) fn config() -> Config {
    Config {
        allow: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        ..Config::default()
    }
}

/// Time limits that tests can wait for, and that a good receiver keeps on a machine that others use too.
pub(crate) fn hasty() -> Config {
    Config {
        connect_time: Duration::from_millis(1_200),
        total_time: Duration::from_millis(1_500),
        ..config()
    }
}

/// Waits for what only can be asked for.
pub(crate) async fn eventually(happened: impl Fn() -> bool) {
    let wait = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("this should have happened by now");
}

pub(crate) struct Rig {
    pub(crate) memory: Memory,
    pub(crate) pusher: Pusher,
}

impl Rig {
    /// A pusher with one subscription, number 1.
    pub(crate) fn new(subscriber: Subscriber, config: Config) -> Self {
        let memory = Memory::new();
        memory.subscribe(subscriber);
        Self {
            pusher: anser_push::start(memory.clone(), config).unwrap(),
            memory,
        }
    }

    pub(crate) fn publish(&self, body: impl Into<bytes::Bytes>) -> MessageId {
        self.memory.publish(FIRST, body, Labels::default())
    }

    pub(crate) async fn delivered(&self, count: usize) {
        self.memory
            .until(|state| (state.delivered() >= count).then_some(()))
            .await;
    }

    /// The failure of this number, from 1, as soon as its message was settled.
    pub(crate) async fn failure(&self, number: usize) -> DeliveryFailure {
        self.memory
            .until(|state| {
                let outbox = state.only();
                let settled = outbox.returned.len() + outbox.given_up.len();
                (settled >= number).then(|| outbox.failures[number - 1].clone())
            })
            .await
    }
}

/// The only failure of one push to this URL.
pub(crate) async fn failure_of(url: &str, config: Config) -> DeliveryFailure {
    let rig = Rig::new(subscriber(1, url), config);
    rig.publish("a");
    rig.failure(1).await
}
