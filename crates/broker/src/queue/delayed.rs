//! Messages that nobody may see yet, in the order in which something happens to them: they become
//! ready, or their retention ends before that.

use crate::{
    id::Sequence,
    list::Waiting,
    moment::Moment,
    queue::sends::Sends,
    sorted::SortedMap,
    time::{Millis, Timestamp},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Delayed {
    /// When something happens, and one of two times that are told apart by it: a message that will
    /// become ready then has its sending, which was before; a message whose retention ends then has
    /// the later or equal moment at which it would have become ready.
    by_due: SortedMap<(Timestamp, Sequence), Moment>,
    sends: Sends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DelayedMessage {
    pub(super) message: Waiting,
    pub(super) wake: Timestamp,
}

impl Delayed {
    pub(super) fn len(&self) -> u64 {
        self.by_due.len() as u64
    }

    /// `retention` is that of delayed messages: `None` if it begins when they become ready.
    pub(super) fn insert(&mut self, delayed: DelayedMessage, retention: Option<Millis>) {
        let DelayedMessage { message, wake } = delayed;
        let end = retention.map(|retention| message.sent + retention);
        let (due, other) = match end {
            Some(end) if end <= wake => (end, wake),
            _ => (wake, message.sent),
        };
        self.sends.add(message.sent);
        self.by_due.insert((due, message.sequence), other.into());
    }

    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.by_due.first().map(|((due, _), _)| *due)
    }

    /// The message to which something happens first.
    pub(super) fn pop_first(&mut self, retention: Option<Millis>) -> Option<DelayedMessage> {
        let (key, other) = self.by_due.pop_first()?;
        let first = unpack(key, other, retention);
        self.sends.remove(first.message.sent);
        Some(first)
    }

    /// When the delayed message was sent that was sent first.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.sends.oldest()
    }

    pub(super) fn iter(&self, retention: Option<Millis>) -> impl Iterator<Item = DelayedMessage> {
        let items = self.by_due.iter();
        items.map(move |(key, other)| unpack(*key, *other, retention))
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = Sequence> {
        self.by_due.keys().map(|(_, sequence)| *sequence)
    }

    /// The same messages under another retention.
    pub(super) fn with_retention(&self, old: Option<Millis>, new: Option<Millis>) -> Self {
        let mut renewed = Self::default();
        let mut all: Vec<_> = self.iter(old).collect();
        all.sort_unstable_by_key(|delayed| (delayed.wake, delayed.message.sequence));
        for delayed in all {
            renewed.insert(delayed, new);
        }
        renewed
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.by_due.memory_bytes() + self.sends.memory_bytes()
    }
}

fn unpack(
    (due, sequence): (Timestamp, Sequence),
    other: Moment,
    retention: Option<Millis>,
) -> DelayedMessage {
    let other = Timestamp::from(other);
    let (sent, wake) = match retention {
        Some(retention) if other >= due => (Timestamp(due.0.saturating_sub(retention.0)), other),
        _ => (other, due),
    };
    DelayedMessage {
        message: Waiting { sequence, sent },
        wake,
    }
}
