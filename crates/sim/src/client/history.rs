//! What clients were told, in the words of the history checker.

use std::collections::BTreeSet;

use anser_broker::{
    attributes::{AttributeChanges, DeadLetterAfter},
    command::{Answer, Placed, Reply},
    error::Error,
    id::{Sequence, ShardId},
    op::ReceivedMessage,
    time::Millis,
};
use anser_check::{
    Answer as Judged, Body, Changes, Counters, Delivery, Event, History, Operation, Outcome,
    QueueFacts, checksum, refusal,
};

use super::{
    CARRIED_WITHIN, Clients,
    queues::{self, Fate, Gets, Queue, backlog, called, certain, settings, title as title_of},
    topics::TopicWork,
    work::{SLICE, Work},
};
use crate::{
    checks::Leap,
    coverage::sometimes,
    event::{LostReceive, Micros, Response, SECOND},
    plan::Plan,
    world::Common,
};

const NANOS: u64 = 1_000;
/// Longer than any lease or delay.
const GIVEN_UP_AFTER: Micros = 120 * SECOND;

/// What a run should come to now and then.
fn watch(work: &Work, response: &Response) {
    match (work, response) {
        (Work::End { .. }, Response::Reply(_)) => sometimes("a queue was deleted"),
        (
            Work::Create {
                dead_letter: Some((_, DeadLetterAfter::Age(_))),
                ..
            },
            Response::Reply(_),
        ) => {
            sometimes("a queue was made whose messages give up by their age");
        }
        (
            Work::Create {
                dead_letter: Some(_),
                ..
            },
            Response::Reply(_),
        ) => {
            sometimes("a queue was made with a dead-letter queue");
        }
        (Work::Create { .. }, Response::Refused(Error::QueueRecentlyDeleted)) => {
            sometimes("the name of a queue was not free yet");
        }
        (Work::Unbind { .. }, Response::Reply(_)) => {
            sometimes("a queue lost its dead-letter queue");
        }
        (Work::Purge { .. }, Response::Reply(_)) => sometimes("a queue was purged"),
        (Work::Rewind { .. }, Response::Reply(Reply::Rewound { messages: 1.. })) => {
            sometimes("a rewind brought messages back");
        }
        (_, Response::Refused(Error::BacklogFull)) => sometimes("a queue was full"),
        (_, Response::Refused(Error::TooManyDelayed)) => {
            sometimes("as many messages were delayed as may be");
        }
        (_, Response::Refused(Error::TooManyInFlight)) => {
            sometimes("as many messages were leased as may be");
        }
        (Work::Receive { .. }, Response::Refused(Error::NoSuchQueue)) => {
            sometimes("a deleted queue was asked for messages");
        }
        (Work::Topic(TopicWork::Publish { .. }), Response::Reply(_)) => {
            sometimes("a message was published");
        }
        (Work::Topic(TopicWork::Unsubscribe { .. }), Response::Reply(_)) => {
            sometimes("a subscription was deleted");
        }
        _ => {}
    }
}

impl Clients {
    pub(super) fn record(
        &mut self,
        client: usize,
        work: &Work,
        invoked: Micros,
        response: &Response,
        common: &mut Common,
    ) {
        watch(work, response);
        let (queue, operation) = match work {
            Work::Send { .. }
            | Work::Receive { .. }
            | Work::Delete { .. }
            | Work::Extend { .. } => self.with_messages(work, response, common),
            Work::Topic(work) => match self.with_topics(work, response) {
                Some(named) => named,
                None => return,
            },
            of_a_queue => match self.with_queues(of_a_queue, response) {
                Some(named) => named,
                None => return,
            },
        };
        self.events.push(Event {
            client: u32::try_from(client).expect("few clients"),
            queue,
            invoked: invoked * NANOS,
            returned: common.now * NANOS,
            operation,
        });
    }

    fn with_messages(
        &self,
        work: &Work,
        response: &Response,
        common: &mut Common,
    ) -> (String, Operation) {
        let title = |queue: &usize| self.queues[*queue].title();
        let shard = |queue: &usize| self.queues[*queue].shard;
        match work {
            Work::Send {
                queue, delay, sent, ..
            } => {
                let outcome = sent_outcome(response, shard(queue));
                if matches!(outcome, Outcome::Ok(_)) {
                    common.statistics.acknowledged += 1;
                }
                let send = Operation::Send {
                    delay_ms: delay.map(certain),
                    bodies: sent.clone(),
                    outcome,
                };
                (title(queue), send)
            }
            Work::Receive { queue, max, wait } => {
                let receive = Operation::Receive {
                    most: *max,
                    wait_ms: *wait,
                    outcome: received_outcome(response),
                };
                (title(queue), receive)
            }
            Work::Delete { queue, receipts } => {
                let receipts = receipts.iter();
                let delete = Operation::Delete {
                    receipts: receipts
                        .map(|&receipt| receipt_id(shard(queue), receipt))
                        .collect(),
                    outcome: each_outcome(response),
                };
                (title(queue), delete)
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
                    receipt: receipt_id(shard(queue), *receipt),
                    visibility_ms: certain(*visibility),
                    outcome,
                };
                (title(queue), extend)
            }
            other => unreachable!("this is not about messages: {other:?}"),
        }
    }

    /// What was done with a whole queue; `None` if there is nothing to judge.
    fn with_queues(&self, work: &Work, response: &Response) -> Option<(String, Operation)> {
        let title = |queue: &usize| self.queues[*queue].title();
        let outcome = done_outcome(response);
        Some(match work {
            Work::Create {
                account,
                name,
                reuse_after,
                ..
            } => {
                let made = match response {
                    Response::Reply(Reply::Placed(Placed::Queue(placed))) => {
                        title_of(*account, name, placed.queue)
                    }
                    _ => String::new(),
                };
                let create = Operation::Create {
                    called: called(*account, name),
                    reuse_after_ms: certain(*reuse_after),
                    outcome,
                };
                (made, create)
            }
            Work::Change { queue, changes } => {
                let changes = changes_of(changes);
                (title(queue), Operation::Change { changes, outcome })
            }
            Work::Unbind { queue } => {
                let changes = Changes {
                    no_dead_letter: true,
                    ..Changes::default()
                };
                (title(queue), Operation::Change { changes, outcome })
            }
            Work::End { queue } => (title(queue), Operation::End { outcome }),
            Work::Purge { queue } => (title(queue), Operation::Purge { outcome }),
            Work::Rewind { queue, to_seconds } => {
                let to_seconds = *to_seconds;
                let rewind = Operation::Rewind {
                    to_seconds,
                    outcome,
                };
                (title(queue), rewind)
            }
            Work::Describe { queue } => return self.described(*queue, response),
            Work::Count { queue } => {
                let Response::Answer(Answer::Counts(counts)) = response else {
                    return None;
                };
                let counters = Counters {
                    active: counts.ready,
                    inactive: counts.leased,
                    delayed: counts.delayed,
                };
                (title(queue), Operation::Count(counters))
            }
            other => unreachable!("this is about messages: {other:?}"),
        })
    }

    fn described(&self, queue: usize, response: &Response) -> Option<(String, Operation)> {
        let Queue { account, name, .. } = &self.queues[queue];
        let (queue, outcome) = match response {
            Response::Answer(Answer::Queue(record)) => {
                let title = title_of(*account, record.name.as_str(), record.queue);
                (title, Outcome::Ok(settings(record)))
            }
            Response::Answer(Answer::Refused(error)) => (String::new(), refused(*error)),
            _ => return None,
        };
        let called = called(*account, name);
        Some((queue, Operation::Describe { called, outcome }))
    }

    /// What is missing in queues that nothing is expected of is told by a drain that nothing came in, once all that can be
    /// hidden is visible.
    fn drains_given_up(&self, now: Micros) -> Vec<Event> {
        let begun = now + GIVEN_UP_AFTER;
        let ended = begun + 4 * SECOND;
        let given_up = self
            .queues
            .iter()
            .filter(|queue| queue.is_used && queue.fate != Fate::Gone && self.is_given_up(queue));
        let drains = given_up.flat_map(|queue| {
            let nothing = Operation::Receive {
                most: 1,
                wait_ms: 0,
                outcome: Outcome::Ok(Vec::new()),
            };
            [
                event(&queue.title(), begun, ended, Operation::Drain),
                event(&queue.title(), begun + SECOND, begun + 2 * SECOND, nothing),
            ]
        });
        drains.collect()
    }

    /// What a shard's time went ahead by concerns all its queues, and in the catalog's shard the names of all.
    fn leap(&self, leap: &Leap) -> Vec<Event> {
        let queues = self.queues.iter();
        let queues = queues.filter(|queue| queue.shard == leap.shard);
        let names = (ShardId(leap.shard) == ShardId::CATALOG).then(String::new);
        let titles = queues.map(Queue::title).chain(names);
        let by_ms = leap.by.0;
        let leap = |title: String| event(&title, leap.at, leap.at, Operation::Leap { by_ms });
        titles.map(leap).collect()
    }

    /// The whole history. While things go wrong nothing is promised to be in time.
    pub(crate) fn into_history(
        mut self,
        plan: &Plan,
        now: Micros,
        lost: &[LostReceive],
        leaps: &[Leap],
    ) -> History {
        let used = || self.queues.iter().filter(|queue| queue.is_used);
        let queues = self.queues.iter().map(|queue| queue.facts(&self.queues));
        let queues: Vec<QueueFacts> = queues.collect();
        let subscriptions = self.topics.facts();
        // A queue whose maker never heard that it was made is nobody's; others may be told of it.
        let known = queues::titles(&self.queues);
        self.events.retain(|event| match &event.operation {
            Operation::Describe {
                outcome: Outcome::Ok(_),
                ..
            } => known.contains_key(&event.queue),
            // To a topic that never had a subscription.
            Operation::Publish { .. } => {
                let mut subscriptions = subscriptions.iter();
                subscriptions.any(|subscription| subscription.topic == event.queue)
            }
            _ => true,
        });
        let drains: Vec<Event> = used()
            .filter_map(|queue| {
                let (mut begun, ended) = (queue.drain.begun?, queue.drain.ended?);
                // What was published is there by now.
                if queue.gets == Gets::Publishes {
                    begun = begun.max(self.settled() + CARRIED_WITHIN);
                }
                Some(event(&queue.title(), begun, ended, Operation::Drain))
            })
            .collect();
        self.events.extend(drains);
        let topics: BTreeSet<&String> = subscriptions.iter().map(|one| &one.topic).collect();
        let end = self.events.iter().map(|event| event.returned).max();
        let end = end.unwrap_or(0) / NANOS;
        let drains = topics.into_iter();
        let drains = drains.map(|topic| event(topic, end, end, Operation::Drain));
        let drains: Vec<Event> = drains.collect();
        self.events.extend(drains);
        let lost = lost.iter().filter_map(|lost| {
            let queue = self.queues.iter().find(|queue| queue.id == lost.queue)?;
            let receive = Operation::Receive {
                most: lost.max,
                wait_ms: 0,
                outcome: Outcome::Unknown,
            };
            Some(event(&queue.title(), lost.from, lost.to, receive))
        });
        let lost: Vec<Event> = lost.collect();
        self.events.extend(lost);
        let given_up = self.drains_given_up(now);
        self.events.extend(given_up);
        let leaps: Vec<Event> = leaps.iter().flat_map(|leap| self.leap(leap)).collect();
        self.events.extend(leaps);
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
            self.events.extend(slices);
        }
        History {
            queues,
            subscriptions,
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

fn receipt_id(shard: u16, receipt: Sequence) -> String {
    format!("{shard}:{}", receipt.number())
}

fn refused<T>(error: Error) -> Outcome<T> {
    match error {
        Error::Unknown => Outcome::Unknown,
        _ => Outcome::Refused(code(error)),
    }
}

/// What the checker knows of a refusal.
fn code(error: Error) -> i64 {
    match error {
        Error::BacklogFull => refusal::BACKLOG_FULL,
        Error::NoSuchQueue => refusal::NO_SUCH_QUEUE,
        Error::QueueExists => refusal::QUEUE_EXISTS,
        Error::QueueRecentlyDeleted => refusal::NAME_IN_RELEASE,
        Error::NoSubscription | Error::NoSubscriptionMatches => refusal::UNWANTED,
        Error::TooManyDelayed | Error::TooManyInFlight => refusal::TOO_MANY_INACTIVE,
        _ => 1,
    }
}

pub(super) fn done_outcome(response: &Response) -> Outcome<()> {
    match response {
        Response::Refused(error) => refused(*error),
        _ => Outcome::Ok(()),
    }
}

fn changes_of(changes: &AttributeChanges) -> Changes {
    let length = |length: Option<Millis>| length.map(|length| certain(length.0));
    Changes {
        visibility_ms: length(changes.visibility),
        retention_ms: length(changes.retention),
        delay_ms: length(changes.delay),
        rewind_ms: length(changes.rewind),
        backlog: changes.backlog_max.map(backlog),
        no_dead_letter: false,
    }
}

pub(super) fn sent_outcome(response: &Response, shard: u16) -> Outcome<Vec<String>> {
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
        Response::Refused(error @ (Error::TooManyInFlight | Error::NoSuchQueue)) => refused(*error),
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

fn each_outcome(response: &Response) -> Outcome<Vec<Judged>> {
    match response {
        Response::Reply(Reply::Each(each)) => {
            let answers = each.iter().map(|one| match one {
                Ok(()) => Judged::Done,
                Err(Error::ReceiptInvalid) => Judged::Stale,
                Err(_) => Judged::Refused(1),
            });
            Outcome::Ok(answers.collect())
        }
        Response::Refused(error) => refused(*error),
        _ => Outcome::Refused(2),
    }
}
