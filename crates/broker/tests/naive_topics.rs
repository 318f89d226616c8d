//! Topics that are too simple to be wrong: each subscription has an array of messages with a state
//! each. Only for entries of one command, so that all that is due is settled before it.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::{Endpoint, Filter, FilterKind, SubscriptionAttributes, TopicAttributes},
    command::{Command, Delivery, Reply},
    error::Error,
    id::{QueueId, Sequence, SubscriptionId, TopicId},
    labels::{Labels, Published},
    limits,
    op::SubscriptionTotals,
    retry::RetryStrategy,
    time::{Millis, Timestamp},
};
use bytes::Bytes;

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
            Command::DropTopic { topic } => {
                self.dropped.insert(topic.0);
                self.topics.remove(&topic.0);
                let outboxes = self.outboxes.iter();
                let its = outboxes.filter(|(_, outbox)| outbox.topic == topic.0);
                self.dropped.extend(its.map(|(id, _)| *id));
                self.outboxes.retain(|_, outbox| outbox.topic != topic.0);
            }
            Command::PutSubscription {
                subscription,
                topic,
                revision,
                attributes,
            } => self.put_subscription(*subscription, *topic, *revision, attributes)?,
            Command::DropSubscription { subscription } => {
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
            Command::DropQueue { queue } => {
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
            } => return self.accept(queue.0, source.0, *first, bodies, true),
            Command::AcceptMoved {
                queue,
                source,
                first,
                bodies,
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

    fn receive(&mut self, id: Number, max: usize, visibility: Millis) -> Result<Reply, Error> {
        let (index, now) = (self.index, self.now);
        let delivery = |ordinal: usize, message, sent, first_received, deliveries| Delivery {
            message,
            receipt: Sequence::new(index, u32::try_from(ordinal).unwrap()),
            sent,
            first_received,
            visible_again: now + visibility,
            deliveries,
        };
        let mut deliveries = Vec::new();
        if let Some(target) = self.targets.get_mut(&id) {
            let count = max.min(target.held.len());
            for (ordinal, (message, sent)) in target.held.drain(..count).enumerate() {
                let delivery = delivery(ordinal, message, sent, now, 1);
                target.leased.push((delivery.receipt, message));
                deliveries.push(delivery);
            }
            return Ok(Reply::Received { deliveries });
        }
        let outbox = self.outboxes.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let is_leased = |message: &&Message| matches!(message.state, State::Leased { .. });
        let leased = outbox.messages.iter().filter(is_leased).count();
        let room = match outbox.attributes.retry {
            RetryStrategy::BackOff => 1usize.saturating_sub(leased),
            RetryStrategy::ExponentialDecay => usize::MAX,
        };
        let messages = outbox.messages.iter_mut();
        let ready: Vec<_> = messages
            .filter(|message| message.state == State::Ready)
            .collect();
        if room == 0 && !ready.is_empty() {
            return Err(Error::TooManyInFlight);
        }
        for (ordinal, message) in ready.into_iter().take(max.min(room)).enumerate() {
            if message.deliveries == 0 {
                message.first_received = now;
            }
            message.deliveries += 1;
            let first_received = message.first_received;
            let delivery = delivery(
                ordinal,
                message.sequence,
                message.sent,
                first_received,
                message.deliveries,
            );
            message.state = State::Leased {
                receipt: delivery.receipt,
                deadline: now + visibility,
            };
            deliveries.push(delivery);
        }
        Ok(Reply::Received { deliveries })
    }

    /// The commands that name leases.
    fn receipts(&mut self, command: &Command) -> Result<Reply, Error> {
        let (Command::DeleteMessages { queue, receipts }
        | Command::GiveUp { queue, receipts }
        | Command::ReturnLeases { queue, receipts }
        | Command::ChangeVisibility {
            queue, receipts, ..
        }) = command
        else {
            panic!("{command:?} is not for this test")
        };
        if let Some(target) = self.targets.get_mut(&queue.0) {
            target.leased.clear();
            return Ok(Reply::Each(vec![Ok(()); receipts.len()]));
        }
        let missing = match command {
            Command::GiveUp { .. } => Error::NoSuchSubscription,
            _ => Error::NoSuchQueue,
        };
        self.outboxes.get(&queue.0).ok_or(missing)?;
        if receipts.is_empty() {
            return Err(Error::BatchSize);
        }
        let each = receipts.iter();
        let each = each.map(|receipt| self.end_lease(queue.0, *receipt, command));
        Ok(Reply::Each(each.collect()))
    }

    fn end_lease(&mut self, id: Number, receipt: Sequence, command: &Command) -> Result<(), Error> {
        let (now, longer) = (self.now, self.longer_retention(id));
        let aged = self.retention(id);
        let outbox = self.outboxes.get_mut(&id).unwrap();
        let place = outbox.messages.iter().position(|message| {
            let State::Leased {
                receipt: its,
                deadline,
            } = message.state
            else {
                return false;
            };
            its == receipt && now < deadline.min(message.sent + longer)
        });
        let place = place.ok_or(Error::ReceiptInvalid)?;
        let is_too_old =
            outbox.dead_letter().is_some() && outbox.messages[place].sent + aged <= now;
        match *command {
            Command::DeleteMessages { .. } => {
                outbox.messages.remove(place);
                outbox.totals.delivered += 1;
            }
            Command::GiveUp { .. } if outbox.dead_letter().is_some() => outbox.give_up(place),
            Command::GiveUp { .. } => {
                outbox.messages.remove(place);
                outbox.totals.given_up += 1;
            }
            Command::ChangeVisibility { visibility, .. } if visibility.0 > 0 => {
                let deadline = now + visibility;
                outbox.messages[place].state = State::Leased { receipt, deadline };
            }
            _ if is_too_old => outbox.give_up(place),
            Command::ReturnLeases { .. } => {
                outbox.messages[place].deliveries -= 1;
                outbox.make_ready(place);
            }
            _ => outbox.make_ready(place),
        }
        Ok(())
    }

    fn accept(
        &mut self,
        id: Number,
        source: Number,
        first: u64,
        bodies: &[Bytes],
        is_delivery: bool,
    ) -> Result<Reply, Error> {
        let target = self.targets.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let accepted = target.accepted.entry(source).or_default();
        if is_delivery {
            *accepted = (*accepted).max(first - 1);
        } else if first > *accepted + 1 {
            return Err(Error::Unavailable);
        }
        let mut refused = None;
        for (ordinal, (number, body)) in (0..).zip((first..).zip(bodies)) {
            if number <= *accepted {
                continue;
            }
            if target.held.len() as u64 >= target.backlog_max {
                refused = Some(Error::BacklogFull);
                break;
            }
            if is_delivery && body.len() > target.body_bytes_max as usize {
                refused = Some(Error::BodyTooLarge);
                break;
            }
            *accepted = number;
            target
                .held
                .push((Sequence::new(self.index, ordinal), self.now));
            let place = usize::try_from(number - 1).unwrap();
            let message = self.outboxes[&source].numbered[&id][place];
            self.arrived.entry((id, source)).or_default().push(message);
        }
        Ok(Reply::Accepted {
            through: *accepted,
            refused,
        })
    }

    fn moves_settled(&mut self, id: Number, target: Number, through: u64) -> Result<(), Error> {
        let outbox = self.outboxes.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let is_delivery = outbox.target() == Some(target);
        let has_arrived = |message: &Message| matches!(message.state, State::Moving { target: to, number } if to == target && number <= through);
        for message in outbox.messages.iter().filter(|one| has_arrived(one)) {
            let arrived = self.arrived[&(target, id)].iter();
            let times = arrived.filter(|sequence| **sequence == message.sequence);
            assert_eq!(times.count(), 1, "{message:?} did not arrive once");
            if is_delivery {
                outbox.totals.delivered += 1;
            } else {
                outbox.totals.dead_lettered += 1;
            }
        }
        outbox.messages.retain(|message| !has_arrived(message));
        Ok(())
    }

    fn move_failed(
        &mut self,
        id: Number,
        target: Number,
        number: u64,
        wait_max: Millis,
    ) -> Result<(), Error> {
        let (now, aged) = (self.now, self.retention(id));
        let outbox = self.outboxes.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let state = State::Moving { target, number };
        let place = outbox
            .messages
            .iter()
            .position(|message| message.state == state);
        let Some(place) = place else { return Ok(()) };
        if outbox.messages[place].sent + aged > now {
            let age = (now - outbox.messages[place].sent).max(Millis(1000));
            let wait = age.min(wait_max).max(Millis(1));
            outbox.messages[place].state = State::Delayed { wake: now + wait };
        } else if outbox.dead_letter().is_some() {
            outbox.give_up(place);
        } else {
            outbox.messages.remove(place);
            outbox.totals.expired += 1;
        }
        Ok(())
    }

    fn return_moves(&mut self, id: Number, target: Number) -> Result<(), Error> {
        let (now, longer) = (self.now, self.longer_retention(id));
        let outbox = self.outboxes.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        if outbox.target() == Some(target) {
            return Ok(());
        }
        let mut place = 0;
        while let Some(message) = outbox.messages.get_mut(place) {
            let comes_back =
                matches!(message.state, State::Moving { target: to, .. } if to == target);
            if comes_back && message.sent + longer <= now {
                outbox.messages.remove(place);
                outbox.totals.expired += 1;
                continue;
            }
            if comes_back {
                message.deliveries = 0;
                outbox.make_ready(place);
            }
            place += 1;
        }
        Ok(())
    }

    fn retention(&self, id: Number) -> Millis {
        let outbox = self.outboxes.get(&id);
        outbox.map_or(Millis(0), |outbox| {
            self.topics[&outbox.topic].attributes.retention
        })
    }

    /// With a dead-letter queue, a lease may outlast the topic's retention.
    fn longer_retention(&self, id: Number) -> Millis {
        let outbox = self.outboxes.get(&id);
        let dead_letter = outbox.and_then(Outbox::dead_letter);
        let longer = dead_letter.map_or(0, |_| limits::VISIBILITY_MAX.0);
        Millis(self.retention(id).0 + longer)
    }

    /// What falls due next: when, in which outbox, of what kind, and the message's place.
    fn next_event(&self) -> Option<(Timestamp, Number, (u8, Sequence), usize)> {
        let outboxes = self.outboxes.iter();
        let events = outboxes.flat_map(|(id, outbox)| {
            let (aged, longer) = (self.retention(*id), self.longer_retention(*id));
            let messages = outbox.messages.iter().enumerate();
            messages.filter_map(move |(place, message)| {
                let (due, order) = match message.state {
                    State::Leased { receipt, deadline } => {
                        (deadline.min(message.sent + longer), (0, receipt))
                    }
                    State::Delayed { wake } => {
                        (wake.min(message.sent + longer), (1, message.sequence))
                    }
                    State::Ready => (message.sent + aged, (2, message.sequence)),
                    State::Moving { .. } => return None,
                };
                Some((due, *id, order, place))
            })
        });
        events.min()
    }

    fn settle(&mut self, id: Number, place: usize, at: Timestamp) {
        let (aged, longer) = (self.retention(id), self.longer_retention(id));
        let outbox = self.outboxes.get_mut(&id).unwrap();
        let message = &outbox.messages[place];
        let is_kept = outbox.dead_letter().is_some();
        let end = if message.state == State::Ready && is_kept {
            // A ready one leaves for the dead-letter queue before its end.
            message.sent + Millis(u64::MAX)
        } else {
            message.sent + longer
        };
        if end <= at {
            outbox.messages.remove(place);
            outbox.totals.expired += 1;
        } else if is_kept && message.sent + aged <= at {
            outbox.give_up(place);
        } else {
            outbox.make_ready(place);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let event = self.next_event().map(|event| event.0);
        let held = self.targets.values().flat_map(|target| &target.held);
        let held = held.map(|(_, sent)| *sent + limits::RETENTION_MAX);
        held.chain(event).min()
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

    /// Target, number, message, whether it is delivered there, whether its time is up.
    pub(crate) fn moves(&self, id: Number) -> Vec<(Number, u64, Sequence, bool, bool)> {
        let outbox = &self.outboxes[&id];
        let moving = outbox.messages.iter().filter_map(|message| {
            let State::Moving { target, number } = message.state else {
                return None;
            };
            let is_delivery = outbox.target() == Some(target);
            let is_overdue = message.sent + self.retention(id) <= self.now;
            Some((target, number, message.sequence, is_delivery, is_overdue))
        });
        let mut moving: Vec<_> = moving.collect();
        moving.sort_unstable();
        moving
    }

    /// Nothing came to a queue twice.
    pub(crate) fn check_arrivals(&self) {
        for arrived in self.arrived.values() {
            let once: BTreeSet<&Sequence> = arrived.iter().collect();
            assert_eq!(once.len(), arrived.len(), "a message arrived twice");
        }
    }
}

impl Outbox {
    pub(crate) fn is_pushed(&self) -> bool {
        matches!(self.attributes.endpoint, Endpoint::Http { .. })
    }

    pub(crate) fn target(&self) -> Option<Number> {
        match self.attributes.endpoint {
            Endpoint::Queue { queue, .. } => queue.map(|queue| queue.0),
            Endpoint::Http { .. } => None,
        }
    }

    pub(crate) fn dead_letter(&self) -> Option<Number> {
        self.attributes.dead_letter.map(|queue| queue.0)
    }

    pub(crate) fn ready_for_pusher(&self) -> BTreeSet<Sequence> {
        let messages = self.messages.iter();
        let ready = messages.filter(|message| message.state == State::Ready && self.is_pushed());
        ready.map(|message| message.sequence).collect()
    }

    pub(crate) fn moves_started(&self) -> u64 {
        self.numbered.values().map(|lane| lane.len() as u64).sum()
    }

    pub(crate) fn has_moves(&self) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| matches!(message.state, State::Moving { .. }))
    }

    pub(crate) fn has_moves_to(&self, target: Option<Number>) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| matches!(message.state, State::Moving { target: to, .. } if Some(to) == target))
    }

    /// All but the dead letters.
    fn undelivered(&self) -> impl Iterator<Item = Sequence> {
        let is_dead = |message: &&Message| matches!(message.state, State::Moving { target, .. } if self.target() != Some(target));
        let messages = self.messages.iter();
        let undelivered = messages.filter(move |message| !is_dead(message));
        undelivered.map(|message| message.sequence)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.undelivered().count() as u64
    }

    fn add(&mut self, sequence: Sequence, sent: Timestamp) {
        self.totals.matched += 1;
        self.messages.push(Message {
            sequence,
            sent,
            state: State::Ready,
            deliveries: 0,
            first_received: Timestamp(0),
        });
        self.make_ready(self.messages.len() - 1);
    }

    fn make_ready(&mut self, place: usize) {
        self.messages[place].state = State::Ready;
        if let Some(target) = self.target() {
            self.start_move(place, target);
        }
    }

    fn give_up(&mut self, place: usize) {
        let target = self.dead_letter().unwrap();
        self.start_move(place, target);
    }

    fn start_move(&mut self, place: usize, target: Number) {
        let lane = self.numbered.entry(target).or_default();
        lane.push(self.messages[place].sequence);
        let number = lane.len() as u64;
        self.messages[place].deliveries = 0;
        self.messages[place].state = State::Moving { target, number };
    }
}

fn check_max(queue: Number, max: u32, naive: &Naive) -> Result<(), Error> {
    if !naive.targets.contains_key(&queue) && !naive.outboxes.contains_key(&queue) {
        return Err(Error::NoSuchQueue);
    }
    if (1..=limits::BATCH_MESSAGES_MAX).contains(&(max as usize)) {
        Ok(())
    } else {
        Err(Error::BatchSize)
    }
}

fn wants(filter: &Filter, labels: &Labels) -> bool {
    match (filter, &labels.routing_key) {
        (Filter::Tags(tags), _) => {
            tags.is_empty() || tags.iter().any(|tag| labels.tags.contains(tag))
        }
        (Filter::BindingKeys(_), None) => false,
        (Filter::BindingKeys(keys), Some(key)) => {
            let words: Vec<&str> = key.as_str().split('.').collect();
            keys.iter().any(|binding| {
                let binding: Vec<&str> = binding.as_str().split('.').collect();
                is_match(&binding, &words)
            })
        }
    }
}

/// By the definition, word for word.
fn is_match(binding: &[&str], words: &[&str]) -> bool {
    match (binding.split_first(), words.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), words_left) => {
            is_match(rest, words) || words_left.is_some_and(|(_, later)| is_match(binding, later))
        }
        (Some((&"*", rest)), Some((word, later))) => !word.is_empty() && is_match(rest, later),
        (Some((wanted, rest)), Some((word, later))) => wanted == word && is_match(rest, later),
        _ => false,
    }
}
