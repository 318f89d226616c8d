//! Messages on their way to another queue, from the moment they leave the other states until they have
//! arrived, or until the queue they were for is no more.

use crate::{
    command::{Effect, Lane, Move, Reply, Seen},
    id::QueueId,
    list::MessageList,
    queue::{Passing, Queue, lanes::Moving},
    time::Timestamp,
    turn::Turn,
};

impl Queue {
    /// Puts a message into the lane to the dead-letter queue. There must be a policy.
    pub(super) fn start_move(&mut self, moving: Moving, turn: &mut Turn<'_>) {
        let policy = self.attributes.dead_letter.expect("a dead-letter policy");
        self.push_move(policy.queue, moving, turn);
    }

    /// Puts a message into the lane to another queue.
    pub(super) fn push_move(&mut self, target: QueueId, moving: Moving, turn: &mut Turn<'_>) {
        self.lanes.push(target, moving);
        turn.effect(Effect::MovesPending { queue: self.id });
    }

    pub(crate) fn moves_settled(
        &mut self,
        target: QueueId,
        through: u64,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let arrived = self.lanes.settle(target, through);
        if self.delivers_to(target) {
            self.totals.deleted += arrived.len() as u64;
        } else {
            self.totals.dead_lettered += arrived.len() as u64;
        }
        let arrived = arrived.iter().map(|moving| moving.message.sequence);
        turn.blocks.remove_all(arrived);
        self.announce_end(target, turn);
        self.fill_lane(turn);
        Reply::Done
    }

    /// Makes the messages for a queue that is no more ready again, each as if it had never been
    /// received. Their numbers stay used.
    pub(crate) fn return_moves(&mut self, target: QueueId, turn: &mut Turn<'_>) -> Reply {
        if self.delivers_to(target) {
            // The catalog will say where they go instead.
            return Reply::Done;
        }
        let mut returned = self.lanes.settle(target, u64::MAX);
        // A list takes messages in their order without opening a chunk for each.
        returned.sort_unstable_by_key(|moving| moving.message.sequence);
        let mut ready = MessageList::default();
        for Moving { message, since } in returned {
            if since + self.attributes.retention <= turn.now {
                turn.blocks.remove(message.sequence);
                self.totals.expired += 1;
            } else if since == message.sent {
                ready.insert(message);
            } else {
                let history = None;
                self.make_ready(
                    Passing {
                        message,
                        since,
                        history,
                    },
                    turn,
                );
            }
        }
        if !ready.is_empty() {
            self.ready.absorb(ready);
            self.ready_grew(turn);
        }
        self.announce_end(target, turn);
        Reply::Done
    }

    /// The first moves of each lane, at most `max` a lane, and the lanes that have come to their end.
    pub(crate) fn moves(&self, max: usize, now: Timestamp, seen: Seen) -> Vec<Lane> {
        let ended = self.ended_lanes().map(|(target, through)| Lane {
            ends: Some(through),
            ..Lane::empty(target, seen)
        });
        let lanes = self.lanes.pending().map(|(target, moving)| Lane {
            target,
            is_delivery: self.delivers_to(target),
            has_labels: self.is_outbox(),
            seen,
            ends: None,
            moves: moving
                .take(max)
                .map(|(number, moving)| Move {
                    number,
                    message: moving.message.sequence,
                    is_overdue: self.is_overdue(&moving, now),
                })
                .collect(),
        });
        lanes.chain(ended).collect()
    }

    pub(crate) fn lane_ended(&mut self, target: QueueId, through: u64) -> Reply {
        if !self.uses_lane(target) {
            self.lanes.end(target, through);
        }
        Reply::Done
    }

    /// The queues to which this one has lanes.
    pub(crate) fn targets(&self) -> impl Iterator<Item = QueueId> {
        self.lanes.by_target.keys().copied()
    }

    /// The empty lanes into which nothing comes any more.
    fn ended_lanes(&self) -> impl Iterator<Item = (QueueId, u64)> {
        let empty = self.lanes.empty();
        empty.filter(|(target, _)| !self.uses_lane(*target))
    }

    fn uses_lane(&self, target: QueueId) -> bool {
        let policy = self.attributes.dead_letter;
        self.delivers_to(target) || policy.is_some_and(|policy| policy.queue == target)
    }

    /// Lets it be known if a lane has come to its end.
    pub(super) fn announce_end(&self, target: QueueId, turn: &mut Turn<'_>) {
        if self.ended_lanes().any(|(ended, _)| ended == target) {
            turn.effect(Effect::MovesPending { queue: self.id });
        }
    }

    fn delivers_to(&self, target: QueueId) -> bool {
        self.forwards_to() == Some(target)
    }

    fn is_overdue(&self, moving: &Moving, now: Timestamp) -> bool {
        self.gives_up_by_age(moving.message.sent, now)
            || moving.since + self.attributes.retention <= now
    }

    pub(crate) fn has_moves(&self) -> bool {
        self.lanes.len() > 0 || self.ended_lanes().next().is_some()
    }
}
