//! How messages come into a queue: sent by people, or as the dead letters of another queue.

use crate::{
    codec::Bodies,
    command::{Effect, Reply},
    error::Error,
    id::{QueueId, Sequence},
    limits,
    list::Waiting,
    queue::{DelayedMessage, Queue, check_batch},
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
                turn.blocks.add(sequence);
                let retention = self.delayed_retention();
                self.delayed
                    .insert(DelayedMessage { message, wake }, retention);
            }
        }
        if delay == Millis(0) {
            turn.effect(Effect::QueueReady { queue: self.id });
        }
        self.totals.sent += messages.len() as u64;
        Reply::Sent { messages }
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
        let arrived = self.accepted.get(&source).copied().unwrap_or(0);
        if first > arrived.saturating_add(1) {
            return Reply::Refused(Error::Unavailable);
        }
        let known = arrived.saturating_add(1) - first;
        let new = u64::from(bodies.bodies.count()).saturating_sub(known);
        let new = new.min(self.room());
        if new == 0 {
            return Reply::Accepted { through: arrived };
        }
        // There are new ones, so fewer are known than there are bodies.
        let known = u32::try_from(known).expect("less than the number of bodies");
        for number in 0..u32::try_from(new).expect("at most the number of bodies") {
            let sequence = Sequence::new(turn.index, bodies.first + known + number);
            self.ready.insert(Waiting {
                sequence,
                sent: turn.now,
            });
        }
        let through = arrived.saturating_add(new);
        self.accepted.insert(source, through);
        self.totals.sent += new;
        turn.effect(Effect::QueueReady { queue: self.id });
        Reply::Accepted { through }
    }
}
