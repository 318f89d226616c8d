//! Dead letters on their way: a lane for each queue they go to, numbered without a gap.
//!
//! A number is given once and never taken back, so that the queue at the end of the lane knows by
//! the numbers alone what it has already.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    command::Move,
    id::{QueueId, Sequence},
    list::Waiting,
    time::Timestamp,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Lanes {
    pub(super) by_target: BTreeMap<QueueId, Lane>,
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
        let lane = self.by_target.entry(target).or_default();
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

    /// The first moves to each target, at most `max` a target.
    pub(super) fn pending(&self, max: usize) -> Vec<(QueueId, Vec<Move>)> {
        let lanes = self.by_target.iter();
        lanes
            .filter(|(_, lane)| !lane.pending.is_empty())
            .map(|(target, lane)| (*target, lane.moves().take(max).collect()))
            .collect()
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
    fn moves(&self) -> impl Iterator<Item = Move> {
        let numbers = self.settled.saturating_add(1)..;
        let pending = numbers.zip(&self.pending);
        pending.map(|(number, moving)| Move {
            number,
            message: moving.message.sequence,
        })
    }
}
