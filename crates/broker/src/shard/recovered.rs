//! A shard that has lost something for good, and no other replica has it: what is left is made to agree with itself and
//! with other shards.
//!
//! None of this is a command: it is done to the state of a shard that does not run and has one replica, which then
//! goes on from a snapshot of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Home, Shard};
use crate::{
    catalog::Catalog,
    command::Reply,
    id::{QueueId, Sequence, SubscriptionId, TopicId},
    turn::Turn,
};

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

    /// The highest number of a queue, topic or subscription that is known here,
    /// or that something here names.
    pub fn highest_number(&self) -> u64 {
        let queues = self.home.queues.keys().map(|id| id.0);
        let topics = self.home.topics.keys().map(|id| id.0);
        let dropped = self.home.dropped.numbers();
        let floor = self.home.dropped.floor().saturating_sub(1);
        let others = self.home.queues.values();
        let others = others.map(|queue| queue.highest_other());
        let leaving = self.home.leaving.keys();
        let leaving = leaving.map(|(queue, target)| queue.0.max(target.0));
        let all = queues.chain(topics).chain(dropped).chain([floor]);
        let all = all.chain(others).chain(leaving);
        all.max().unwrap_or(0)
    }

    /// Ends the queues, topics and subscriptions here whose numbers the catalog does not know, for nobody could reach them
    /// again; by number, how many messages each had.
    pub fn end_unknown(&mut self, known: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
        let here = self.home.revisions().map(|(number, _)| number);
        let unknown = here.filter(|number| !known.contains(number));
        let mut ended: BTreeMap<u64, u64> = unknown
            .map(|number| (number, self.messages(QueueId(number)).len() as u64))
            .collect();
        let blocks = std::mem::take(&mut self.home.blocks);
        let mut effects = Vec::new();
        let mut turn = Turn::new(self.applied, self.now, self.wall, blocks, &mut effects);
        // One that too many ended for is left.
        ended.retain(|&number, _| self.home.end_any(number, &mut turn) == Reply::Done);
        self.home.blocks = turn.blocks;
        ended
    }

    /// On shard 0: what is made next has this number or a higher one.
    pub fn next_number(&self) -> u64 {
        let catalog = self.catalog.as_ref();
        catalog.map_or(0, Catalog::next_number)
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

    /// Each queue here to which something came from another, and which.
    pub fn sources(&self) -> Vec<(QueueId, QueueId)> {
        let queues = self.home.queues.values();
        let sources =
            queues.flat_map(|queue| queue.sources().map(move |source| (queue.id(), source)));
        sources.collect()
    }

    /// How far a queue here knows that its messages have arrived at another; `None` if the queue is not here.
    pub fn settled(&self, source: QueueId, target: QueueId) -> Option<u64> {
        let source = self.home.queue(source)?;
        Some(source.settled_to(target))
    }

    /// Lets a queue go on with what its source sends next: what is behind `settled`, where that is known, and what is
    /// there already is not sent again. A source that is not there any more is forgotten: one that is made anew under its
    /// number begins at 1. Whether anything changed.
    pub fn agree_on_arrival(
        &mut self,
        target: QueueId,
        source: QueueId,
        settled: Option<u64>,
    ) -> bool {
        let Some(target) = self.home.queues.own(&target) else {
            return false;
        };
        match settled {
            Some(through) => target.pass_arrived(source, through),
            None => target.drop_source(source),
        }
    }
}

impl Home {
    /// Ends a topic with its subscriptions, a subscription or a queue.
    fn end_any(&mut self, number: u64, turn: &mut Turn<'_>) -> Reply {
        let (topic, subscription) = (TopicId(number), SubscriptionId(number));
        if self.topics.contains(&topic) {
            self.drop_topic(topic, 0, turn)
        } else if self.topic_of.contains(&subscription) {
            self.drop_subscription(subscription, 0, turn)
        } else {
            self.drop_queue(QueueId(number), 0, turn)
        }
    }
}
