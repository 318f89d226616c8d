//! When a message is pushed again, in what order, and when a subscription is held back. The clock of
//! leases is moved by hand, so that a day passes in a moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anser_broker::{labels::Labels, outboxes::Subscriber, retry::RetryStrategy, time::Millis};
use tokio::sync::Notify;

use crate::{
    memory::{Memory, State},
    receiver::{Answer, Receiver, Request},
    rig::{FIRST, Rig, config, eventually, subscriber},
};

/// The decay strategy's waits in seconds.
fn decay() -> Vec<u64> {
    (0..176).map(|retry| 1 << u32::min(retry, 9)).collect()
}

#[tokio::test]
async fn back_off_pushes_in_order_and_four_times_at_most() {
    let receiver = Receiver::start(|request| match request.text() {
        "good" => Answer::status(200),
        _ => Answer::status(500),
    })
    .await;
    let back_off = Subscriber {
        retry: RetryStrategy::BackOff,
        ..subscriber(1, &receiver.url())
    };
    let rig = Rig::new(back_off, config());
    let (first, second) = (rig.publish("first"), rig.publish("second"));
    rig.publish("good");
    for returned in [1, 2, 3, 4, 5, 6] {
        rig.memory
            .until(|state| (state.only().returned.len() == returned).then_some(()))
            .await;
        rig.memory.pass_time().await;
    }
    rig.delivered(1).await;
    let requests = receiver.requests();
    let bodies: Vec<&str> = requests.iter().map(Request::text).collect();
    assert_eq!(bodies[..4], ["first"; 4]);
    assert_eq!(bodies[4..8], ["second"; 4]);
    assert_eq!(bodies[8..], ["good"]);
    assert_eq!(rig.pusher.metrics().given_up(), 2);
    rig.memory.look(|state| {
        let outbox = state.only();
        assert_eq!(outbox.given_up, [first, second]);
        let waits = outbox.returned.iter().map(|returned| returned.wait.0);
        assert!(waits.clone().all(|wait| (10_000..=20_000).contains(&wait)));
        assert!(outbox.takes.iter().all(|take| take.max == 1));
        // The time of a push and the margin: no lease ends while its push is under way.
        assert!(
            outbox
                .takes
                .iter()
                .all(|take| take.visibility.seconds() == 45)
        );
        let attempts: Vec<u32> = outbox
            .failures
            .iter()
            .map(|failure| failure.attempt)
            .collect();
        assert_eq!(attempts, [1, 2, 3, 4, 1, 2, 3, 4]);
    });
}

#[tokio::test]
async fn exponential_decay_tries_177_times() {
    let receiver = Receiver::start(|_| Answer::status(500)).await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    let message = rig.publish("a");
    held(&rig, 1).await;
    for returned in 1..=decay().len() {
        rig.memory
            .until(|state| (state.only().returned.len() == returned).then_some(()))
            .await;
        rig.memory.pass_time().await;
    }
    rig.memory
        .until(|state| (!state.only().given_up.is_empty()).then_some(()))
        .await;
    assert_eq!(receiver.requests().len(), 177);
    rig.memory.look(|state| {
        let outbox = state.only();
        assert_eq!(outbox.given_up, [message]);
        let waits: Vec<u64> = outbox
            .returned
            .iter()
            .map(|returned| returned.wait.seconds())
            .collect();
        assert_eq!(waits, decay());
        // Each attempt comes when the wait is over.
        let moments: Vec<u64> = outbox.returned.iter().map(|returned| returned.at).collect();
        for (pair, wait) in moments.windows(2).zip(decay()) {
            assert_eq!(pair[1] - pair[0], wait * 1000);
        }
    });
}

#[tokio::test]
async fn a_failing_subscription_is_held_back_and_probed() {
    let mended = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&mended);
    let receiver = Receiver::start(move |_| {
        let works = works.load(Ordering::SeqCst);
        Answer::status(if works { 200 } else { 500 })
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("first");
    held(&rig, 1).await;
    // What is published during the hold waits, though it was announced.
    for _ in 0..40 {
        rig.publish("later");
    }
    // Messages that failed before come again by their waits, and besides them as many probes as the
    // next hold has seconds.
    for failures in [4, 11, 26] {
        rig.memory.pass_sleep().await;
        held(&rig, failures).await;
    }
    mended.store(true, Ordering::SeqCst);
    rig.memory.pass_sleep().await;
    rig.delivered(41).await;
    rig.memory.look(|state| {
        let mut tried = BTreeSet::new();
        let mut firsts: BTreeMap<u64, usize> = BTreeMap::new();
        for take in &state.only().takes {
            let new = take.taken.iter().filter(|id| tried.insert(**id)).count();
            *firsts.entry(take.at).or_default() += new;
        }
        // The rest of the backlog went at once.
        let wanted = [(0, 1), (1000, 2), (3000, 4), (7000, 8), (15_000, 26)];
        assert_eq!(firsts, BTreeMap::from(wanted));
    });
}

/// Waits until so many failures were settled and the subscription is held.
async fn held(rig: &Rig, failures: usize) {
    let held = |state: &State| {
        (state.only().returned.len() == failures && state.sleeps() == 1).then_some(())
    };
    rig.memory.until(held).await;
}

/// Users' cases, F1: it stopped its subscription for hours.
#[tokio::test]
async fn a_poisoned_message_costs_the_others_a_second_at_most() {
    const POISON: usize = 20;
    let receiver = Receiver::start(|request| match request.text() {
        "poison" => Answer::status(422),
        _ => Answer::status(200),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    // A message every half second: what waits after each was published within the last second.
    for number in 0..200_usize {
        let is_poison = number == POISON;
        rig.publish(if is_poison { "poison" } else { "good" });
        let good = number + 1 - usize::from(number >= POISON);
        let all_or_held = |state: &State| {
            (state.delivered() == good || state.sleeps() == 1).then_some(state.delivered())
        };
        let delivered = rig.memory.until(all_or_held).await;
        assert!(
            good - delivered <= 2,
            "{delivered} of {good} after {number}"
        );
        rig.memory.change(|state| state.move_clock(state.now + 500));
    }
    let tries = |request: &Request| request.text() == "poison";
    eventually(|| receiver.requests().iter().filter(|one| tries(one)).count() >= 6).await;
}

#[tokio::test]
async fn a_success_during_a_hold_ends_it() {
    let answer = Arc::new(Notify::new());
    let awaited = Arc::clone(&answer);
    let receiver = Receiver::start(move |request| match request.text() {
        "bad" => Answer::status(500),
        "slow" => Answer::When(Arc::clone(&awaited), 200),
        _ => Answer::status(200),
    })
    .await;
    let memory = Memory::new();
    memory.subscribe(subscriber(1, &receiver.url()));
    memory.publish(FIRST, "slow", Labels::default());
    memory.publish(FIRST, "bad", Labels::default());
    let pusher = anser_push::start(memory.clone(), config()).unwrap();
    let rig = Rig { memory, pusher };
    held(&rig, 1).await;
    rig.publish("next");
    answer.notify_one();
    // The clock stands still: what was held back does not wait for the end of the hold.
    rig.delivered(2).await;
    assert_eq!(receiver.requests().len(), 3);
}

/// A failure that says when the receiver wants to be asked again.
fn busy(status: u16, retry_after: &str) -> Answer {
    let head = format!("HTTP/1.1 {status} Busy\r\nRetry-After: {retry_after}\r\n");
    Answer::Bytes(format!("{head}Content-Length: 0\r\n\r\n").into())
}

/// How long a message waits after an answer.
async fn wait_after(answer: Answer, retry: RetryStrategy) -> Millis {
    let receiver = Receiver::start(move |_| answer.clone()).await;
    let subscriber = Subscriber {
        retry,
        ..subscriber(1, &receiver.url())
    };
    let rig = Rig::new(subscriber, config());
    rig.publish("a");
    rig.failure(1).await;
    rig.memory.look(|state| state.only().returned[0].wait)
}

#[tokio::test]
async fn a_receiver_can_make_a_wait_longer_within_the_schedule() {
    let decay = RetryStrategy::ExponentialDecay;
    for (status, text, seconds) in [
        (429, "4", 4),
        (503, "4", 4),
        (503, "Tue, 14 Nov 2023 22:13:27 GMT", 7),
        (503, "Tue, 14 Nov 2023 22:13:20 GMT", 1),
        (429, "0", 1),
        (429, "513", 512),
        (429, "99999999999999999999", 512),
        (429, "soon", 1),
        (500, "4", 1),
    ] {
        let wait = wait_after(busy(status, text), decay).await;
        assert_eq!(wait, Millis::from_seconds(seconds), "{status} {text}");
    }
    let back_off = RetryStrategy::BackOff;
    let wait = wait_after(busy(503, "1"), back_off).await;
    assert!((10_000..=20_000).contains(&wait.0), "{wait:?}");
    let wait = wait_after(busy(503, "60"), back_off).await;
    assert_eq!(wait, Millis::from_seconds(20));
}

#[tokio::test]
async fn a_receiver_that_asks_for_quiet_gets_nothing_meanwhile() {
    let answer = Arc::new(Notify::new());
    let (awaited, asked) = (Arc::clone(&answer), AtomicBool::new(false));
    let receiver = Receiver::start(move |request| match request.text() {
        "slow" => Answer::When(Arc::clone(&awaited), 200),
        "busy" if !asked.swap(true, Ordering::SeqCst) => busy(429, "30"),
        _ => Answer::status(200),
    })
    .await;
    let memory = Memory::new();
    memory.subscribe(subscriber(1, &receiver.url()));
    memory.publish(FIRST, "slow", Labels::default());
    memory.publish(FIRST, "busy", Labels::default());
    let pusher = anser_push::start(memory.clone(), config()).unwrap();
    let rig = Rig { memory, pusher };
    // A hold of a second, and the quiet.
    rig.memory
        .until(|state| (state.sleeps() == 2).then_some(()))
        .await;
    rig.publish("next");
    answer.notify_one();
    rig.delivered(1).await;
    rig.memory.pass_sleep().await;
    rig.memory.pass_sleep().await;
    rig.delivered(3).await;
    // Neither a success nor the end of the hold has ended the quiet.
    rig.memory.look(|state| {
        let takes = state.only().takes.iter();
        let full = takes.filter(|take| !take.taken.is_empty());
        let later: Vec<u64> = full.map(|take| take.at).filter(|at| *at > 0).collect();
        assert!(!later.is_empty());
        assert!(later.iter().all(|at| *at >= 30_000), "{later:?}");
    });
}

#[tokio::test]
async fn another_endpoint_need_not_be_quiet_because_the_former_asked_for_it() {
    let former = Receiver::start(move |_| busy(429, "512")).await;
    let rig = Rig::new(subscriber(1, &former.url()), config());
    rig.publish("a");
    rig.failure(1).await;
    let receiver = Receiver::start(move |_| Answer::status(200)).await;
    rig.memory.change(|state| {
        let outbox = state.outboxes.get_mut(&FIRST).unwrap();
        let subscriber = subscriber(1, &receiver.url());
        outbox.subscriber = Arc::new(subscriber);
    });
    // The hold of a second ends, the quiet does not.
    rig.memory
        .until(|state| (state.sleeps() == 2).then_some(()))
        .await;
    rig.memory.pass_sleep().await;
    rig.publish("b");
    rig.delivered(1).await;
    assert!(rig.memory.look(|state| state.now < 512_000));
}

/// The strategy of a subscription that has one already.
fn set_retry(rig: &Rig, retry: RetryStrategy) {
    rig.memory.change(|state| {
        let outbox = state.outboxes.get_mut(&FIRST).unwrap();
        outbox.subscriber = Arc::new(Subscriber {
            retry,
            ..Subscriber::clone(&outbox.subscriber)
        });
    });
}

#[tokio::test]
async fn a_strategy_that_changes_to_and_fro_loses_no_subscription() {
    let answer = Arc::new(Notify::new());
    let awaited = Arc::clone(&answer);
    let pushes = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match pushes.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::status(500),
        1 => Answer::When(Arc::clone(&awaited), 500),
        _ => Answer::status(200),
    })
    .await;
    let rig = Rig::new(subscriber(1, &receiver.url()), config());
    rig.publish("a");
    held(&rig, 1).await;
    set_retry(&rig, RetryStrategy::BackOff);
    rig.memory.pass_sleep().await;
    eventually(|| receiver.requests().len() == 2).await;
    set_retry(&rig, RetryStrategy::ExponentialDecay);
    answer.notify_one();
    rig.memory
        .until(|state| (state.only().returned.len() == 2).then_some(()))
        .await;
    let found_nothing = |state: &State| {
        let last = state.only().takes.last();
        last.is_some_and(|take| take.taken.is_empty()).then_some(())
    };
    rig.memory.until(found_nothing).await;
    rig.memory.pass_time().await;
    rig.delivered(1).await;
}
