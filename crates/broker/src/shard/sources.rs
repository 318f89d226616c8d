//! Queues that get messages from others, and what both sides forget when a source comes to its end.
//!
//! A queue knows by its number what has arrived from a source. When the source has ended, or sends no more,
//! it says so and is forgotten; the index up to which sources of its shard were so forgotten stays. What
//! comes from an unknown source, seen in an older state than that, may have arrived before and is refused:
//! whoever carries it looks again, and finds the source ended or alive and new.

use crate::{
    command::{Effect, Lane, Reply, Seen},
    error::Error,
    id::QueueId,
    queue::Queue,
    shard::home::Home,
    turn::Turn,
};

impl Home {
    /// Does something with a queue that may take messages of this source.
    pub(super) fn with_source(
        &mut self,
        id: QueueId,
        source: QueueId,
        seen: Seen,
        act: impl FnOnce(&mut Queue) -> Reply,
    ) -> Reply {
        let is_old = self.is_old(seen);
        self.with(id, |queue| {
            if is_old && !queue.knows_source(source) {
                return Reply::Refused(Error::Unavailable);
            }
            act(queue)
        })
    }

    fn is_old(&self, seen: Seen) -> bool {
        let forgotten = self.forgotten.get(&seen.shard);
        forgotten.is_some_and(|index| seen.index < *index)
    }

    pub(super) fn forget_source(
        &mut self,
        id: QueueId,
        source: QueueId,
        seen: Seen,
        through: u64,
    ) -> Reply {
        let reply = self.with(id, |queue| {
            queue.forget_source(source, through);
            Reply::Done
        });
        let index = self.forgotten.entry(&seen.shard);
        *index = seen.index.max(*index);
        reply
    }

    /// Remembers to whom the end of a queue is to be said.
    pub(super) fn take_leave(&mut self, queue: &Queue, turn: &mut Turn<'_>) {
        for target in queue.targets() {
            self.leaving.insert_new((queue.id(), target), ());
            turn.effect(Effect::MovesPending { queue: queue.id() });
        }
    }

    /// The target of a lane has forgotten the queue, or is no more.
    pub(super) fn lane_ended(&mut self, id: QueueId, target: QueueId, through: u64) -> Reply {
        if self.leaving.remove(&(id, target)).is_some() {
            return Reply::Done;
        }
        self.with(id, |queue| queue.lane_ended(target, through))
    }

    /// The lanes of a queue that ended.
    pub(super) fn left_lanes(&self, id: QueueId, seen: Seen) -> Vec<Lane> {
        let lanes = self.leaving.iter_from(&(id, QueueId(0)));
        let lanes = lanes.take_while(|((queue, _), ())| *queue == id);
        let lanes = lanes.map(|((_, target), ())| Lane {
            // Whatever arrived was the last of it.
            ends: Some(u64::MAX),
            ..Lane::empty(*target, seen)
        });
        lanes.collect()
    }
}
