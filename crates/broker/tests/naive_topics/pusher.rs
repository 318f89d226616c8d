//! What the naive topics give to pushers and to those who receive, and what these say of it.

use anser_broker::{
    command::{Command, Delivery, Reply},
    error::Error,
    id::Sequence,
    limits,
    retry::RetryStrategy,
    time::Millis,
};

use super::{Message, Naive, Number, State};

impl Naive {
    pub(super) fn receive(
        &mut self,
        id: Number,
        max: usize,
        visibility: Millis,
    ) -> Result<Reply, Error> {
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
    pub(super) fn receipts(&mut self, command: &Command) -> Result<Reply, Error> {
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
}

pub(super) fn check_max(queue: Number, max: u32, naive: &Naive) -> Result<(), Error> {
    if !naive.targets.contains_key(&queue) && !naive.outboxes.contains_key(&queue) {
        return Err(Error::NoSuchQueue);
    }
    if (1..=limits::BATCH_MESSAGES_MAX).contains(&(max as usize)) {
        Ok(())
    } else {
        Err(Error::BatchSize)
    }
}
