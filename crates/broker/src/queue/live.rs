//! Which messages are alive between two places of the log.

use std::collections::BTreeSet;

use crate::{id::Sequence, queue::Queue};

impl Queue {
    /// The messages in states whose order is that of sending.
    pub(crate) fn ordered_between(
        &self,
        first: Sequence,
        last: Sequence,
    ) -> impl Iterator<Item = Sequence> {
        let ready = self.ready.between(first, last);
        let retired = self.retired.between(first, last);
        ready.chain(retired).map(|message| message.sequence)
    }

    /// Every message that is alive.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Sequence> {
        self.kept().chain(self.lanes.messages())
    }

    /// Every message but those that have left for another queue.
    pub(super) fn kept(&self) -> impl Iterator<Item = Sequence> {
        let ordered = self.ready.iter().chain(self.retired.iter());
        let ordered = ordered.map(|message| message.sequence);
        ordered.chain(self.unordered())
    }

    /// The messages in states that have another order.
    pub(crate) fn unordered_and_moving(&self) -> impl Iterator<Item = Sequence> {
        self.unordered().chain(self.lanes.messages())
    }

    pub(super) fn unordered(&self) -> impl Iterator<Item = Sequence> {
        let late = self.late.iter().map(|(message, _)| message.sequence);
        let leased = self.leases.iter().map(|(_, lease)| lease.message.sequence);
        late.chain(leased).chain(self.delayed.sequences())
    }

    /// For tests: each message is in one state, histories are those of ready messages, and tokens are
    /// in order.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn check(&self) {
        let mut states = BTreeSet::new();
        for message in self.messages() {
            assert!(states.insert(message), "{message:?} is in two states");
        }
        let held = self.ready_len() + self.leases.len() + self.delayed.len();
        let all = held + self.retired.len() + self.lanes.len();
        assert_eq!(states.len() as u64, all, "a count is wrong");
        let ready = self.ready.iter().map(|message| message.sequence);
        let late = self.late.iter().map(|(message, _)| message.sequence);
        let ready: BTreeSet<_> = ready.chain(late).collect();
        self.tokens.check();
        for message in self.histories.keys() {
            assert!(
                ready.contains(message),
                "{message:?} has a history and is not ready"
            );
        }
    }
}
