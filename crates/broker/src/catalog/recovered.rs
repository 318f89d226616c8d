//! A catalog, or homes, that have lost the last of their commands: what they know of each other must agree again.

use std::sync::Arc;

use super::Catalog;

/// Above all revisions that anything can have had.
const REVISIONS_PASSED: u64 = 1 << 32;
/// More queues and topics than were placed while no other shard heard of any.
const NUMBERS_PASSED: u64 = 1 << 20;

impl Catalog {
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Says everything anew to all homes, under revisions that no home has heard of; `number` and those below it are
    /// given to nothing new.
    pub(crate) fn tell_all_again(&mut self, number: u64) {
        let known = self.next.max(number.saturating_add(1));
        self.next = known.saturating_add(NUMBERS_PASSED);
        let queues: Vec<_> = self.queues.keys().copied().collect();
        for queue in queues {
            let record = self.queues.get_mut(&queue).expect("it was just seen");
            Arc::make_mut(record).revision += REVISIONS_PASSED;
            self.unsettled.insert_new(queue, ());
        }
        let ending: Vec<_> = self.ending.keys().copied().collect();
        for queue in ending {
            let placed = self.ending.get_mut(&queue).expect("it was just seen");
            placed.revision += REVISIONS_PASSED;
        }
        self.topics.tell_all_again(REVISIONS_PASSED);
    }
}

impl super::topics::Topics {
    fn tell_all_again(&mut self, revisions: u64) {
        for (id, topic) in &mut self.living {
            topic.revision += revisions;
            self.unsettled.insert(id.0);
        }
        for (id, subscription) in &mut self.subscriptions {
            subscription.revision += revisions;
            self.unsettled.insert(id.0);
        }
    }
}
