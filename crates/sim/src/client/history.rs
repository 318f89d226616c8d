//! What clients were told, in the words of the history checker.

use anser_broker::{command::Reply, error::Error, id::Sequence, op::ReceivedMessage};
use anser_check::{
    Answer, Body, Delivery, Event, History, Operation, Outcome, QueueFacts, checksum,
};

use super::{
    Clients,
    work::{SLICE, Work},
};
use crate::{
    event::{Micros, Response, SECOND},
    plan::Plan,
    world::Common,
};

const NANOS: u64 = 1_000;
/// Longer than any lease or delay.
const GIVEN_UP_AFTER: Micros = 120 * SECOND;

impl Clients {
    pub(super) fn record(
        &mut self,
        client: usize,
        work: &Work,
        invoked: Micros,
        response: &Response,
        common: &mut Common,
    ) {
        let (queue, operation) = match work {
            Work::Send {
                queue, delay, sent, ..
            } => {
                let outcome = sent_outcome(response, self.queues[*queue].shard);
                if matches!(outcome, Outcome::Ok(_)) {
                    common.statistics.acknowledged += 1;
                }
                let send = Operation::Send {
                    delay_ms: certain(*delay),
                    bodies: sent.clone(),
                    outcome,
                };
                (*queue, send)
            }
            Work::Receive { queue, max, wait } => {
                let receive = Operation::Receive {
                    most: *max,
                    wait_ms: *wait,
                    outcome: received_outcome(response),
                };
                (*queue, receive)
            }
            Work::Delete { queue, receipts } => {
                let shard = self.queues[*queue].shard;
                let delete = Operation::Delete {
                    receipts: receipts
                        .iter()
                        .map(|&receipt| receipt_id(shard, receipt))
                        .collect(),
                    outcome: each_outcome(response),
                };
                (*queue, delete)
            }
            Work::Extend {
                queue,
                receipt,
                visibility,
            } => {
                let outcome = match each_outcome(response) {
                    Outcome::Ok(answers) => Outcome::Ok(answers[0]),
                    Outcome::Refused(code) => Outcome::Refused(code),
                    Outcome::Unknown => Outcome::Unknown,
                };
                let extend = Operation::Extend {
                    receipt: receipt_id(self.queues[*queue].shard, *receipt),
                    visibility_ms: certain(*visibility),
                    outcome,
                };
                (*queue, extend)
            }
            Work::Create { .. } | Work::Count { .. } => return,
        };
        self.events.push(Event {
            client: u32::try_from(client).expect("few clients"),
            queue: self.queues[queue].name.clone(),
            invoked: invoked * NANOS,
            returned: common.now * NANOS,
            operation,
        });
    }

    /// The whole history. While things go wrong nothing is promised to be in time.
    pub(crate) fn into_history(mut self, plan: &Plan, now: Micros) -> History {
        let used = || self.queues.iter().filter(|queue| queue.is_used);
        let facts = self.queues.iter().map(|queue| QueueFacts {
            name: queue.name.clone(),
            visibility_ms: certain(plan.visibility),
            retention_ms: 86_400_000,
            dead_letter: None,
        });
        let queues: Vec<QueueFacts> = facts.collect();
        let mut added: Vec<Event> = used()
            .filter_map(|queue| {
                let (begun, ended) = (queue.drain.begun?, queue.drain.ended?);
                Some(event(&queue.name, begun, ended, Operation::Drain))
            })
            .collect();
        for queue in used().filter(|queue| self.is_given_up(queue)) {
            // What is missing there is told by a drain that nothing came in, once all that can be hidden is visible.
            let begun = now + GIVEN_UP_AFTER;
            let ended = begun + 4 * SECOND;
            let nothing = Operation::Receive {
                most: 1,
                wait_ms: 0,
                outcome: Outcome::Ok(Vec::new()),
            };
            added.extend([
                event(&queue.name, begun, ended, Operation::Drain),
                event(&queue.name, begun + SECOND, begun + 2 * SECOND, nothing),
            ]);
        }
        if let Some(first) = queues.first()
            && !plan.is_calm()
        {
            let end = self.healed.unwrap_or(0) + 15 * SECOND;
            let slices = (0..end / SLICE).map(|slice| {
                event(
                    &first.name,
                    slice * SLICE,
                    (slice + 1) * SLICE,
                    Operation::Outage,
                )
            });
            added.extend(slices);
        }
        self.events.extend(added);
        History {
            queues,
            subscriptions: Vec::new(),
            events: self.events,
        }
    }
}

fn event(queue: &str, from: Micros, to: Micros, operation: Operation) -> Event {
    Event {
        client: u32::MAX,
        queue: queue.to_owned(),
        invoked: from * NANOS,
        returned: to * NANOS,
        operation,
    }
}

/// How much of a length is certain, by a clock that may run fast.
fn certain(millis: u64) -> u64 {
    millis.saturating_sub(millis / 1_000 + 2)
}

fn receipt_id(shard: u16, receipt: Sequence) -> String {
    format!("{shard}:{}", receipt.number())
}

fn refused<T>(error: Error) -> Outcome<T> {
    match error {
        Error::Unknown => Outcome::Unknown,
        _ => Outcome::Refused(1),
    }
}

fn sent_outcome(response: &Response, shard: u16) -> Outcome<Vec<String>> {
    match response {
        Response::Reply(Reply::Sent { messages }) => Outcome::Ok(
            messages
                .iter()
                .map(|&message| receipt_id(shard, message))
                .collect(),
        ),
        Response::Refused(error) => refused(*error),
        _ => Outcome::Refused(2),
    }
}

fn received_outcome(response: &Response) -> Outcome<Vec<Delivery>> {
    match response {
        Response::Messages(messages) => Outcome::Ok(messages.iter().map(delivery).collect()),
        // A body that could not be read leaves its lease running.
        Response::Refused(_) => Outcome::Unknown,
        _ => Outcome::Refused(2),
    }
}

fn delivery(message: &ReceivedMessage) -> Delivery {
    let text = str::from_utf8(&message.body).ok();
    Delivery {
        body: text.and_then(Body::parse).map(|body| body.id),
        checksum: checksum(&message.body),
        message: receipt_id(message.message.shard.0, message.message.sequence),
        receipt: receipt_id(message.receipt.shard.0, message.receipt.sequence),
        count: message.deliveries,
        enqueued_at: message.sent.seconds(),
    }
}

fn each_outcome(response: &Response) -> Outcome<Vec<Answer>> {
    match response {
        Response::Reply(Reply::Each(each)) => {
            let answers = each.iter().map(|one| match one {
                Ok(()) => Answer::Done,
                Err(Error::ReceiptInvalid) => Answer::Stale,
                Err(_) => Answer::Refused(1),
            });
            Outcome::Ok(answers.collect())
        }
        Response::Refused(error) => refused(*error),
        _ => Outcome::Refused(2),
    }
}
