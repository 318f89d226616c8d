//! When a message is pushed again, in what order, and when a subscription is held back. The clock of
//! leases is moved by hand, so that a day passes in a moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anser_broker::{labels::Labels, outboxes::Subscriber, retry::RetryStrategy};
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
