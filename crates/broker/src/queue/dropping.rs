//! Messages whose bodies are lost end at once, whatever state they are in.

use std::collections::BTreeSet;

use super::{Queue, delayed::Delayed, late::Late};
use crate::{
    blocks::Blocks,
    id::{QueueId, Sequence},
    list::MessageList,
};

impl Queue {
    /// Ends these messages; how many there were. Like those of a queue that is cleared they count as such.
    pub(crate) fn drop_messages(&mut self, lost: &BTreeSet<Sequence>, blocks: &mut Blocks) -> u64 {
        let dropped: Vec<Sequence> = self.messages().filter(|it| lost.contains(it)).collect();
        if dropped.is_empty() {
            return 0;
        }
        let waiting = self.ready_len() + self.leases.len() + self.delayed.len();
        self.ready = without(&self.ready, lost);
        self.retired = without(&self.retired, lost);
        self.drop_late_and_delayed(lost);
        for message in lost {
            self.histories.remove(message);
        }
        let leases = self.leases.iter();
        let leases = leases.filter(|(_, lease)| lost.contains(&lease.message.sequence));
        let receipts: Vec<Sequence> = leases.map(|(receipt, _)| receipt).collect();
        for receipt in receipts {
            self.leases.end(receipt, self.attributes.retention);
        }
        self.drop_moving(lost);
        let left = self.ready_len() + self.leases.len() + self.delayed.len();
        self.totals.cleared += waiting - left;
        blocks.remove_all(dropped.iter().copied());
        dropped.len() as u64
    }

    /// Numbers in lanes go on so much higher.
    pub(crate) fn pass_numbers(&mut self, numbers: u64) {
        self.lanes.ended += numbers;
        for lane in self.lanes.by_target.values_mut() {
            lane.settled += numbers;
        }
    }

    /// The last number to a queue of which this one knows that it arrived; a new lane to it begins behind it.
    pub(crate) fn settled_to(&self, target: QueueId) -> u64 {
        let lane = self.lanes.by_target.get(&target);
        lane.map_or(self.lanes.ended, |lane| lane.settled)
    }

    /// From whom something has arrived here.
    pub(crate) fn sources(&self) -> impl Iterator<Item = QueueId> {
        self.accepted.iter().map(|(source, _)| source)
    }

    /// Counts all up to a number as arrived from a source; whether that is new.
    pub(crate) fn pass_arrived(&mut self, source: QueueId, through: u64) -> bool {
        let arrived = self.accepted.from(source);
        let is_new = arrived.is_some_and(|arrived| arrived < through);
        if is_new {
            self.accepted.set(source, through);
        }
        is_new
    }

    /// Forgets a source that is no more; whether it was known.
    pub(crate) fn drop_source(&mut self, source: QueueId) -> bool {
        self.accepted.forget(source)
    }

    /// The highest number of another queue that is known here; 0 if none is.
    pub(crate) fn highest_other(&self) -> u64 {
        let targets = self.lanes.by_target.keys().copied();
        let letters = self.attributes.dead_letter.iter().map(|it| it.queue);
        let all = targets.chain(letters).chain(self.sources());
        all.map(|queue| queue.0).max().unwrap_or(0)
    }

    fn drop_late_and_delayed(&mut self, lost: &BTreeSet<Sequence>) {
        let mut late = Late::default();
        for (message, since) in self.late.iter() {
            if !lost.contains(&message.sequence) {
                late.insert(message, since);
            }
        }
        self.late = late;
        let retention = self.delayed_retention();
        let mut delayed = Delayed::default();
        for message in self.delayed.iter(retention) {
            if !lost.contains(&message.message.sequence) {
                delayed.insert(message, retention);
            }
        }
        self.delayed = delayed;
    }

    /// A lane that loses messages numbers the others anew, behind all numbers that were used: under an old one a
    /// message could pass for another that has arrived. So one that has arrived, and nobody here knows it, comes again.
    fn drop_moving(&mut self, lost: &BTreeSet<Sequence>) {
        let targets: Vec<_> = self.lanes.pending().map(|(target, _)| target).collect();
        for target in targets {
            if !self.lanes.messages_to(target).any(|it| lost.contains(&it)) {
                continue;
            }
            let moving = self.lanes.settle(target, u64::MAX);
            for moving in moving {
                if !lost.contains(&moving.message.sequence) {
                    self.lanes.push(target, moving);
                }
            }
        }
    }
}

fn without(list: &MessageList, lost: &BTreeSet<Sequence>) -> MessageList {
    let mut kept = MessageList::default();
    for message in list.iter() {
        if !lost.contains(&message.sequence) {
            kept.insert(message);
        }
    }
    kept
}
