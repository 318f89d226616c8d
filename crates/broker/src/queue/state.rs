//! A queue in a snapshot. Drawn in `docs/formats/state.md`.

use std::collections::VecDeque;

use crate::{
    codec::{
        Error,
        wire::{Reader, Sink},
    },
    id::{QueueId, Sequence},
    limits,
    list::{MessageList, Waiting},
    op::QueueTotals,
    queue::{
        DelayedMessage, History, Lease, Queue,
        lanes::{Lane, Moving},
        tokens::TokenSend,
    },
    time::Timestamp,
};

impl Queue {
    pub(crate) fn save(&self, sink: &mut impl Sink) {
        sink.u64(self.id.0);
        sink.u64(self.revision);
        sink.whole_attributes(&self.attributes);
        save_totals(&self.totals, sink);
        self.ready.save(sink);
        self.retired.save(sink);
        sink.u64(self.late.len());
        for (message, since) in self.late.iter() {
            save_waiting(message, sink);
            sink.u64(since.0);
        }
        sink.u64(self.histories.len() as u64);
        for (sequence, history) in self.histories.iter() {
            sink.u64(sequence.number());
            sink.u64(Timestamp::from(history.first_received).0);
            sink.u32(history.deliveries);
        }
        sink.u64(self.delayed.len());
        for delayed in self.delayed.iter(self.delayed_retention()) {
            save_waiting(delayed.message, sink);
            sink.u64(delayed.wake.0);
        }
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("no leases in snapshots") {
            sink.u64(0);
            self.save_lanes(sink);
            return self.save_tokens(sink);
        }
        sink.u64(self.leases.len());
        for (receipt, lease) in self.leases.iter() {
            sink.u64(receipt.number());
            save_waiting(lease.message, sink);
            sink.u64(lease.since.0);
            sink.u64(lease.first_received.0);
            sink.u64(lease.deadline.0);
            sink.u32(lease.deliveries);
        }
        self.save_lanes(sink);
        self.save_tokens(sink);
    }

    fn save_tokens(&self, sink: &mut impl Sink) {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("no tokens in snapshots") {
            return sink.u64(0);
        }
        sink.u64(self.tokens.len() as u64);
        for send in self.tokens.iter() {
            sink.put(&send.token);
            sink.u64(send.first.number());
            sink.u8(send.messages);
            sink.u64(send.at.0);
        }
    }

    fn save_lanes(&self, sink: &mut impl Sink) {
        sink.u64(self.lanes.ended);
        sink.u64(self.lanes.by_target.len() as u64);
        for (target, lane) in &self.lanes.by_target {
            sink.u64(target.0);
            sink.u64(lane.settled);
            sink.u64(lane.pending.len() as u64);
            for moving in &lane.pending {
                save_waiting(moving.message, sink);
                sink.u64(moving.since.0);
            }
        }
        sink.u64(self.accepted.len() as u64);
        for (source, through) in self.accepted.iter() {
            sink.u64(source.0);
            sink.u64(through);
        }
    }

    pub(crate) fn restore(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let id = reader.queue()?;
        let revision = reader.u64()?;
        let attributes = reader.acknowledged_attributes()?;
        attributes.check().map_err(|_| Error::BadValue)?;
        let mut queue = Self::new(id, revision, attributes);
        queue.totals = restore_totals(reader)?;
        queue.ready = MessageList::restore(reader)?;
        queue.retired = MessageList::restore(reader)?;
        let mut order = Ascending::default();
        for _ in 0..reader.long_count(24)? {
            let message = restore_waiting(reader)?;
            order.check(message.sequence.number())?;
            queue.late.insert(message, restore_time(reader)?);
        }
        let mut order = Ascending::default();
        for _ in 0..reader.long_count(20)? {
            let sequence = reader.sequence()?;
            order.check(sequence.number())?;
            let first_received = restore_time(reader)?.into();
            let deliveries = reader.u32()?;
            if deliveries == 0 {
                return Err(Error::BadValue);
            }
            let history = History {
                first_received,
                deliveries,
            };
            queue.histories.insert(sequence, history);
        }
        queue.restore_delayed(reader)?;
        queue.restore_leases(reader)?;
        queue.restore_lanes(reader)?;
        queue.restore_tokens(reader)?;
        Ok(queue)
    }

    fn restore_tokens(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let count = reader.long_count(33)?;
        if count > limits::TOKENS_MAX as u64 {
            return Err(Error::BadValue);
        }
        let mut order = Ascending::default();
        let mut latest = Timestamp(0);
        for _ in 0..count {
            let send = TokenSend {
                token: reader.array()?,
                first: reader.sequence()?,
                messages: reader.u8()?,
                at: restore_time(reader)?,
            };
            order.check(send.first.number())?;
            let end = send.first.ordinal() + u32::from(send.messages);
            let fits = (1..=limits::BATCH_MESSAGES_MAX).contains(&usize::from(send.messages))
                && end <= Sequence::PER_ENTRY;
            if !fits || send.at < latest || self.tokens.knows(send.token) {
                return Err(Error::BadValue);
            }
            latest = send.at;
            self.tokens.add(send);
        }
        Ok(())
    }

    fn restore_delayed(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let retention = self.delayed_retention();
        // Saved in the order in which they are due, which makes equal messages neighbours.
        let mut previous = None;
        for _ in 0..reader.long_count(24)? {
            let message = restore_waiting(reader)?;
            let wake = restore_time(reader)?;
            let end = retention.map_or(wake, |retention| message.sent + retention);
            let due = (wake.min(end), message.sequence);
            if previous >= Some(due) || wake <= message.sent {
                return Err(Error::BadValue);
            }
            previous = Some(due);
            self.delayed
                .insert(DelayedMessage { message, wake }, retention);
        }
        Ok(())
    }

    fn restore_leases(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut order = Ascending::default();
        let count = reader.long_count(52)?;
        let mut leases = Vec::new();
        for _ in 0..count {
            let receipt = reader.sequence()?;
            order.check(receipt.number())?;
            let lease = Lease {
                message: restore_waiting(reader)?,
                since: restore_time(reader)?,
                first_received: restore_time(reader)?,
                deadline: restore_time(reader)?,
                deliveries: reader.u32()?,
            };
            if lease.deliveries == 0 {
                return Err(Error::BadValue);
            }
            leases.push((receipt, lease));
        }
        let mut messages: Vec<_> = leases
            .iter()
            .map(|(_, lease)| lease.message.sequence)
            .collect();
        messages.sort_unstable();
        if !messages.is_sorted_by(|left, right| left < right) {
            return Err(Error::BadValue);
        }
        // Each may still be taken back.
        if self.totals.received < leases.len() as u64 {
            return Err(Error::BadValue);
        }
        for (receipt, lease) in leases {
            self.leases.grant(receipt, lease, self.attributes.retention);
        }
        Ok(())
    }

    fn restore_lanes(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        self.lanes.ended = reader.u64()?;
        let mut order = Ascending::default();
        for _ in 0..reader.long_count(24)? {
            let target = reader.queue()?;
            order.check(target.0)?;
            let settled = reader.u64()?;
            let mut pending = VecDeque::new();
            for _ in 0..reader.long_count(24)? {
                pending.push_back(Moving {
                    message: restore_waiting(reader)?,
                    since: restore_time(reader)?,
                });
            }
            self.lanes.add_restored(target, Lane { settled, pending });
        }
        let mut order = Ascending::default();
        for _ in 0..reader.long_count(16)? {
            let source: QueueId = reader.queue()?;
            order.check(source.0)?;
            self.accepted.set(source, reader.u64()?);
        }
        Ok(())
    }
}

/// Refuses numbers that do not ascend.
#[derive(Debug, Default)]
struct Ascending(Option<u64>);

impl Ascending {
    fn check(&mut self, number: u64) -> Result<(), Error> {
        if self.0 >= Some(number) {
            return Err(Error::BadValue);
        }
        self.0 = Some(number);
        Ok(())
    }
}

/// A time that fits the six bytes in which it is kept.
fn restore_time(reader: &mut Reader<'_>) -> Result<Timestamp, Error> {
    let time = reader.timestamp()?;
    if time.0 >> 48 == 0 {
        Ok(time)
    } else {
        Err(Error::BadValue)
    }
}

fn save_waiting(message: Waiting, sink: &mut impl Sink) {
    sink.u64(message.sequence.number());
    sink.u64(message.sent.0);
}

fn restore_waiting(reader: &mut Reader<'_>) -> Result<Waiting, Error> {
    Ok(Waiting {
        sequence: reader.sequence()?,
        sent: restore_time(reader)?,
    })
}

pub(crate) fn save_totals(totals: &QueueTotals, sink: &mut impl Sink) {
    let QueueTotals {
        sent,
        received,
        deleted,
        expired,
        dead_lettered,
        cleared,
        rewound,
    } = *totals;
    for total in [
        sent,
        received,
        deleted,
        expired,
        dead_lettered,
        cleared,
        rewound,
    ] {
        sink.u64(total);
    }
}

pub(crate) fn restore_totals(reader: &mut Reader<'_>) -> Result<QueueTotals, Error> {
    Ok(QueueTotals {
        sent: reader.u64()?,
        received: reader.u64()?,
        deleted: reader.u64()?,
        expired: reader.u64()?,
        dead_lettered: reader.u64()?,
        cleared: reader.u64()?,
        rewound: reader.u64()?,
    })
}
