//! How messages come into a queue: sent by people, or as the dead letters of another queue.

use crate::{
    codec::Bodies,
    command::Reply,
    error::Error,
    id::{QueueId, Sequence},
    limits,
    list::Waiting,
    queue::{DelayedMessage, Queue, check_batch, tokens::TokenSend},
    time::Millis,
    turn::Turn,
};

/// Bodies and the number that the first of them has in the entry.
#[derive(Debug)]
pub(crate) struct NumberedBodies<'a> {
    pub(crate) bodies: Bodies<'a>,
    pub(crate) first: u32,
}

impl Queue {
    pub(crate) fn send(
        &mut self,
        delay: Option<Millis>,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let delay = delay.unwrap_or(self.attributes.delay);
        if let Err(error) = self.check_send(delay, &bodies.bodies) {
            return Reply::Refused(error);
        }
        let messages: Vec<Sequence> = (0..bodies.bodies.count())
            .map(|number| Sequence::new(turn.index, bodies.first + number))
            .collect();
        for &sequence in &messages {
            let message = Waiting {
                sequence,
                sent: turn.now,
            };
            if delay == Millis(0) {
                self.ready.insert(message);
            } else {
                let wake = turn.starts + delay;
                let retention = self.delayed_retention();
                self.delayed
                    .insert(DelayedMessage { message, wake }, retention);
            }
        }
        turn.blocks.add(turn.index, bodies.bodies.count());
        if delay == Millis(0) {
            self.ready_grew(turn);
        }
        self.totals.sent += messages.len() as u64;
        Reply::Sent { messages }
    }

    /// As [`Queue::send`], unless a send with this token is remembered: then it is answered as that
    /// one was. A send that is refused is not remembered.
    pub(crate) fn send_once(
        &mut self,
        token: [u8; 16],
        delay: Option<Millis>,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        if let Some(known) = self.tokens.find(token, turn.now) {
            if u32::from(known.messages) != bodies.bodies.count() {
                return Reply::Refused(Error::TokenReused);
            }
            return Reply::Sent {
                messages: known.sequences().collect(),
            };
        }
        if self.tokens.len() >= limits::TOKENS_MAX {
            return Reply::Refused(Error::Busy);
        }
        let reply = self.send(delay, bodies, turn);
        if let Reply::Sent { messages } = &reply {
            self.tokens.add(TokenSend {
                token,
                first: messages[0],
                messages: u8::try_from(messages.len()).expect("a batch has at most 64 messages"),
                at: turn.now,
            });
        }
        reply
    }

    fn check_send(&self, delay: Millis, bodies: &Bodies<'_>) -> Result<(), Error> {
        let mut bytes = 0;
        for body in bodies.iter() {
            if body.is_empty() {
                return Err(Error::BodyEmpty);
            }
            if body.len() > self.attributes.body_bytes_max as usize {
                return Err(Error::BodyTooLarge);
            }
            bytes += body.len();
        }
        check_batch(bodies.count())?;
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(Error::BatchSize);
        }
        if delay > self.attributes.delay_max {
            return Err(Error::DelayTooLong);
        }
        let count = u64::from(bodies.count());
        if count > self.room() {
            return Err(Error::BacklogFull);
        }
        let delayed_room = self
            .attributes
            .delayed_max
            .saturating_sub(self.delayed.len());
        if delay > Millis(0) && count > delayed_room {
            return Err(Error::TooManyDelayed);
        }
        Ok(())
    }

    /// Stores dead letters of another queue, those that did not arrive before.
    pub(crate) fn accept_moved(
        &mut self,
        source: QueueId,
        first: u64,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let arrived = match self.accepted.from(source) {
            None => first.saturating_sub(1),
            Some(arrived) if first > arrived.saturating_add(1) => {
                return Reply::Refused(Error::Unavailable);
            }
            Some(arrived) => arrived,
        };
        self.accept(source, (first, arrived), bodies, turn, |_, _| Ok(()))
    }

    /// Stores messages of a subscription's outbox, those that did not arrive before and until one
    /// cannot be taken. Numbers that are left out were passed over by the outbox.
    pub(crate) fn accept_published(
        &mut self,
        source: QueueId,
        first: u64,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let arrived = self.accepted.from(source).unwrap_or(0);
        let arrived = arrived.max(first.saturating_sub(1));
        self.accept(source, (first, arrived), bodies, turn, |queue, body| {
            if body.len() > queue.attributes.body_bytes_max as usize {
                Err(Error::BodyTooLarge)
            } else {
                Ok(())
            }
        })
    }

    /// Whether something has arrived from a source and is not forgotten.
    pub(crate) fn knows_source(&self, source: QueueId) -> bool {
        self.accepted.from(source).is_some()
    }

    /// Forgets a source from which nothing has arrived beyond this number.
    pub(crate) fn forget_source(&mut self, source: QueueId, through: u64) {
        let last = self.accepted.from(source);
        if last.is_some_and(|last| last <= through) {
            self.accepted.forget(source);
        }
    }

    /// Stores the bodies with numbers from `first` on that are beyond `arrived`.
    fn accept(
        &mut self,
        source: QueueId,
        (first, arrived): (u64, u64),
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
        check: impl Fn(&Self, &[u8]) -> Result<(), Error>,
    ) -> Reply {
        let mut through = arrived;
        let mut refused = None;
        for (place, body) in (0u32..).zip(bodies.bodies.iter()) {
            let number = first.saturating_add(place.into());
            let ordinal = bodies.first + place;
            if number <= arrived {
                continue;
            }
            let fits = match self.room() {
                0 => Err(Error::BacklogFull),
                _ => check(self, body),
            };
            if let Err(error) = fits {
                refused = Some(error);
                break;
            }
            self.ready.insert(Waiting {
                sequence: Sequence::new(turn.index, ordinal),
                sent: turn.now,
            });
            through = number;
        }
        if through > arrived {
            self.accepted.set(source, through);
            let stored = u32::try_from(through - arrived).expect("an entry's messages");
            turn.blocks.add(turn.index, stored);
            self.totals.sent += u64::from(stored);
            self.ready_grew(turn);
        }
        Reply::Accepted { through, refused }
    }
}
