//! One account, or many names of one address, cannot take what others need.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anser_broker::{
    id::{AccountId, SubscriptionId},
    labels::Labels,
    outboxes::Subscriber,
};
use anser_push::{Addresses, Config, Metrics, Pusher, Resolver};

use crate::{
    memory::Memory,
    receiver::{Answer, Receiver},
    rig::{config, eventually, hasty, subscriber},
};

const CROWD: AccountId = AccountId(1);
const OTHER: AccountId = AccountId(2);
const OTHERS: SubscriptionId = SubscriptionId(1000);

/// A subscription of the account with one message.
fn publish_to(memory: &Memory, account: AccountId, number: u64, url: &str, body: &str) {
    memory.subscribe(Subscriber {
        account,
        ..subscriber(number, url)
    });
    memory.publish(SubscriptionId(number), body.to_owned(), Labels::default());
}

async fn hanging() -> Receiver {
    Receiver::start(|_| Answer::Hang(Vec::new())).await
}

async fn good() -> Receiver {
    Receiver::start(|_| Answer::status(200)).await
}

/// As many hosts that never answer, each with a subscription of the crowd that pushes to it.
async fn hang_at(memory: &Memory, hosts: u64, body: &str) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for number in 1..=hosts {
        let receiver = hanging().await;
        publish_to(memory, CROWD, number, &receiver.url(), body);
        receivers.push(receiver);
    }
    receivers
}

fn reached(receivers: &[Receiver]) -> usize {
    let requests = receivers.iter().map(|receiver| receiver.requests().len());
    requests.sum()
}

async fn delivered(memory: &Memory, count: usize) {
    memory
        .until(|state| (state.delivered() == count).then_some(()))
        .await;
}

fn failures(metrics: &Metrics) -> HashMap<&'static str, u64> {
    metrics.failures().filter(|(_, count)| *count > 0).collect()
}

/// Whether the other account's message is delivered while the crowd's pushes hang.
async fn the_other_goes_on(config: Config, crowd_body: &str, crowd_pushes: usize) {
    let memory = Memory::new();
    let crowd = hang_at(&memory, 10, crowd_body).await;
    let pusher = anser_push::start(memory.clone(), config).unwrap();
    eventually(|| reached(&crowd) >= crowd_pushes).await;
    let good = good().await;
    publish_to(&memory, OTHER, OTHERS.0, &good.url(), "a");
    delivered(&memory, 1).await;
    assert_eq!(failures(pusher.metrics()), HashMap::new());
    assert_eq!(reached(&crowd), crowd_pushes);
}

#[tokio::test]
async fn an_account_gets_a_quarter_of_all_places() {
    let few = Config {
        pushes: 8,
        ..config()
    };
    the_other_goes_on(few, "a", 2).await;
    // Never less than one.
    let fewer = Config {
        pushes: 2,
        ..config()
    };
    the_other_goes_on(fewer, "a", 1).await;
}

#[tokio::test]
async fn an_account_gets_a_quarter_of_the_memory_of_bodies() {
    let little = Config {
        bodies_bytes: 8 << 20,
        ..config()
    };
    the_other_goes_on(little, &"a".repeat(1 << 20), 2).await;
    // Never less than one body of the largest size.
    let less = Config {
        bodies_bytes: 2 << 20,
        ..config()
    };
    the_other_goes_on(less, &"a".repeat(1 << 20), 1).await;
}

#[tokio::test]
async fn who_waits_for_a_crowded_host_holds_nothing() {
    let few = Config {
        host_pushes: 1,
        pushes: 8,
        ..config()
    };
    let (crowded, good) = (hanging().await, good().await);
    let memory = Memory::new();
    for number in 1..=10 {
        publish_to(&memory, CROWD, number, &crowded.url(), "a");
    }
    let pusher = anser_push::start(memory.clone(), few).unwrap();
    eventually(|| !crowded.requests().is_empty()).await;
    publish_to(&memory, CROWD, 11, &good.url(), "a");
    delivered(&memory, 1).await;
    assert_eq!(failures(pusher.metrics()), HashMap::new());
}

#[tokio::test]
async fn who_waits_for_its_account_holds_nothing() {
    let few = Config {
        host_pushes: 1,
        pushes: 8,
        ..config()
    };
    let good = good().await;
    let memory = Memory::new();
    let crowd = hang_at(&memory, 2, "a").await;
    let pusher = anser_push::start(memory.clone(), few).unwrap();
    eventually(|| reached(&crowd) == 2).await;
    for number in 11..=20 {
        publish_to(&memory, CROWD, number, &good.url(), "a");
    }
    publish_to(&memory, OTHER, OTHERS.0, &good.url(), "a");
    delivered(&memory, 1).await;
    memory.look(|state| assert_eq!(state.outboxes[&OTHERS].delivered.len(), 1));
    assert_eq!(failures(pusher.metrics()), HashMap::new());
}

#[tokio::test]
async fn all_of_a_crowded_account_is_pushed_in_the_end() {
    let few = Config {
        host_pushes: 2,
        pushes: 12,
        ..config()
    };
    let receivers = [good().await, good().await, good().await];
    let memory = Memory::new();
    for (number, receiver) in (1..=300).zip(receivers.iter().cycle()) {
        publish_to(&memory, CROWD, number, &receiver.url(), "a");
        memory.publish(SubscriptionId(number), "b", Labels::default());
    }
    let _pusher = anser_push::start(memory.clone(), few).unwrap();
    delivered(&memory, 600).await;
}

/// Every name is this machine, but those that begin with "slow" are never found.
#[derive(Debug, Default)]
struct Here {
    slow: AtomicUsize,
}

impl Resolver for Here {
    fn resolve(&self, name: &str) -> Addresses {
        if name.starts_with("slow") {
            self.slow.fetch_add(1, Ordering::SeqCst);
            return Box::pin(std::future::pending::<io::Result<Vec<IpAddr>>>());
        }
        Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
    }
}

#[tokio::test]
async fn an_account_gets_a_quarter_of_the_lookups() {
    let resolver = Arc::new(Here::default());
    let memory = Memory::new();
    for number in 1..=100 {
        let url = format!("http://slow{number}.example/");
        publish_to(&memory, CROWD, number, &url, "a");
    }
    let good = good().await;
    let url = format!("http://good.example:{}/", good.address.port());
    let config = Config {
        resolver: Arc::clone(&resolver) as Arc<dyn Resolver>,
        ..config()
    };
    let pusher = anser_push::start(memory.clone(), config).unwrap();
    eventually(|| pusher.metrics().in_flight() == 100).await;
    publish_to(&memory, OTHER, OTHERS.0, &url, "a");
    delivered(&memory, 1).await;
    assert_eq!(resolver.slow.load(Ordering::SeqCst), 64);
}

fn many_names(config: Config) -> Config {
    Config {
        host_pushes: 2,
        resolver: Arc::new(Here::default()),
        ..config
    }
}

fn push_to_names(memory: &Memory, receiver: &Receiver, names: std::ops::RangeInclusive<u64>) {
    for number in names {
        let url = format!("http://name{number}.example:{}/", receiver.address.port());
        publish_to(memory, CROWD, number, &url, "a");
    }
}

fn crowded(pusher: &Pusher) -> u64 {
    failures(pusher.metrics())
        .remove("crowded")
        .unwrap_or_default()
}

#[tokio::test]
async fn row_74_many_names_of_one_address_do_not_multiply_its_pushes() {
    let receiver = hanging().await;
    let memory = Memory::new();
    push_to_names(&memory, &receiver, 1..=6);
    let pusher = anser_push::start(memory.clone(), many_names(hasty())).unwrap();
    eventually(|| crowded(&pusher) == 4).await;
    assert_eq!(receiver.connections(), 2);
    memory.look(|state| {
        let reasons = state.outboxes.values().flat_map(|outbox| &outbox.failures);
        let crowded =
            reasons.filter(|failure| failure.reason == "too many pushes to the host's address");
        assert_eq!(crowded.count(), 4);
    });
}

#[tokio::test]
async fn row_74_kept_connections_count_while_they_are_used() {
    let hangs = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&hangs);
    let receiver = Receiver::start(move |_| {
        if now.load(Ordering::SeqCst) {
            Answer::Hang(Vec::new())
        } else {
            Answer::status(200)
        }
    })
    .await;
    let memory = Memory::new();
    push_to_names(&memory, &receiver, 1..=6);
    let pusher = anser_push::start(memory.clone(), many_names(hasty())).unwrap();
    // Waiting for the address is no failure.
    delivered(&memory, 6).await;
    eventually(|| pusher.metrics().in_flight() == 0).await;
    assert_eq!(failures(pusher.metrics()), HashMap::new());
    hangs.store(true, Ordering::SeqCst);
    for number in 1..=6 {
        memory.publish(SubscriptionId(number), "b", Labels::default());
    }
    eventually(|| crowded(&pusher) == 4).await;
    assert_eq!(receiver.requests().len(), 8);
}

#[tokio::test]
async fn an_address_that_is_free_again_is_used() {
    let receiver = Receiver::start(|_| {
        std::thread::sleep(Duration::from_millis(1));
        Answer::status(200)
    })
    .await;
    let memory = Memory::new();
    push_to_names(&memory, &receiver, 1..=100);
    let pusher = anser_push::start(memory.clone(), many_names(config())).unwrap();
    delivered(&memory, 100).await;
    assert_eq!(failures(pusher.metrics()), HashMap::new());
}
