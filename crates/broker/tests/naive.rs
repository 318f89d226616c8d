//! A broker that is too simple to be wrong: every queue is one array of messages with a state each,
//! and every question is answered by looking at all of them.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::{DeadLetterAfter, QueueAttributes, RetentionFrom},
    command::{Command, Delivery, Effect, Reply},
    error::Error,
    id::{QueueId, Sequence},
    limits,
    op::{QueueCounts, QueueTotals},
    time::{Millis, Stamp, Timestamp},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Delayed {
        wake: Timestamp,
    },
    Ready,
    Leased {
        receipt: Sequence,
        deadline: Timestamp,
    },
    Retired,
    Moving {
        target: QueueId,
        number: u64,
    },
}

#[derive(Debug)]
struct Message {
    sequence: Sequence,
    sent: Timestamp,
    /// From when retention counts.
    since: Timestamp,
    state: State,
    deliveries: u32,
    first_received: Timestamp,
}

#[derive(Debug)]
struct Queue {
    revision: u64,
    attributes: QueueAttributes,
    /// In the order of sending.
    messages: Vec<Message>,
    /// The last number given, by target.
    numbers: BTreeMap<QueueId, u64>,
    accepted: BTreeMap<QueueId, u64>,
    tokens: BTreeMap<[u8; 16], TokenSend>,
    totals: QueueTotals,
}

/// A send that had a token.
#[derive(Debug, Clone)]
struct TokenSend {
    messages: Vec<Sequence>,
    at: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    now: Timestamp,
    /// How far the wall clock is ahead.
    wall: i64,
    queues: BTreeMap<QueueId, Queue>,
    dropped: BTreeSet<QueueId>,
    index: u64,
    bodies: u32,
    leases: u32,
    skips: usize,
    pub(crate) effects: Vec<Effect>,
}

/// The kind of event that is no message's.
const TOKEN_ENDS: u8 = 5;

type Event = (Timestamp, QueueId, u8, Sequence);

impl Naive {
    pub(crate) fn apply(
        &mut self,
        index: u64,
        stamp: Stamp,
        commands: &[Command],
        settled: usize,
    ) -> Vec<Reply> {
        self.now = self.now.max(stamp.now);
        self.wall = i64::try_from(stamp.wall.0).unwrap() - i64::try_from(stamp.now.0).unwrap();
        (self.index, self.bodies, self.leases, self.skips) = (index, 0, 0, settled);
        self.effects.clear();
        for _ in 0..settled {
            match self.events().into_iter().min() {
                Some(event) if event.0 <= self.now => self.settle(event),
                _ => break,
            }
        }
        commands
            .iter()
            .map(|command| self.command(command))
            .collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.events().into_iter().map(|event| event.0).min()
    }

    pub(crate) fn counts(&self, queue: QueueId) -> Option<QueueCounts> {
        let queue = self.queues.get(&queue)?;
        let count = |test: fn(State) -> bool| {
            queue
                .messages
                .iter()
                .filter(|message| test(message.state))
                .count() as u64
        };
        Some(QueueCounts {
            ready: count(|state| state == State::Ready),
            leased: count(|state| matches!(state, State::Leased { .. })),
            delayed: count(|state| matches!(state, State::Delayed { .. })),
            retired: count(|state| state == State::Retired),
            moving: count(|state| matches!(state, State::Moving { .. })),
            oldest: queue.oldest().map(|oldest| self.on_the_wall(oldest)),
            totals: queue.totals,
        })
    }

    pub(crate) fn live(&self) -> Vec<Sequence> {
        let messages = self.queues.values().flat_map(|queue| &queue.messages);
        let mut live: Vec<_> = messages.map(|message| message.sequence).collect();
        live.sort_unstable();
        live
    }

    pub(crate) fn moves(&self, queue: QueueId) -> Vec<(QueueId, u64, Sequence)> {
        let messages = self
            .queues
            .get(&queue)
            .into_iter()
            .flat_map(|queue| &queue.messages);
        let mut moves: Vec<_> = messages
            .filter_map(|message| match message.state {
                State::Moving { target, number } => Some((target, number, message.sequence)),
                _ => None,
            })
            .collect();
        moves.sort_unstable();
        moves
    }

    fn on_the_wall(&self, own: Timestamp) -> Timestamp {
        Timestamp(own.0.saturating_add_signed(self.wall))
    }

    fn events(&self) -> Vec<Event> {
        let queues = self.queues.iter();
        queues
            .flat_map(|(id, queue)| {
                let messages = queue.messages.iter().filter_map(|message| {
                    let (due, kind, tie) = queue.due(message)?;
                    Some((due, *id, kind, tie))
                });
                let tokens = queue.tokens.values();
                messages
                    .chain(tokens.map(|send| (send.forgotten(), *id, TOKEN_ENDS, send.messages[0])))
            })
            .collect()
    }

    fn settle(&mut self, (at, id, kind, tie): Event) {
        let queue = self.queues.get_mut(&id).unwrap();
        if kind == TOKEN_ENDS {
            queue.tokens.retain(|_, send| send.messages[0] != tie);
            return;
        }
        let place = queue.messages.iter().position(|message| {
            queue
                .due(message)
                .is_some_and(|(_, its_kind, its_tie)| (its_kind, its_tie) == (kind, tie))
        });
        let place = place.unwrap();
        let message = &queue.messages[place];
        let expired = queue.retention_end(message).is_some_and(|end| end <= at);
        match message.state {
            State::Retired => drop(queue.messages.remove(place)),
            State::Ready => self.give_up(id, place),
            _ if expired => self.expire(id, place),
            State::Leased { .. } => self.return_lease(id, place, at),
            State::Delayed { wake } => {
                let old = queue.age().is_some_and(|age| message.sent + age <= at);
                if queue.attributes.retention_from == RetentionFrom::Visible {
                    queue.messages[place].since = wake;
                }
                if old {
                    self.start_move(id, place);
                } else {
                    self.make_ready(id, place);
                }
            }
            State::Moving { .. } => unreachable!(),
        }
    }

    /// The end of a ready message by age or retention.
    fn give_up(&mut self, id: QueueId, place: usize) {
        if self.queues[&id].age().is_some() {
            self.start_move(id, place);
        } else {
            self.expire(id, place);
        }
    }

    fn expire(&mut self, id: QueueId, place: usize) {
        let queue = self.queues.get_mut(&id).unwrap();
        queue.messages.remove(place);
        queue.totals.expired += 1;
    }

    fn make_ready(&mut self, id: QueueId, place: usize) {
        self.queues.get_mut(&id).unwrap().messages[place].state = State::Ready;
        self.effects.push(Effect::QueueReady { queue: id });
    }

    fn start_move(&mut self, id: QueueId, place: usize) {
        let queue = self.queues.get_mut(&id).unwrap();
        let target = queue.attributes.dead_letter.unwrap().queue;
        let number = queue.numbers.entry(target).or_insert(0);
        *number += 1;
        queue.messages[place].state = State::Moving {
            target,
            number: *number,
        };
        self.effects.push(Effect::MovesPending { queue: id });
    }

    fn return_lease(&mut self, id: QueueId, place: usize, at: Timestamp) {
        let queue = &self.queues[&id];
        let message = &queue.messages[place];
        let gives_up = match queue.attributes.dead_letter.map(|policy| policy.after) {
            Some(DeadLetterAfter::Receives(receives)) => message.deliveries >= receives,
            Some(DeadLetterAfter::Age(age)) => message.sent + age <= at,
            None => false,
        };
        if gives_up {
            self.start_move(id, place);
        } else {
            self.make_ready(id, place);
        }
    }

    fn command(&mut self, command: &Command) -> Reply {
        match command {
            Command::PutQueue {
                queue,
                revision,
                attributes,
            } => self.put(*queue, *revision, attributes),
            Command::DropQueue { queue } => {
                self.dropped.insert(*queue);
                if self.queues.remove(queue).is_some() {
                    self.effects.push(Effect::QueueGone { queue: *queue });
                }
                Reply::Done
            }
            Command::Settle => Reply::Done,
            other => self.queue_command(other).unwrap_or_else(Reply::Refused),
        }
    }

    fn put(&mut self, id: QueueId, revision: u64, attributes: &QueueAttributes) -> Reply {
        if let Err(error) = attributes.check() {
            return Reply::Refused(error);
        }
        if self.dropped.contains(&id) {
            return Reply::Done;
        }
        let queue = self.queues.entry(id).or_insert_with(|| Queue {
            revision: 0,
            attributes: attributes.clone(),
            messages: Vec::new(),
            numbers: BTreeMap::new(),
            accepted: BTreeMap::new(),
            tokens: BTreeMap::new(),
            totals: QueueTotals::default(),
        });
        if revision > queue.revision {
            queue.revision = revision;
            queue.attributes = attributes.clone();
            queue.forget_retired(self.now);
        }
        Reply::Done
    }

    #[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
    fn queue_command(&mut self, command: &Command) -> Result<Reply, Error> {
        match command {
            Command::SendMessages {
                queue,
                delay,
                bodies,
            } => {
                let first = self.bodies;
                self.bodies += u32::try_from(bodies.len()).unwrap();
                let lengths: Vec<_> = bodies.iter().map(bytes::Bytes::len).collect();
                self.send(*queue, *delay, &lengths, first)
            }
            Command::SendMessagesOnce {
                queue,
                token,
                delay,
                bodies,
            } => {
                let first = self.bodies;
                self.bodies += u32::try_from(bodies.len()).unwrap();
                let lengths: Vec<_> = bodies.iter().map(bytes::Bytes::len).collect();
                self.send_once(*queue, *token, *delay, &lengths, first)
            }
            Command::ReceiveMessages {
                queue,
                max,
                visibility,
            } => self.receive(*queue, *max, *visibility),
            Command::DeleteMessages { queue, receipts } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                check_batch(receipts.len())?;
                let each = receipts.iter().map(|receipt| self.delete(*queue, *receipt));
                Ok(Reply::Each(each.collect()))
            }
            Command::ChangeVisibility {
                queue,
                receipts,
                visibility,
            } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                check_batch(receipts.len())?;
                let each = receipts
                    .iter()
                    .map(|receipt| self.change(*queue, *receipt, *visibility));
                Ok(Reply::Each(each.collect()))
            }
            Command::AcceptMoved {
                queue,
                source,
                first,
                bodies,
            } => {
                let ordinal = self.bodies;
                self.bodies += u32::try_from(bodies.len()).unwrap();
                self.accept(*queue, *source, *first, bodies.len(), ordinal)
            }
            Command::MovesSettled {
                queue,
                target,
                through,
            } => {
                let queue = self.queues.get_mut(queue).ok_or(Error::NoSuchQueue)?;
                let before = queue.messages.len();
                queue.messages.retain(|message| {
                    !matches!(message.state, State::Moving { target: to, number } if to == *target && number <= *through)
                });
                queue.totals.dead_lettered += (before - queue.messages.len()) as u64;
                Ok(Reply::Done)
            }
            Command::ReturnLeases { queue, receipts } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                check_batch(receipts.len())?;
                let each = receipts
                    .iter()
                    .map(|receipt| self.take_back(*queue, *receipt));
                Ok(Reply::Each(each.collect()))
            }
            Command::ReturnMoves { queue, target } => {
                self.queues.get(queue).ok_or(Error::NoSuchQueue)?;
                self.return_moves(*queue, *target);
                Ok(Reply::Done)
            }
            Command::ClearQueue { queue } => {
                let queue = self.queues.get_mut(queue).ok_or(Error::NoSuchQueue)?;
                let is_moving = |message: &Message| matches!(message.state, State::Moving { .. });
                let held = queue.messages.iter();
                let held =
                    held.filter(|message| !is_moving(message) && message.state != State::Retired);
                queue.totals.cleared += held.count() as u64;
                queue.messages.retain(is_moving);
                Ok(Reply::Done)
            }
            Command::RewindQueue { queue, to } => self.rewind(*queue, *to),
            other => panic!("{other:?} is not for this test"),
        }
    }

    fn send(
        &mut self,
        id: QueueId,
        delay: Option<Millis>,
        lengths: &[usize],
        first: u32,
    ) -> Result<Reply, Error> {
        let queue = self.queues.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let attributes = &queue.attributes;
        let delay = delay.unwrap_or(attributes.delay);
        for length in lengths {
            if *length == 0 {
                return Err(Error::BodyEmpty);
            }
            if *length > attributes.body_bytes_max as usize {
                return Err(Error::BodyTooLarge);
            }
        }
        check_batch(lengths.len())?;
        if delay > attributes.delay_max {
            return Err(Error::DelayTooLong);
        }
        if queue.held() + lengths.len() as u64 > attributes.backlog_max {
            return Err(Error::BacklogFull);
        }
        let delayed = queue.messages.iter();
        let delayed = delayed
            .filter(|message| matches!(message.state, State::Delayed { .. }))
            .count();
        if delay.0 > 0 && (delayed + lengths.len()) as u64 > attributes.delayed_max {
            return Err(Error::TooManyDelayed);
        }
        let state = if delay.0 > 0 {
            State::Delayed {
                wake: self.now + delay,
            }
        } else {
            State::Ready
        };
        let messages = self.store(id, lengths.len(), first, state);
        Ok(Reply::Sent { messages })
    }

    fn send_once(
        &mut self,
        id: QueueId,
        token: [u8; 16],
        delay: Option<Millis>,
        lengths: &[usize],
        first: u32,
    ) -> Result<Reply, Error> {
        let queue = self.queues.get(&id).ok_or(Error::NoSuchQueue)?;
        let known = queue.tokens.get(&token);
        if let Some(known) = known.filter(|known| self.now < known.end()) {
            if known.messages.len() != lengths.len() {
                return Err(Error::TokenReused);
            }
            let messages = known.messages.clone();
            return Ok(Reply::Sent { messages });
        }
        let reply = self.send(id, delay, lengths, first)?;
        if let Reply::Sent { messages } = &reply {
            let (messages, at) = (messages.clone(), self.now);
            let queue = self.queues.get_mut(&id).unwrap();
            queue.tokens.insert(token, TokenSend { messages, at });
        }
        Ok(reply)
    }

    fn store(&mut self, id: QueueId, count: usize, first: u32, state: State) -> Vec<Sequence> {
        let queue = self.queues.get_mut(&id).unwrap();
        let sequences = (first..)
            .take(count)
            .map(|ordinal| Sequence::new(self.index, ordinal));
        let sequences: Vec<_> = sequences.collect();
        queue
            .messages
            .extend(sequences.iter().map(|&sequence| Message {
                sequence,
                sent: self.now,
                since: self.now,
                state,
                deliveries: 0,
                first_received: Timestamp(0),
            }));
        queue.totals.sent += count as u64;
        if state == State::Ready {
            self.effects.push(Effect::QueueReady { queue: id });
        }
        sequences
    }

    /// The place of the first ready message, after settling what is due before it.
    fn first_ready(&mut self, id: QueueId) -> Option<usize> {
        loop {
            let queue = &self.queues[&id];
            let place = queue
                .messages
                .iter()
                .position(|message| message.state == State::Ready)?;
            if queue.due(&queue.messages[place]).unwrap().0 > self.now {
                return Some(place);
            }
            self.skips = self.skips.checked_sub(1)?;
            self.give_up(id, place);
        }
    }

    fn receive(
        &mut self,
        id: QueueId,
        max: u32,
        visibility: Option<Millis>,
    ) -> Result<Reply, Error> {
        self.queues.get(&id).ok_or(Error::NoSuchQueue)?;
        check_batch(max as usize)?;
        self.first_ready(id);
        let queue = &self.queues[&id];
        let count = |test: fn(State) -> bool| {
            queue
                .messages
                .iter()
                .filter(|message| test(message.state))
                .count() as u64
        };
        let leased = count(|state| matches!(state, State::Leased { .. }));
        let room = queue.attributes.in_flight_max.saturating_sub(leased);
        if room == 0 && count(|state| state == State::Ready) > 0 {
            return Err(Error::TooManyInFlight);
        }
        let visibility = visibility.unwrap_or(queue.attributes.visibility);
        // What is available is looked at once, before more turns out to be due.
        let count = count(|state| state == State::Ready)
            .min(room)
            .min(u64::from(max));
        let mut deliveries = Vec::new();
        while (deliveries.len() as u64) < count {
            let Some(place) = self.first_ready(id) else {
                break;
            };
            let receipt = Sequence::new(self.index, self.leases);
            self.leases += 1;
            let deadline = self.now + visibility;
            let now = self.now;
            let queue = self.queues.get_mut(&id).unwrap();
            queue.totals.received += 1;
            let message = &mut queue.messages[place];
            message.state = State::Leased { receipt, deadline };
            message.deliveries += 1;
            if message.deliveries == 1 {
                message.first_received = now;
            }
            let (sequence, sent, first) = (message.sequence, message.sent, message.first_received);
            let deliveries_so_far = message.deliveries;
            deliveries.push(Delivery {
                message: sequence,
                receipt,
                sent: self.on_the_wall(sent),
                first_received: self.on_the_wall(first),
                visible_again: self.on_the_wall(deadline),
                deliveries: deliveries_so_far,
            });
        }
        Ok(Reply::Received { deliveries })
    }

    fn leased(&self, id: QueueId, receipt: Sequence) -> Result<usize, Error> {
        let queue = &self.queues[&id];
        let place = queue.messages.iter().position(|message| {
            let is_it =
                matches!(message.state, State::Leased { receipt: its, .. } if its == receipt);
            is_it && queue.due(message).unwrap().0 > self.now
        });
        place.ok_or(Error::ReceiptInvalid)
    }

    fn delete(&mut self, id: QueueId, receipt: Sequence) -> Result<(), Error> {
        let place = self.leased(id, receipt)?;
        let queue = self.queues.get_mut(&id).unwrap();
        queue.totals.deleted += 1;
        queue.messages[place].state = State::Retired;
        if queue.messages[place].sent + queue.attributes.rewind <= self.now {
            queue.messages.remove(place);
        }
        Ok(())
    }

    fn change(&mut self, id: QueueId, receipt: Sequence, visibility: Millis) -> Result<(), Error> {
        let place = self.leased(id, receipt)?;
        if visibility.0 == 0 {
            self.return_lease(id, place, self.now);
        } else {
            let deadline = self.now + visibility;
            let message = &mut self.queues.get_mut(&id).unwrap().messages[place];
            message.state = State::Leased { receipt, deadline };
        }
        Ok(())
    }

    fn take_back(&mut self, id: QueueId, receipt: Sequence) -> Result<(), Error> {
        let place = self.leased(id, receipt)?;
        let queue = self.queues.get_mut(&id).unwrap();
        queue.totals.received -= 1;
        let message = &mut queue.messages[place];
        message.deliveries -= 1;
        let sent = message.sent;
        if queue.age().is_some_and(|age| sent + age <= self.now) {
            self.start_move(id, place);
        } else {
            self.make_ready(id, place);
        }
        Ok(())
    }

    fn return_moves(&mut self, id: QueueId, target: QueueId) {
        let is_there = |message: &Message| matches!(message.state, State::Moving { target: to, .. } if to == target);
        while let Some(place) = self.queues[&id].messages.iter().position(is_there) {
            let queue = self.queues.get_mut(&id).unwrap();
            queue.messages[place].deliveries = 0;
            if queue.retention_end(&queue.messages[place]) <= Some(self.now) {
                self.expire(id, place);
            } else {
                self.make_ready(id, place);
            }
        }
    }

    fn accept(
        &mut self,
        id: QueueId,
        source: QueueId,
        first: u64,
        count: usize,
        ordinal: u32,
    ) -> Result<Reply, Error> {
        let queue = self.queues.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let arrived = queue.accepted.get(&source).copied().unwrap_or(0);
        if first > arrived + 1 {
            return Err(Error::Unavailable);
        }
        let mut through = arrived;
        for (number, ordinal) in (first..).zip(ordinal..).take(count) {
            let queue = &self.queues[&id];
            if number == through + 1 && queue.held() < queue.attributes.backlog_max {
                self.store(id, 1, ordinal, State::Ready);
                through = number;
            }
        }
        if through > 0 {
            self.queues
                .get_mut(&id)
                .unwrap()
                .accepted
                .insert(source, through);
        }
        let is_left = (first..).take(count).any(|number| number > through);
        let refused = is_left.then_some(Error::BacklogFull);
        Ok(Reply::Accepted { through, refused })
    }

    fn rewind(&mut self, id: QueueId, to: Timestamp) -> Result<Reply, Error> {
        let queue = &self.queues[self
            .queues
            .get(&id)
            .map(|_| &id)
            .ok_or(Error::NoSuchQueue)?];
        let rewind = queue.attributes.rewind;
        if rewind.0 == 0 {
            return Err(Error::NotRewindable);
        }
        let newest = self
            .on_the_wall(queue.oldest().unwrap_or(self.now))
            .seconds();
        let oldest = self
            .on_the_wall(self.now)
            .seconds()
            .saturating_sub(rewind.seconds());
        if to.seconds() < oldest || to.seconds() > newest {
            return Err(Error::RewindOutOfRange);
        }
        self.queues.get_mut(&id).unwrap().forget_retired(self.now);
        let mut messages = 0;
        for place in 0..self.queues[&id].messages.len() {
            let message = &self.queues[&id].messages[place];
            let sent = self.on_the_wall(message.sent).seconds();
            if message.state == State::Retired && sent >= to.seconds() {
                self.make_ready(id, place);
                let message = &mut self.queues.get_mut(&id).unwrap().messages[place];
                message.deliveries = 0;
                message.since = message.sent;
                messages += 1;
            }
        }
        self.queues.get_mut(&id).unwrap().totals.rewound += messages;
        Ok(Reply::Rewound { messages })
    }
}

impl TokenSend {
    fn end(&self) -> Timestamp {
        self.at + Millis(300_000)
    }

    fn forgotten(&self) -> Timestamp {
        Timestamp(self.end().0.div_ceil(1000) * 1000)
    }
}

impl Queue {
    fn age(&self) -> Option<Millis> {
        match self.attributes.dead_letter?.after {
            DeadLetterAfter::Age(age) => Some(age),
            DeadLetterAfter::Receives(_) => None,
        }
    }

    fn retention_end(&self, message: &Message) -> Option<Timestamp> {
        let waits_for_its_delay = matches!(message.state, State::Delayed { .. })
            && self.attributes.retention_from == RetentionFrom::Visible;
        (!waits_for_its_delay).then(|| message.since + self.attributes.retention)
    }

    /// When something happens to a message, and the order among what happens then.
    fn due(&self, message: &Message) -> Option<(Timestamp, u8, Sequence)> {
        let end = self.retention_end(message);
        let sequence = message.sequence;
        Some(match message.state {
            State::Leased { receipt, deadline } => (deadline.min(end?), 0, receipt),
            State::Delayed { wake } => (end.map_or(wake, |end| end.min(wake)), 1, sequence),
            State::Ready => {
                let kind = if message.since == message.sent { 2 } else { 3 };
                (
                    self.age().map_or(end?, |age| message.sent + age),
                    kind,
                    sequence,
                )
            }
            State::Retired => (message.sent + self.attributes.rewind, 4, sequence),
            State::Moving { .. } => return None,
        })
    }

    fn held(&self) -> u64 {
        let held =
            |message: &&Message| !matches!(message.state, State::Retired | State::Moving { .. });
        self.messages.iter().filter(held).count() as u64
    }

    fn oldest(&self) -> Option<Timestamp> {
        let held =
            |message: &&Message| !matches!(message.state, State::Retired | State::Moving { .. });
        self.messages
            .iter()
            .filter(held)
            .map(|message| message.sent)
            .min()
    }

    fn forget_retired(&mut self, now: Timestamp) {
        let rewind = self.attributes.rewind;
        self.messages
            .retain(|message| message.state != State::Retired || message.sent + rewind > now);
    }
}

fn check_batch(count: usize) -> Result<(), Error> {
    if count == 0 || count > limits::BATCH_MESSAGES_MAX {
        return Err(Error::BatchSize);
    }
    Ok(())
}
