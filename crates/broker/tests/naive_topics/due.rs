//! What falls due in the naive topics, and what happens then.

use anser_broker::{
    id::Sequence,
    limits,
    time::{Millis, Timestamp},
};

use super::{Naive, Number, Outbox, State};

impl Naive {
    pub(super) fn retention(&self, id: Number) -> Millis {
        let outbox = self.outboxes.get(&id);
        outbox.map_or(Millis(0), |outbox| {
            self.topics[&outbox.topic].attributes.retention
        })
    }

    /// With a dead-letter queue, a lease may outlast the topic's retention.
    pub(super) fn longer_retention(&self, id: Number) -> Millis {
        let outbox = self.outboxes.get(&id);
        let dead_letter = outbox.and_then(Outbox::dead_letter);
        let longer = dead_letter.map_or(0, |_| limits::VISIBILITY_MAX.0);
        Millis(self.retention(id).0 + longer)
    }

    /// What falls due next: when, in which outbox, of what kind, and the message's place.
    pub(super) fn next_event(&self) -> Option<(Timestamp, Number, (u8, Sequence), usize)> {
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

    pub(super) fn settle(&mut self, id: Number, place: usize, at: Timestamp) {
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
}
