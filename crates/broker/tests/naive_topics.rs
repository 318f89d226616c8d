//! Topics that are too simple to be wrong: each subscription has an array of messages with a state
//! each. Only for entries of one command, so that all that is due is settled before it.

mod due;
mod lanes;
mod matching;
mod outbox;
mod pusher;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::{FilterKind, SubscriptionAttributes, TopicAttributes},
    command::{Command, Reply},
    error::Error,
    id::{QueueId, Sequence, SubscriptionId, TopicId},
    labels::Published,
    op::SubscriptionTotals,
    time::Timestamp,
};
use bytes::Bytes;

use matching::wants;
use pusher::check_max;

/// Of a queue, a topic or a subscription.
pub(crate) type Number = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Leased {
        receipt: Sequence,
        deadline: Timestamp,
    },
    Delayed {
        wake: Timestamp,
    },
    Moving {
        target: Number,
        number: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Message {
    sequence: Sequence,
    sent: Timestamp,
    pub(crate) state: State,
    deliveries: u32,
    first_received: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Topic {
    revision: u64,
    attributes: TopicAttributes,
    published: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    topic: Number,
    revision: u64,
    attributes: SubscriptionAttributes,
    /// In the order of publishing.
    pub(crate) messages: Vec<Message>,
    /// What was ever numbered for a target, in the order of the numbers.
    numbered: BTreeMap<Number, Vec<Sequence>>,
    pub(crate) totals: SubscriptionTotals,
}

/// A queue at the end of a lane.
#[derive(Debug)]
pub(crate) struct Target {
    revision: u64,
    body_bytes_max: u32,
    backlog_max: u64,
    held: Vec<(Sequence, Timestamp)>,
    leased: Vec<(Sequence, Sequence)>,
    accepted: BTreeMap<Number, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    now: Timestamp,
    index: u64,
    pub(crate) topics: BTreeMap<Number, Topic>,
    pub(crate) outboxes: BTreeMap<Number, Outbox>,
    pub(crate) targets: BTreeMap<Number, Target>,
    dropped: BTreeSet<Number>,
    /// The published messages that came to a queue from an outbox, by both.
    arrived: BTreeMap<(Number, Number), Vec<Sequence>>,
}

impl Naive {
    pub(crate) fn apply(&mut self, index: u64, now: Timestamp, command: &Command) -> Reply {
        (self.index, self.now) = (index, now);
        while let Some((due, id, _, place)) = self.next_event() {
            if due > now {
                break;
            }
            self.settle(id, place, due);
        }
        self.command(command).unwrap_or_else(Reply::Refused)
    }

    #[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
    fn command(&mut self, command: &Command) -> Result<Reply, Error> {
        match command {
            Command::PutTopic {
                topic,
                revision,
                attributes,
            } => self.put_topic(*topic, *revision, attributes),
            Command::DropTopic { topic, .. } => {
                self.dropped.insert(topic.0);
                self.topics.remove(&topic.0);
                self.outboxes.retain(|_, outbox| outbox.topic != topic.0);
            }
            Command::PutSubscription {
                subscription,
                topic,
                revision,
                attributes,
            } => self.put_subscription(*subscription, *topic, *revision, attributes)?,
            Command::DropSubscription { subscription, .. } => {
                self.dropped.insert(subscription.0);
                self.outboxes.remove(&subscription.0);
            }
            Command::PutQueue {
                queue,
                revision,
                attributes,
            } => self.put_queue(
                *queue,
                *revision,
                (attributes.body_bytes_max, attributes.backlog_max),
            ),
            Command::DropQueue { queue, .. } => {
                self.dropped.insert(queue.0);
                self.targets.remove(&queue.0);
            }
            Command::Publish { topic, bodies } => return self.publish(topic.0, bodies),
            Command::ReceiveMessages {
                queue,
                max,
                visibility,
            } => {
                check_max(queue.0, *max, self)?;
                return self.receive(queue.0, *max as usize, visibility.unwrap());
            }
            Command::AcceptPublished {
                queue,
                source,
                first,
                bodies,
                ..
            } => return self.accept(queue.0, source.0, *first, bodies, true),
            Command::AcceptMoved {
                queue,
                source,
                first,
                bodies,
                ..
            } => return self.accept(queue.0, source.0, *first, bodies, false),
            Command::MovesSettled {
                queue,
                target,
                through,
            } => self.moves_settled(queue.0, target.0, *through)?,
            Command::MoveFailed {
                queue,
                target,
                number,
                wait_max,
            } => self.move_failed(queue.0, target.0, *number, *wait_max)?,
            Command::ReturnMoves { queue, target } => self.return_moves(queue.0, target.0)?,
            Command::Settle => {}
            receipts => return self.receipts(receipts),
        }
        Ok(Reply::Done)
    }

    fn put_topic(&mut self, topic: TopicId, revision: u64, attributes: &TopicAttributes) {
        if self.dropped.contains(&topic.0) {
            return;
        }
        let new = Topic {
            revision,
            attributes: attributes.clone(),
            published: 0,
        };
        let topic = self.topics.entry(topic.0).or_insert(new);
        if topic.revision < revision {
            topic.revision = revision;
            topic.attributes = attributes.clone();
        }
    }

    fn put_subscription(
        &mut self,
        id: SubscriptionId,
        topic: TopicId,
        revision: u64,
        attributes: &SubscriptionAttributes,
    ) -> Result<(), Error> {
        let (id, topic) = (id.0, topic.0);
        if self.dropped.contains(&id) || self.dropped.contains(&topic) {
            return Ok(());
        }
        self.topics.get(&topic).ok_or(Error::NoSuchTopic)?;
        let Some(outbox) = self.outboxes.get_mut(&id) else {
            let outbox = Outbox {
                topic,
                revision,
                attributes: attributes.clone(),
                messages: Vec::new(),
                numbered: BTreeMap::new(),
                totals: SubscriptionTotals::default(),
            };
            self.outboxes.insert(id, outbox);
            return Ok(());
        };
        if revision <= outbox.revision {
            return Ok(());
        }
        let (was_pushed, old) = (outbox.is_pushed(), outbox.target());
        outbox.revision = revision;
        outbox.attributes = attributes.clone();
        if (was_pushed, old) == (outbox.is_pushed(), outbox.target()) {
            return Ok(());
        }
        for place in 0..outbox.messages.len() {
            let state = outbox.messages[place].state;
            let was_moving = matches!(state, State::Moving { target, .. } if Some(target) == old);
            if was_moving || state == State::Ready {
                outbox.messages[place].deliveries = 0;
                outbox.make_ready(place);
            }
        }
        Ok(())
    }

    fn put_queue(&mut self, queue: QueueId, revision: u64, limits: (u32, u64)) {
        if self.dropped.contains(&queue.0) {
            return;
        }
        let target = self.targets.entry(queue.0).or_insert(Target {
            revision: 0,
            body_bytes_max: 0,
            backlog_max: 0,
            held: Vec::new(),
            leased: Vec::new(),
            accepted: BTreeMap::new(),
        });
        if target.revision < revision {
            target.revision = revision;
            (target.body_bytes_max, target.backlog_max) = limits;
        }
    }

    fn publish(&mut self, id: Number, sealed: &[Bytes]) -> Result<Reply, Error> {
        let topic = self.topics.get_mut(&id).ok_or(Error::NoSuchTopic)?;
        let opened = sealed.iter().map(|sealed| Published::open(sealed).unwrap());
        let opened: Vec<Published> = opened.collect();
        for Published { body, .. } in &opened {
            if body.is_empty() {
                return Err(Error::BodyEmpty);
            }
            if body.len() > topic.attributes.body_bytes_max as usize {
                return Err(Error::BodyTooLarge);
            }
        }
        let needs_key = topic.attributes.filter == FilterKind::RoutingKey;
        if needs_key && opened.iter().any(|one| one.labels.routing_key.is_none()) {
            return Err(Error::RoutingKeyMissing);
        }
        let outboxes = self.outboxes.values_mut();
        let mut outboxes: Vec<_> = outboxes.filter(|outbox| outbox.topic == id).collect();
        if outboxes.is_empty() {
            return Err(Error::NoSubscription);
        }
        let mut wanted = BTreeSet::new();
        let mut messages = Vec::new();
        for (ordinal, published) in (0..).zip(&opened) {
            let sequence = Sequence::new(self.index, ordinal);
            messages.push(sequence);
            for outbox in &mut outboxes {
                if wants(&outbox.attributes.filter, &published.labels) {
                    wanted.insert(sequence);
                    outbox.add(sequence, self.now);
                }
            }
        }
        if wanted.is_empty() {
            return Err(Error::NoSubscriptionMatches);
        }
        topic.published += wanted.len() as u64;
        Ok(Reply::Sent { messages })
    }

    pub(crate) fn live(&self) -> Vec<Sequence> {
        let published = self.outboxes.values().flat_map(|outbox| &outbox.messages);
        let arrived = self.targets.values().flat_map(|target| &target.held);
        let live = published.map(|message| message.sequence);
        let live: BTreeSet<_> = live.chain(arrived.map(|(sequence, _)| *sequence)).collect();
        live.into_iter().collect()
    }

    /// How many messages some subscription waits for, and how many were published.
    pub(crate) fn topic_counts(&self, id: Number) -> Result<(u64, u64), Error> {
        let topic = self.topics.get(&id).ok_or(Error::NoSuchTopic)?;
        let outboxes = self.outboxes.values().filter(|outbox| outbox.topic == id);
        let waiting: BTreeSet<Sequence> = outboxes.flat_map(Outbox::undelivered).collect();
        Ok((waiting.len() as u64, topic.published))
    }
}
