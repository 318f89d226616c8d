//! What falls due in the naive broker, and what happens then.

use anser_broker::{
    attributes::{DeadLetterAfter, RetentionFrom},
    command::Effect,
    id::{QueueId, Sequence},
    time::{Millis, Timestamp},
};

use super::{Message, Naive, Queue, State, TokenSend};

/// The kind of event that is no message's.
const TOKEN_ENDS: u8 = 5;

type Event = (Timestamp, QueueId, u8, Sequence);

impl Naive {
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.events().into_iter().map(|event| event.0).min()
    }

    pub(super) fn events(&self) -> Vec<Event> {
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

    pub(super) fn settle(&mut self, (at, id, kind, tie): Event) {
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

    pub(super) fn expire(&mut self, id: QueueId, place: usize) {
        let queue = self.queues.get_mut(&id).unwrap();
        queue.messages.remove(place);
        queue.totals.expired += 1;
    }

    pub(super) fn make_ready(&mut self, id: QueueId, place: usize) {
        self.queues.get_mut(&id).unwrap().messages[place].state = State::Ready;
        self.effects.push(Effect::QueueReady { queue: id });
    }

    pub(super) fn return_lease(&mut self, id: QueueId, place: usize, at: Timestamp) {
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

    /// The place of the first ready message, after settling what is due before it.
    pub(super) fn first_ready(&mut self, id: QueueId) -> Option<usize> {
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
}

impl TokenSend {
    pub(super) fn end(&self) -> Timestamp {
        self.at + Millis(300_000)
    }

    fn forgotten(&self) -> Timestamp {
        Timestamp(self.end().0.div_ceil(1000) * 1000)
    }
}

impl Queue {
    pub(super) fn age(&self) -> Option<Millis> {
        match self.attributes.dead_letter?.after {
            DeadLetterAfter::Age(age) => Some(age),
            DeadLetterAfter::Receives(_) => None,
        }
    }

    pub(super) fn retention_end(&self, message: &Message) -> Option<Timestamp> {
        let waits_for_its_delay = matches!(message.state, State::Delayed { .. })
            && self.attributes.retention_from == RetentionFrom::Visible;
        (!waits_for_its_delay).then(|| message.since + self.attributes.retention)
    }

    /// When something happens to a message, and the order among what happens then.
    pub(super) fn due(&self, message: &Message) -> Option<(Timestamp, u8, Sequence)> {
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

    pub(super) fn forget_retired(&mut self, now: Timestamp) {
        let rewind = self.attributes.rewind;
        self.messages
            .retain(|message| message.state != State::Retired || message.sent + rewind > now);
    }
}
