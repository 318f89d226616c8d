//! How messages get from a naive subscription to a queue.

use std::collections::BTreeSet;

use anser_broker::{command::Reply, error::Error, id::Sequence, time::Millis};
use bytes::Bytes;

use super::{Message, Naive, Number, State};

impl Naive {
    pub(super) fn accept(
        &mut self,
        id: Number,
        source: Number,
        first: u64,
        bodies: &[Bytes],
        is_delivery: bool,
    ) -> Result<Reply, Error> {
        let target = self.targets.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let is_new = !target.accepted.contains_key(&source);
        let accepted = target.accepted.entry(source).or_default();
        if is_delivery || is_new {
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

    pub(super) fn moves_settled(
        &mut self,
        id: Number,
        target: Number,
        through: u64,
    ) -> Result<(), Error> {
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

    pub(super) fn move_failed(
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

    pub(super) fn return_moves(&mut self, id: Number, target: Number) -> Result<(), Error> {
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
