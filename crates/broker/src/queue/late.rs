//! Ready messages whose retention counts from a moment after their sending, because they were
//! delayed before: apart from the others, as their retention does not end in the order of sending.

use crate::{
    id::Sequence,
    list::Waiting,
    moment::Moment,
    sorted::{SortedMap, by_value},
    time::Timestamp,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Late {
    by_sequence: SortedMap<Sequence, Times>,
    by_since: SortedMap<(Timestamp, Sequence), ()>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    sent: Moment,
    since: Moment,
}

impl Late {
    pub(super) fn len(&self) -> u64 {
        self.by_sequence.len() as u64
    }

    pub(super) fn insert(&mut self, message: Waiting, since: Timestamp) {
        let times = Times {
            sent: message.sent.into(),
            since: since.into(),
        };
        self.by_sequence.insert(message.sequence, times);
        self.by_since.insert((since, message.sequence), ());
    }

    /// The message sent first, and from when its retention counts.
    pub(super) fn first(&self) -> Option<(Waiting, Timestamp)> {
        self.by_sequence.first().map(by_value).map(unpack)
    }

    /// From when the retention counts that ends first.
    pub(super) fn first_since(&self) -> Option<Timestamp> {
        self.by_since.first().map(|((since, _), ())| *since)
    }

    pub(super) fn pop_first(&mut self) -> Option<(Waiting, Timestamp)> {
        let (message, since) = self.by_sequence.pop_first().map(unpack)?;
        let place = self.by_since.remove(&(since, message.sequence));
        assert!(place.is_some(), "the two maps of late messages disagree");
        Some((message, since))
    }

    /// Takes out the message whose retention ends first.
    pub(super) fn pop_first_since(&mut self) -> Option<(Waiting, Timestamp)> {
        let ((_, sequence), ()) = self.by_since.pop_first()?;
        let times = self.by_sequence.remove(&sequence);
        let times = times.expect("the two maps of late messages disagree");
        Some(unpack((sequence, times)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Waiting, Timestamp)> {
        self.by_sequence.iter().map(by_value).map(unpack)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.by_sequence.memory_bytes() + self.by_since.memory_bytes()
    }
}

fn unpack((sequence, times): (Sequence, Times)) -> (Waiting, Timestamp) {
    let message = Waiting {
        sequence,
        sent: times.sent.into(),
    };
    (message, times.since.into())
}
