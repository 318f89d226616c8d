//! Dead letters from the moment they leave the other states until they have arrived, or until the
//! queue they were for is no more.

use crate::{
    command::{Effect, Move, Reply},
    id::QueueId,
    list::MessageList,
    queue::{Passing, Queue, lanes::Moving},
    turn::Turn,
};

impl Queue {
    /// Puts a message into the lane to the dead-letter queue. There must be a policy.
    pub(super) fn start_move(&mut self, moving: Moving, turn: &mut Turn<'_>) {
        let policy = self.attributes.dead_letter.expect("a dead-letter policy");
        self.lanes.push(policy.queue, moving);
        turn.blocks.add(moving.message.sequence);
        turn.effect(Effect::MovesPending { queue: self.id });
    }

    pub(crate) fn moves_settled(
        &mut self,
        target: QueueId,
        through: u64,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let arrived = self.lanes.settle(target, through);
        self.totals.dead_lettered += arrived.len() as u64;
        for moving in arrived {
            turn.blocks.remove(moving.message.sequence);
        }
        Reply::Done
    }

    /// Makes the messages for a queue that is no more ready again, each as if it had never been
    /// received. Their numbers stay used.
    pub(crate) fn return_moves(&mut self, target: QueueId, turn: &mut Turn<'_>) -> Reply {
        let mut returned = self.lanes.settle(target, u64::MAX);
        // A list takes messages in their order without opening a chunk for each.
        returned.sort_unstable_by_key(|moving| moving.message.sequence);
        let mut ready = MessageList::default();
        for Moving { message, since } in returned {
            turn.blocks.remove(message.sequence);
            if since + self.attributes.retention <= turn.now {
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
            turn.effect(Effect::QueueReady { queue: self.id });
        }
        Reply::Done
    }

    pub(crate) fn moves(&self, max: usize) -> Vec<(QueueId, Vec<Move>)> {
        self.lanes.pending(max)
    }

    pub(crate) fn has_moves(&self) -> bool {
        self.lanes.len() > 0
    }
}
