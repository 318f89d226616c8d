//! What the clients of the story publish and take out of queues.

use anser_check::Labels;

use crate::chaos::{
    story::pause,
    workload::{Gone, Turn, Worker},
};

const TAGS: [&[&str]; 8] = [
    &[],
    &["red"],
    &["green"],
    &["blue"],
    &["red", "blue"],
    &["gold", "green"],
    &["Red"],
    &["yellow"],
];
const KEYS: [&str; 10] = [
    "order.eu.paid",
    "order.us.paid",
    "order.us",
    "order",
    "order.eu.paid.late",
    "orders",
    "user",
    "user.new",
    "stock.eu.low",
    "user.*",
];

pub(super) const CLIENTS: &[Turn] = &[
    publish_tagged,
    publish_tagged_batches,
    publish_routed,
    publish_routed_batches,
    publish_rare,
    consume_every,
];

pub(super) fn tags(tags: &[&str]) -> Labels {
    Labels {
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        routing_key: None,
    }
}

fn key(key: &str) -> Labels {
    Labels {
        tags: Vec::new(),
        routing_key: Some(key.to_owned()),
    }
}

pub(super) fn wanted_by_all(topic: &str) -> Labels {
    match topic {
        "routed" => key("order.us.paid"),
        "rare" => tags(&["gold"]),
        _ => tags(&["red", "blue"]),
    }
}

fn any<T: Copy>(worker: &mut Worker, values: &[T]) -> T {
    let at = worker.chance.below(values.len() as u64);
    values[usize::try_from(at).expect("a short list")]
}

fn several(worker: &mut Worker) -> usize {
    usize::try_from(2 + worker.chance.below(15)).expect("a small number")
}

fn publish_tagged(worker: &mut Worker) -> Result<(), Gone> {
    let labels = tags(any(worker, &TAGS));
    worker.publish("tagged", 1, 500, labels)?;
    pause(worker, 8);
    Ok(())
}

fn publish_tagged_batches(worker: &mut Worker) -> Result<(), Gone> {
    let (count, labels) = (several(worker), tags(any(worker, &TAGS)));
    worker.publish("tagged", count, 1_500, labels)?;
    pause(worker, 60);
    Ok(())
}

fn publish_routed(worker: &mut Worker) -> Result<(), Gone> {
    let labels = key(any(worker, &KEYS));
    worker.publish("routed", 1, 500, labels)?;
    pause(worker, 8);
    Ok(())
}

fn publish_routed_batches(worker: &mut Worker) -> Result<(), Gone> {
    let (count, labels) = (several(worker), key(any(worker, &KEYS)));
    worker.publish("routed", count, 1_500, labels)?;
    pause(worker, 60);
    Ok(())
}

/// Half of these nobody wants, and the publisher is told.
fn publish_rare(worker: &mut Worker) -> Result<(), Gone> {
    let labels = tags(any(worker, &[&["gold"][..], &["silver"]]));
    worker.publish("rare", 1, 100, labels)?;
    pause(worker, 60);
    Ok(())
}

fn consume_every(worker: &mut Worker) -> Result<(), Gone> {
    let received = worker.receive("every", 16, 1)?;
    let receipts: Vec<String> = received
        .into_iter()
        .map(|message| message.receipt_handle)
        .collect();
    if receipts.is_empty() {
        return Ok(());
    }
    worker.delete("every", receipts)
}
