//! Many subscriptions: none waits for another.

use std::time::Duration;

use anser_broker::{id::SubscriptionId, labels::Labels};
use anser_push::Config;

use crate::{
    memory::Memory,
    receiver::{Answer, Receiver},
    rig::{config, eventually, subscriber},
};

#[tokio::test]
async fn an_endpoint_that_hangs_delays_nobody_else() {
    let hanging = Receiver::start(|_| Answer::Hang(Vec::new())).await;
    let good = Receiver::start(|_| Answer::status(200)).await;
    let memory = Memory::new();
    let pusher = anser_push::start(memory.clone(), config()).unwrap();
    memory.subscribe(subscriber(1, &hanging.url()));
    for _ in 0..100 {
        memory.publish(SubscriptionId(1), "a", Labels::default());
    }
    eventually(|| !hanging.requests().is_empty()).await;
    for number in 2..=1001 {
        memory.subscribe(subscriber(number, &good.url()));
        memory.publish(SubscriptionId(number), "a", Labels::default());
    }
    memory
        .until(|state| (state.delivered() == 1000).then_some(()))
        .await;
    // All of them are done while the first pushes still wait for their answer.
    assert_eq!(
        pusher
            .metrics()
            .failures()
            .map(|(_, count)| count)
            .sum::<u64>(),
        0
    );
    assert!((1..=16).contains(&pusher.metrics().in_flight()));
}

#[tokio::test]
async fn slow_subscriptions_leave_places_of_their_host_to_others() {
    let receiver = Receiver::start(|request| match request.text() {
        "slow" => Answer::Hang(Vec::new()),
        _ => Answer::status(200),
    })
    .await;
    let memory = Memory::new();
    for number in 1..=4 {
        memory.subscribe(subscriber(number, &format!("{}{number}", receiver.url())));
        for _ in 0..20 {
            memory.publish(SubscriptionId(number), "slow", Labels::default());
        }
    }
    // Nothing ends while this test lasts.
    let patient = Config {
        total_time: Duration::from_secs(3600),
        ..config()
    };
    let pusher = anser_push::start(memory.clone(), patient).unwrap();
    // Three have as many as they may have at once, and the fourth half of what is left.
    eventually(|| pusher.metrics().in_flight() >= 16 + 16 + 16 + 8).await;
    memory.subscribe(subscriber(5, &receiver.url()));
    for _ in 0..100 {
        memory.publish(SubscriptionId(5), "fast", Labels::default());
    }
    memory
        .until(|state| (state.delivered() == 100).then_some(()))
        .await;
    assert_eq!(pusher.metrics().in_flight(), 16 + 16 + 16 + 8);
}

#[tokio::test]
async fn ten_thousand_subscriptions_get_their_messages() {
    let good = Receiver::start(|_| Answer::status(200)).await;
    let memory = Memory::new();
    for number in 1..=10_000 {
        memory.subscribe(subscriber(number, &good.url()));
        memory.publish(SubscriptionId(number), "a", Labels::default());
    }
    let pusher = anser_push::start(memory.clone(), config()).unwrap();
    memory
        .until(|state| (state.delivered() == 10_000).then_some(()))
        .await;
    assert_eq!(pusher.metrics().attempts(), 10_000);
}
