//! How messages get from one naive queue to another.

use anser_broker::{
    command::{Effect, Reply},
    error::Error,
    id::{QueueId, Sequence},
};

use super::{Message, Naive, State};

impl Naive {
    pub(crate) fn moves(&self, queue: QueueId) -> Vec<(QueueId, u64, Sequence)> {
        let messages = self
            .queues
            .get(&queue)
            .into_iter()
            .flat_map(|queue| &queue.messages);
        let mut moves: Vec<_> = messages
            .filter_map(|message| match message.state {
                State::Moving { target, number } => Some((target, number, message.sequence)),
                _ => None,
            })
            .collect();
        moves.sort_unstable();
        moves
    }

    pub(super) fn start_move(&mut self, id: QueueId, place: usize) {
        let queue = self.queues.get_mut(&id).unwrap();
        let target = queue.attributes.dead_letter.unwrap().queue;
        let number = queue.numbers.entry(target).or_insert(0);
        *number += 1;
        queue.messages[place].state = State::Moving {
            target,
            number: *number,
        };
        self.effects.push(Effect::MovesPending { queue: id });
    }

    pub(super) fn return_moves(&mut self, id: QueueId, target: QueueId) {
        let is_there = |message: &Message| matches!(message.state, State::Moving { target: to, .. } if to == target);
        while let Some(place) = self.queues[&id].messages.iter().position(is_there) {
            let queue = self.queues.get_mut(&id).unwrap();
            queue.messages[place].deliveries = 0;
            if queue.retention_end(&queue.messages[place]) <= Some(self.now) {
                self.expire(id, place);
            } else {
                self.make_ready(id, place);
            }
        }
        self.announce_end(id, target);
    }

    /// Whoever carries hears of an empty lane into which nothing comes any more.
    pub(super) fn announce_end(&mut self, id: QueueId, target: QueueId) {
        let queue = &self.queues[&id];
        let policy = queue.attributes.dead_letter;
        let is_used = policy.is_some_and(|policy| policy.queue == target);
        let is_there = |message: &Message| matches!(message.state, State::Moving { target: to, .. } if to == target);
        let is_empty = !queue.messages.iter().any(is_there);
        if queue.numbers.contains_key(&target) && !is_used && is_empty {
            self.effects.push(Effect::MovesPending { queue: id });
        }
    }

    pub(super) fn accept(
        &mut self,
        id: QueueId,
        source: QueueId,
        first: u64,
        count: usize,
        ordinal: u32,
    ) -> Result<Reply, Error> {
        let queue = self.queues.get_mut(&id).ok_or(Error::NoSuchQueue)?;
        let known = queue.accepted.get(&source).copied();
        let arrived = known.unwrap_or(first.saturating_sub(1));
        if first > arrived + 1 {
            return Err(Error::Unavailable);
        }
        let mut through = arrived;
        for (number, ordinal) in (first..).zip(ordinal..).take(count) {
            let queue = &self.queues[&id];
            if number == through + 1 && queue.held() < queue.attributes.backlog_max {
                self.store(id, 1, ordinal, State::Ready);
                through = number;
            }
        }
        if through > arrived {
            self.queues
                .get_mut(&id)
                .unwrap()
                .accepted
                .insert(source, through);
        }
        let is_left = (first..).take(count).any(|number| number > through);
        let refused = is_left.then_some(Error::BacklogFull);
        Ok(Reply::Accepted { through, refused })
    }
}
