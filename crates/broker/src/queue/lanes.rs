//! Messages on their way to other queues: a lane for each queue they go to, numbered without a gap.
//!
//! A number is given once and never taken back, so that the queue at the end of the lane knows by
//! the numbers alone what it has already. A lane that comes after one that ended goes on beyond the
//! numbers of all that ended, so that this holds although neither side remembers the one before.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    id::{QueueId, Sequence},
    list::Waiting,
    time::Timestamp,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Lanes {
    pub(super) by_target: BTreeMap<QueueId, Lane>,
    /// The largest number in lanes that are no more.
    pub(super) ended: u64,
    len: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    /// The last number that arrived or was passed over.
    pub(super) settled: u64,
    /// The messages with the numbers after it.
    pub(super) pending: VecDeque<Moving>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Moving {
    pub(super) message: Waiting,
    /// From when its retention would count if it came back.
    pub(super) since: Timestamp,
}

impl Lanes {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn push(&mut self, target: QueueId, moving: Moving) {
        self.len += 1;
        let lane = self.by_target.entry(target).or_insert_with(|| Lane {
            settled: self.ended,
            pending: VecDeque::new(),
        });
        lane.pending.push_back(moving);
    }

    /// Ends the moves to `target` up to a number and gives them.
    pub(super) fn settle(&mut self, target: QueueId, through: u64) -> Vec<Moving> {
        let Some(lane) = self.by_target.get_mut(&target) else {
            return Vec::new();
        };
        let arrived = through.saturating_sub(lane.settled);
        let arrived = usize::try_from(arrived).unwrap_or(usize::MAX);
        let arrived = arrived.min(lane.pending.len());
        lane.settled += arrived as u64;
        self.len -= arrived as u64;
        let arrived = lane.pending.drain(..arrived).collect();
        lane.pending.shrink_to(2 * lane.pending.len());
        arrived
    }

    /// Takes out the first message to `target` if it has this number, which stays used.
    pub(super) fn pass_over(&mut self, target: QueueId, number: u64) -> Option<Moving> {
        let lane = self.by_target.get_mut(&target)?;
        if lane.settled.checked_add(1) != Some(number) {
            return None;
        }
        let passed = lane.pending.pop_front()?;
        lane.settled = number;
        self.len -= 1;
        Some(passed)
    }

    /// The lanes with messages, and these with their numbers.
    pub(super) fn pending(
        &self,
    ) -> impl Iterator<Item = (QueueId, impl Iterator<Item = (u64, Moving)>)> {
        let lanes = self.by_target.iter();
        lanes
            .filter(|(_, lane)| !lane.pending.is_empty())
            .map(|(target, lane)| (*target, lane.numbered()))
    }

    /// Forgets a lane to a queue that is no more, and gives what was in it.
    pub(super) fn close(&mut self, target: QueueId) -> VecDeque<Moving> {
        let lane = self.by_target.remove(&target).unwrap_or_default();
        self.len -= lane.pending.len() as u64;
        lane.pending
    }

    /// Forgets a lane if nothing is in it and nothing came into it beyond this number.
    pub(super) fn end(&mut self, target: QueueId, through: u64) {
        let lane = self.by_target.get(&target);
        if lane.is_some_and(|lane| lane.pending.is_empty() && lane.settled == through) {
            self.by_target.remove(&target);
            self.ended = self.ended.max(through);
        }
    }

    /// The lanes without messages, and the last number of each.
    pub(super) fn empty(&self) -> impl Iterator<Item = (QueueId, u64)> {
        let lanes = self.by_target.iter();
        let empty = lanes.filter(|(_, lane)| lane.pending.is_empty());
        empty.map(|(target, lane)| (*target, lane.settled))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lanes = self.by_target.values();
        let pending = lanes.map(|lane| lane.pending.capacity() * size_of::<Moving>());
        pending.sum()
    }

    pub(super) fn len_to(&self, target: QueueId) -> u64 {
        let lane = self.by_target.get(&target);
        lane.map_or(0, |lane| lane.pending.len() as u64)
    }

    pub(super) fn messages_to(&self, target: QueueId) -> impl Iterator<Item = Sequence> {
        let lane = self.by_target.get(&target).into_iter();
        let moving = lane.flat_map(|lane| &lane.pending);
        moving.map(|moving| moving.message.sequence)
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = Sequence> {
        let lanes = self.by_target.values();
        let moving = lanes.flat_map(|lane| &lane.pending);
        moving.map(|moving| moving.message.sequence)
    }

    pub(super) fn add_restored(&mut self, target: QueueId, lane: Lane) {
        self.len += lane.pending.len() as u64;
        self.by_target.insert(target, lane);
    }
}

impl Lane {
    fn numbered(&self) -> impl Iterator<Item = (u64, Moving)> {
        let numbers = self.settled.saturating_add(1)..;
        numbers.zip(self.pending.iter().copied())
    }
}
