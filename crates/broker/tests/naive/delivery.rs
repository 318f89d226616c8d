//! What the naive broker does with sends, receives and receipts.

use anser_broker::{
    command::{Delivery, Effect, Reply},
    error::Error,
    id::{QueueId, Sequence},
    time::{Millis, Timestamp},
};

use super::{Message, Naive, Queue, State, TokenSend, check_batch};

impl Naive {
    pub(super) fn send(
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

    pub(super) fn send_once(
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

    pub(super) fn store(
        &mut self,
        id: QueueId,
        count: usize,
        first: u32,
        state: State,
    ) -> Vec<Sequence> {
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

    pub(super) fn receive(
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

    pub(super) fn delete(&mut self, id: QueueId, receipt: Sequence) -> Result<(), Error> {
        let place = self.leased(id, receipt)?;
        let queue = self.queues.get_mut(&id).unwrap();
        queue.totals.deleted += 1;
        queue.messages[place].state = State::Retired;
        if queue.messages[place].sent + queue.attributes.rewind <= self.now {
            queue.messages.remove(place);
        }
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        id: QueueId,
        receipt: Sequence,
        visibility: Millis,
    ) -> Result<(), Error> {
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

    pub(super) fn take_back(&mut self, id: QueueId, receipt: Sequence) -> Result<(), Error> {
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

    pub(super) fn rewind(&mut self, id: QueueId, to: Timestamp) -> Result<Reply, Error> {
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

impl Queue {
    pub(super) fn held(&self) -> u64 {
        let held =
            |message: &&Message| !matches!(message.state, State::Retired | State::Moving { .. });
        self.messages.iter().filter(held).count() as u64
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let held =
            |message: &&Message| !matches!(message.state, State::Retired | State::Moving { .. });
        self.messages
            .iter()
            .filter(held)
            .map(|message| message.sent)
            .min()
    }
}
