//! A shard that has lost something for good, and no other replica has it: what is left is made to agree with itself and
//! with other shards.
//!
//! None of this is a command: it is done to the state of a shard that does not run and has one replica, which then
//! goes on from a snapshot of it.

use std::collections::BTreeSet;

use super::Shard;
use crate::id::{QueueId, Sequence};

/// More messages than any lane had while its source went on from an older state.
const NUMBERS_PASSED: u64 = 1 << 40;

impl Shard {
    /// Every message of a queue, in no order. Looks at each.
    pub fn messages(&self, queue: QueueId) -> Vec<Sequence> {
        let queue = self.home.queue(queue);
        queue.map_or_else(Vec::new, |queue| queue.messages().collect())
    }

    /// Ends messages of a queue whose bodies nobody has any more; how many there were.
    pub fn drop_messages(&mut self, queue: QueueId, lost: &BTreeSet<Sequence>) -> u64 {
        let Some(owned) = self.home.queues.own(&queue) else {
            return 0;
        };
        let dropped = owned.drop_messages(lost, &mut self.home.blocks);
        self.home.schedule(queue);
        dropped
    }

    /// The highest number of a queue, topic or subscription that is known here.
    pub fn highest_number(&self) -> u64 {
        let queues = self.home.queues.keys().map(|id| id.0);
        let topics = self.home.topics.keys().map(|id| id.0);
        let dropped = self.home.dropped.numbers();
        let floor = self.home.dropped.floor().saturating_sub(1);
        let all = queues.chain(topics).chain(dropped).chain([floor]);
        all.max().unwrap_or(0)
    }

    /// On shard 0, once any shard has lost commands: every home is told again what there is, and `number` and those
    /// below it are not used again.
    pub fn tell_homes_again(&mut self, number: u64) {
        if let Some(catalog) = &mut self.catalog {
            catalog.tell_all_again(number);
        }
    }

    /// Once this shard has lost commands: what goes to other queues from now on is not taken for what went there, and
    /// was forgotten here.
    pub fn pass_numbers(&mut self) {
        let queues: Vec<QueueId> = self.home.queues.keys().copied().collect();
        for id in queues {
            if let Some(queue) = self.home.queues.own(&id) {
                queue.pass_numbers(NUMBERS_PASSED);
            }
        }
    }
}
