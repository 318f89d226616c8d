//! What was published and pushed, sorted by subscription, and what topics must carry to queues.
//!
//! A message for a queue becomes a send to it that nobody made: the rules of queues then judge it. A publish
//! without an answer of which anything came has happened, and all of it, since it is one command.

use std::collections::{BTreeMap, HashSet};

use super::{
    Builder,
    settings::{note_end, span},
};
use crate::{
    event::{Event, Nanos, Operation, Outcome, Push, SentBody},
    history::History,
    ledger::{Copy, Published, Pushed, SendOutcome, Sent, StrayKind, Subscription},
    report::Invalid,
    subscription::{Labels, SubscriptionFacts, Target},
};

/// The parts of a publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publish<'h> {
    pub(super) event: &'h Event,
    pub(super) request: usize,
    pub(super) labels: &'h Labels,
    pub(super) bodies: &'h [SentBody],
    pub(super) outcome: &'h Outcome<Vec<String>>,
}

/// Every body that came anywhere.
pub(super) fn seen(history: &History) -> HashSet<u64> {
    let mut seen = HashSet::new();
    if history.subscriptions.is_empty() {
        return seen;
    }
    for event in &history.events {
        match &event.operation {
            Operation::Receive {
                outcome: Outcome::Ok(deliveries),
                ..
            } => seen.extend(deliveries.iter().filter_map(|delivery| delivery.body)),
            Operation::Push(push) => seen.extend(push.body),
            _ => {}
        }
    }
    seen
}

pub(super) fn subscriptions(history: &History) -> Vec<Subscription<'_>> {
    let new = |facts| Subscription {
        facts,
        begun: None,
        ended: None,
        pushes: BTreeMap::new(),
    };
    let mut subscriptions: Vec<Subscription<'_>> = history.subscriptions.iter().map(new).collect();
    for event in &history.events {
        let (Operation::Subscribe { name, outcome } | Operation::Unsubscribe { name, outcome }) =
            &event.operation
        else {
            continue;
        };
        let of = subscriptions.iter_mut().find(|subscription| {
            subscription.facts.topic == event.queue && subscription.facts.name == *name
        });
        let Some((subscription, span)) = of.zip(span(event, outcome)) else {
            continue;
        };
        match event.operation {
            Operation::Subscribe { .. } => subscription.begun = Some(span),
            _ => note_end(&mut subscription.ended, span),
        }
    }
    subscriptions
}

/// The place of the target queue of each subscription to a queue.
pub(super) fn targets(
    history: &History,
    names: &BTreeMap<&str, usize>,
) -> Result<Vec<Option<usize>>, Invalid> {
    let mut taken = HashSet::new();
    let target_of = |facts: &SubscriptionFacts| {
        let Target::Queue(queue) = &facts.target else {
            return Ok(None);
        };
        let place = names.get(queue.as_str()).copied();
        let place = place.ok_or_else(|| Invalid::UnknownQueue(queue.clone()))?;
        if !taken.insert(place) || history.queues[place].dead_letter.is_some() {
            return Err(Invalid::UnclearTarget(queue.clone()));
        }
        Ok(Some(place))
    };
    history.subscriptions.iter().map(target_of).collect()
}

impl<'h> Builder<'h> {
    pub(super) fn knows_topic(&self, name: &str) -> bool {
        let mut subscriptions = self.subscriptions.iter();
        subscriptions.any(|subscription| subscription.facts.topic == name)
    }

    pub(super) fn publish(&mut self, publish: Publish<'h>) -> Result<(), Invalid> {
        let Publish {
            event,
            request,
            labels,
            bodies,
            outcome,
        } = publish;
        if !self.knows_topic(&event.queue) {
            return Err(Invalid::UnknownTopic(event.queue.clone()));
        }
        self.check_ids(&event.queue, bodies.len(), outcome);
        let came = bodies.iter().any(|body| self.seen.contains(&body.id));
        let first = self.publishes.len();
        for (item, body) in bodies.iter().enumerate() {
            let refusal = match outcome {
                Outcome::Refused(code) => Some(*code),
                _ => None,
            };
            let outcome = SendOutcome::of_item(outcome, item);
            let happened = match outcome {
                SendOutcome::Acknowledged(_) | SendOutcome::Unnamed => true,
                SendOutcome::Refused => false,
                SendOutcome::Unknown => came,
            };
            self.count_publish(outcome, happened);
            self.by_published.insert(body.id, self.publishes.len());
            self.publishes.push(Published {
                body: body.id,
                checksum: body.checksum,
                topic: &event.queue,
                labels,
                invoked: event.invoked,
                returned: event.returned,
                outcome,
                refusal,
                request,
                happened,
            });
        }
        for at in 0..self.subscriptions.len() {
            if let Some(queue) = self.targets[at]
                && self.subscriptions[at].may_want(&self.publishes[first])
            {
                let is_sure = self.subscriptions[at].must_get(&self.publishes[first]);
                self.carry(queue, first, is_sure);
            }
        }
        Ok(())
    }

    fn count_publish(&mut self, outcome: SendOutcome<'_>, happened: bool) {
        let counts = &mut self.statistics.topics;
        counts.published += 1;
        match outcome {
            SendOutcome::Refused => counts.refused += 1,
            SendOutcome::Unknown => {
                counts.unknown += 1;
                counts.recovered += u64::from(happened);
            }
            _ => counts.acknowledged += 1,
        }
    }

    /// Notes that the last publish, whose bodies stand from `first` on, goes to a queue, or may go there.
    fn carry(&mut self, queue: usize, first: usize, is_sure: bool) {
        self.notes[queue].sends += 1;
        let publishes = &self.publishes[first..];
        for published in publishes {
            let must_come = published.happened && is_sure;
            self.statistics.topics.carried += u64::from(must_come);
            let outcome = match published.outcome {
                SendOutcome::Refused => SendOutcome::Refused,
                _ if must_come => SendOutcome::Unnamed,
                _ => SendOutcome::Unknown,
            };
            let send = self.sends.len();
            self.by_carried.insert((queue, published.body), send);
            self.sends.push(Sent {
                body: published.body,
                checksum: published.checksum,
                queue,
                invoked: published.invoked,
                returned: published.returned,
                delay: 0,
                delay_most: 0,
                hidden_until: 0,
                due: 0,
                is_carried: true,
                outcome,
                refusal: None,
                request: published.request,
                request_size: publishes.len(),
            });
            self.copies.push(Copy {
                send,
                queue,
                handouts: Vec::new(),
            });
        }
    }

    pub(super) fn push(&mut self, event: &'h Event, push: &'h Push) -> Result<(), Invalid> {
        self.statistics.topics.pushes += 1;
        let unknown = || Invalid::UnknownSubscription {
            topic: event.queue.clone(),
            name: push.subscription.clone(),
        };
        let mut subscriptions = self.subscriptions.iter_mut();
        let subscription = subscriptions.find(|subscription| {
            subscription.facts.topic == event.queue && subscription.facts.name == push.subscription
        });
        let subscription = subscription.ok_or_else(unknown)?;
        let known = push.body.and_then(|body| self.by_published.get(&body));
        let Some(&place) = known else {
            let detail = format!(
                "{} was pushed message {}, whose body {:x?} was never published",
                push.subscription, push.message, push.body
            );
            self.stray(&event.queue, StrayKind::Phantom, detail);
            return Ok(());
        };
        if self.publishes[place].checksum != push.checksum {
            let body = self.publishes[place].body;
            let detail = format!("body {body:016x} was pushed with other bytes");
            self.stray(&event.queue, StrayKind::Phantom, detail);
            return Ok(());
        }
        subscription.pushes.entry(place).or_default().push(Pushed {
            invoked: event.invoked,
            returned: event.returned,
            message: &push.message,
            tags: &push.tags,
            status: push.status,
        });
        Ok(())
    }

    pub(super) fn drain_topic(&mut self, event: &'h Event) {
        self.topic_drains
            .insert(&event.queue, (event.invoked, event.returned));
    }

    /// Sorts the pushes; every topic that was published to must have been drained.
    pub(super) fn finish_topics(&mut self) -> Result<Vec<Subscription<'h>>, Invalid> {
        for published in &self.publishes {
            if !self.topic_drains.contains_key(published.topic) {
                return Err(Invalid::NotDrained(published.topic.to_owned()));
            }
        }
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        let counts = &mut self.statistics.topics;
        for subscription in &mut subscriptions {
            let topic = subscription.facts.topic.as_str();
            let drain = self.topic_drains.get(topic).copied();
            let drain: (Nanos, Nanos) = drain.unwrap_or((Nanos::MAX, Nanos::MAX));
            for pushes in subscription.pushes.values_mut() {
                pushes.sort_by_key(|pushed| (pushed.invoked, pushed.returned));
                let received = pushes.iter().filter(|pushed| pushed.is_received());
                let times = received.clone().count() as u64;
                counts.received += times.min(1);
                counts.received_again += times.saturating_sub(1);
                let drained = received.filter(|pushed| pushed.invoked >= drain.0);
                counts.drained += drained.count() as u64;
            }
        }
        Ok(subscriptions)
    }
}
