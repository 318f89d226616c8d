//! The queues that ended on a shard, remembered so that a late word of one does not bring it back.

use std::collections::{BTreeSet, VecDeque};

use crate::{id::QueueId, limits};

#[derive(Debug, Clone, Default)]
pub(super) struct Dropped {
    /// The one dropped longest ago first.
    order: VecDeque<QueueId>,
    known: BTreeSet<QueueId>,
}

impl Dropped {
    /// Remembers a queue, in the place of the one dropped longest ago if they are too many; false if
    /// it is known already.
    pub(super) fn add(&mut self, queue: QueueId) -> bool {
        let is_new = self.known.insert(queue);
        if is_new {
            self.order.push_back(queue);
        }
        if self.order.len() > limits::DROPPED_QUEUES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        is_new
    }

    pub(super) fn contains(&self, queue: QueueId) -> bool {
        self.known.contains(&queue)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = QueueId> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_dropped_longest_ago_is_forgotten() {
        let mut dropped = Dropped::default();
        let (first, second) = (QueueId(u64::MAX), QueueId(u64::MAX - 1));
        assert!(dropped.add(first) && dropped.add(second));
        for queue in (2..limits::DROPPED_QUEUES_MAX as u64).map(QueueId) {
            assert!(dropped.add(queue));
        }
        assert!(!dropped.add(first), "it keeps its place");
        assert!(dropped.contains(first));
        assert!(dropped.add(QueueId(0)));
        assert!(!dropped.contains(first) && dropped.contains(second));
        assert!(dropped.contains(QueueId(2)));
        assert_eq!(dropped.len(), limits::DROPPED_QUEUES_MAX);
        assert_eq!(dropped.iter().next(), Some(second));
    }
}
