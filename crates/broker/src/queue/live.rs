//! Which messages are alive between two places of the log.

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

    /// All messages in the other states: those that the shard's blocks count.
    pub(crate) fn unordered_and_moving(&self) -> impl Iterator<Item = Sequence> {
        self.unordered().chain(self.lanes.messages())
    }

    pub(super) fn unordered(&self) -> impl Iterator<Item = Sequence> {
        let late = self.late.iter().map(|(message, _)| message.sequence);
        let leased = self.leases.iter().map(|(_, lease)| lease.message.sequence);
        late.chain(leased).chain(self.delayed.sequences())
    }
}
