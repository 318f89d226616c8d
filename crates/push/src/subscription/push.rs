//! One message: pushed, and returned or given up if that failed.

use std::rc::Rc;

use anser_broker::{
    op::DeliveryFailure,
    outboxes::{Outboxes, PendingDelivery},
    retry::AfterFailure,
    time::Millis,
};
use tokio::time::Instant;

use super::{Event, Target};
use crate::{
    config::milliseconds, dispatcher::Shared, failure::Failure, format::Attempt, pace::Role,
    places::Place, sender::To, settle::settle,
};

pub(super) async fn push<O: Outboxes>(
    shared: Rc<Shared<O>>,
    target: Rc<Target>,
    delivery: PendingDelivery,
    mut place: Place,
    role: Role,
) -> Event {
    place.memory.fit(delivery.body.len());
    let begun = Instant::now();
    match attempt(&shared, &target, &delivery, place).await {
        Ok(()) => {
            shared.metrics.success();
            Event::Pushed(delivery.receipt)
        }
        Err(failure) => {
            shared.metrics.failure(failure.kind);
            tracing::debug!(
                subscription = target.subscriber.subscription.0,
                reason = failure.for_operator(),
                "a push failed"
            );
            tell(&shared, &target, &delivery, &failure, begun);
            let quiet = quiet_asked(&shared, &target, &failure);
            give_back(&shared, &target, &delivery, &failure, quiet).await;
            Event::Failed(role, quiet)
        }
    }
}

async fn attempt<O: Outboxes>(
    shared: &Shared<O>,
    target: &Target,
    delivery: &PendingDelivery,
    place: Place,
) -> Result<(), Failure> {
    let _in_flight = shared.metrics.attempt();
    let endpoint = target
        .endpoint
        .as_ref()
        .map_err(|error| Failure::from(*error))?;
    let attempt = Attempt {
        subscriber: &target.subscriber,
        delivery,
        // As a signed number it is the same number.
        request_id: draw() >> 1,
        now: shared.outboxes.now(),
    };
    let request = attempt.request(endpoint, shared.config.signing_key.as_ref());
    let to = To {
        endpoint,
        host: &target.host,
        account: &target.account,
    };
    let Place { line, memory } = place;
    let outcome = shared.sender.push(to, request, line).await;
    drop(memory);
    outcome
}

fn tell<O: Outboxes>(
    shared: &Shared<O>,
    target: &Target,
    delivery: &PendingDelivery,
    failure: &Failure,
    begun: Instant,
) {
    shared.outboxes.failed(
        target.subscriber.subscription,
        DeliveryFailure {
            at: shared.outboxes.now(),
            message: delivery.message,
            attempt: delivery.attempt,
            status: failure.status.map(|status| status.as_u16()),
            took: milliseconds(begun.elapsed()),
            reason: failure.reason.clone(),
            answer: failure.answer.clone(),
        },
    );
}

/// How long the receiver wants to be left alone. It can make no wait longer than the schedule's longest.
fn quiet_asked<O: Outboxes>(shared: &Shared<O>, target: &Target, failure: &Failure) -> Millis {
    let asked = failure.retry_after;
    let asked = asked.map_or(Millis(0), |asked| asked.wait(shared.outboxes.now()));
    asked.min(target.subscriber.retry.longest_wait())
}

async fn give_back<O: Outboxes>(
    shared: &Shared<O>,
    target: &Target,
    delivery: &PendingDelivery,
    failure: &Failure,
    quiet: Millis,
) {
    let (subscriber, receipt) = (&target.subscriber, delivery.receipt);
    let (outboxes, id) = (&shared.outboxes, subscriber.subscription);
    match subscriber.retry.after(delivery.attempt, draw()) {
        AfterFailure::RetryIn(wait) => {
            let wait = wait.max(quiet);
            settle(|| outboxes.retry_in(id, receipt, wait)).await;
        }
        AfterFailure::GiveUp => {
            tracing::warn!(
                account = subscriber.account.0,
                topic = subscriber.topic.as_str(),
                subscription = subscriber.name.as_str(),
                message = delivery.message.number(),
                reason = failure.for_operator(),
                "a message was given up"
            );
            shared.metrics.give_up();
            settle(|| outboxes.give_up(id, receipt)).await;
        }
    }
}

/// A random number.
fn draw() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    u64::from_be_bytes(bytes)
}
