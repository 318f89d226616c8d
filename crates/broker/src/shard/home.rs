//! The queues that live on a shard, and the order in which they have something to do.
//!
//! `deadlines` holds each queue that waits for a moment, under its next one. During an entry it lags
//! behind for the queues the entry touches; their places are renewed at its end.

use std::{collections::BTreeSet, iter, sync::Arc};

use crate::{
    attributes::QueueAttributes,
    blocks::{self, Blocks},
    command::Reply,
    error::Error,
    id::{QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    op::{QueueCounts, QueueTotals},
    queue::Queue,
    shard::{Totals, dropped::Dropped},
    sorted::SortedMap,
    time::Timestamp,
    topic::Topic,
    turn::{Turn, WallOffset},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Home {
    /// The outboxes of subscriptions are among them.
    pub(super) queues: SortedMap<QueueId, Arc<Queue>>,
    pub(super) topics: SortedMap<TopicId, Arc<Topic>>,
    pub(super) topic_of: SortedMap<SubscriptionId, TopicId>,
    deadlines: SortedMap<(Timestamp, QueueId), ()>,
    pub(super) touched: Vec<QueueId>,
    /// Every message of every queue.
    pub(super) blocks: Blocks,
    /// What happened in queues that ended.
    pub(super) ended: QueueTotals,
    /// Queues that ended and the targets that do not know it yet.
    pub(super) leaving: SortedMap<(QueueId, QueueId), ()>,
    /// The index up to which sources on a shard were forgotten by queues here.
    pub(super) forgotten: SortedMap<ShardId, u64>,
    /// What ended here, so that it does not come back.
    pub(super) dropped: Dropped,
}

impl Home {
    pub(super) fn queue(&self, queue: QueueId) -> Option<&Queue> {
        self.queues.get(&queue).map(|queue| &**queue)
    }

    /// Does something with a queue that may change its deadline.
    pub(super) fn with(&mut self, id: QueueId, act: impl FnOnce(&mut Queue) -> Reply) -> Reply {
        let Some(queue) = self.queues.own(&id) else {
            return Reply::Refused(Error::NoSuchQueue);
        };
        if !queue.touched {
            queue.touched = true;
            self.touched.push(id);
        }
        act(queue)
    }

    pub(super) fn put(
        &mut self,
        id: QueueId,
        revision: u64,
        attributes: &QueueAttributes,
        turn: &mut Turn<'_>,
    ) -> Reply {
        if let Err(error) = attributes.check() {
            return Reply::Refused(error);
        }
        if self.is_outbox(id) {
            return Reply::Refused(Error::Unavailable);
        }
        if self.queues.contains(&id) {
            return self.with(id, |queue| {
                let is_newer = queue.revision < revision;
                #[cfg(feature = "sabotage")]
                let is_newer = is_newer || crate::sabotage::is_planted("older attributes win");
                if is_newer {
                    queue.revision = revision;
                    queue.set_attributes(attributes.clone(), turn);
                }
                Reply::Done
            });
        }
        if !self.dropped.contains(id.0) {
            let queue = Queue::new(id, revision, attributes.clone());
            self.queues.insert(id, Arc::new(queue));
        }
        Reply::Done
    }

    /// What is here, by number, and the revision that it was told last.
    pub(super) fn revisions(&self) -> impl Iterator<Item = (u64, u64)> {
        let queues = self.queues.iter().map(|(id, queue)| (id.0, queue.revision));
        let queues = queues.filter(|&(number, _)| !self.is_outbox(QueueId(number)));
        let topics = self.topics.iter();
        queues.chain(topics.flat_map(|(id, topic)| {
            let subscriptions = topic.subscriptions().iter();
            let subscriptions =
                subscriptions.map(|(id, subscription)| (id.0, subscription.revision));
            iter::once((id.0, topic.revision)).chain(subscriptions)
        }))
    }

    /// Ends a queue that is no subscription's.
    pub(super) fn drop_queue(&mut self, id: QueueId, floor: u64, turn: &mut Turn<'_>) -> Reply {
        if self.is_outbox(id) {
            return Reply::Refused(Error::Unavailable);
        }
        self.end(id.0, floor, |home| home.remove(id, turn))
    }

    /// Ends what has this number, so that it does not come back.
    pub(super) fn end(&mut self, number: u64, floor: u64, remove: impl FnOnce(&mut Self)) -> Reply {
        self.dropped.raise(floor);
        if !self.dropped.add(number) {
            return Reply::Refused(Error::Busy);
        }
        remove(self);
        Reply::Done
    }

    fn is_outbox(&self, id: QueueId) -> bool {
        self.topic_of.contains(&SubscriptionId(id.0))
    }

    pub(super) fn remove(&mut self, id: QueueId, turn: &mut Turn<'_>) {
        if let Some(queue) = self.queues.remove(&id) {
            if let Some(deadline) = queue.scheduled {
                self.deadlines.remove(&(deadline, id));
            }
            queue.end(turn);
            self.take_leave(&queue, turn);
            if !queue.is_outbox() {
                self.ended = sum_of_totals(self.ended, queue.totals);
            }
        }
    }

    /// Settles what fell due, the earliest first, up to a number of messages.
    pub(super) fn settle(&mut self, messages_max: usize, turn: &mut Turn<'_>) {
        let mut messages = 0;
        while let Some((&(deadline, id), ())) = self.deadlines.first() {
            if deadline > turn.now || messages == messages_max {
                break;
            }
            let queue = self.queues.own(&id).expect("a scheduled queue lives");
            while let Some((next, due)) = queue.next_due() {
                if next > deadline || messages == messages_max {
                    break;
                }
                queue.settle(next, due, turn);
                messages += 1;
            }
            self.schedule(id);
        }
    }

    pub(super) fn schedule_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.schedule(id);
        }
        self.touched = touched;
    }

    /// Renews a queue's place among the deadlines.
    pub(super) fn schedule(&mut self, id: QueueId) {
        // A queue that was touched may have ended since.
        let Some(queue) = self.queues.own(&id) else {
            return;
        };
        queue.touched = false;
        let next = queue.next_deadline();
        if next == queue.scheduled {
            return;
        }
        if let Some(old) = queue.scheduled {
            let was_there = self.deadlines.remove(&(old, id));
            assert!(was_there.is_some(), "a queue's deadline was not scheduled");
        }
        if let Some(next) = next {
            self.deadlines.insert((next, id), ());
        }
        queue.scheduled = next;
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|((deadline, _), ())| *deadline)
    }

    pub(super) fn queues_with_moves(&self) -> impl Iterator<Item = QueueId> {
        let queues = self.queues.iter();
        let moving = queues.filter(|(_, queue)| queue.has_moves());
        let leaving = self.leaving.keys().map(|(queue, _)| *queue);
        moving.map(|(id, _)| *id).chain(leaving)
    }

    pub(super) fn live_between(&self, first_index: u64, last_index: u64) -> Vec<Sequence> {
        let counted = self.blocks.sum(first_index, last_index);
        if counted == 0 {
            return Vec::new();
        }
        // Whole blocks, so that the count says whether other states need a look: it is at every message.
        let (first, last) = places(blocks::whole(first_index, last_index));
        let queues = self.queues.values();
        let ordered = queues.flat_map(|queue| queue.ordered_between(first, last));
        let mut live: Vec<Sequence> = ordered.collect();
        if (live.len() as u64) < counted {
            let queues = self.queues.values();
            let unordered = queues.flat_map(|queue| queue.unordered_and_moving());
            live.extend(unordered.filter(|message| (first..=last).contains(message)));
        }
        let (first, last) = places((first_index, last_index));
        live.retain(|message| (first..=last).contains(message));
        live.sort_unstable();
        // Several outboxes may have one message.
        live.dedup();
        live
    }

    pub(super) fn any_live_near(&self, first_index: u64, last_index: u64) -> bool {
        self.blocks.any(first_index, last_index)
    }

    pub(super) fn totals(&self) -> Totals {
        let outboxes = self.queues.values().filter(|queue| queue.is_outbox());
        let start = Totals {
            topics: self.topics.len() as u64,
            subscriptions: self.topic_of.len() as u64,
            undelivered: outboxes.map(|outbox| outbox.undelivered()).sum(),
            totals: self.ended,
            ..Totals::default()
        };
        let queues = self.queues.values().filter(|queue| !queue.is_outbox());
        queues.fold(start, |sum, queue| {
            let counts = queue.counts(WallOffset::default());
            Totals {
                queues: sum.queues + 1,
                ready: sum.ready + counts.ready,
                leased: sum.leased + counts.leased,
                delayed: sum.delayed + counts.delayed,
                retired: sum.retired + counts.retired,
                moving: sum.moving + counts.moving,
                totals: sum_of_totals(sum.totals, queue.totals),
                ..sum
            }
        })
    }

    pub(super) fn counts(&self, wall: WallOffset) -> impl Iterator<Item = (QueueId, QueueCounts)> {
        let queues = self.queues.iter();
        queues.map(move |(id, queue)| (*id, queue.counts(wall)))
    }

    /// For tests: what is kept beside the queues agrees with them.
    ///
    /// # Panics
    /// If not.
    pub(super) fn check(&self) {
        let mut blocks = Blocks::default();
        let mut deadlines = BTreeSet::new();
        for (id, queue) in self.queues.iter() {
            queue.check();
            deadlines.extend(queue.next_deadline().map(|deadline| (deadline, *id)));
            blocks.add_all(queue.messages());
        }
        for (subscription, topic) in self.topic_of.iter() {
            let topic = self.topics.get(topic);
            let known = topic.is_some_and(|topic| topic.subscriptions().contains(subscription));
            let outbox = self.queue(subscription.outbox());
            let outbox = outbox.is_some_and(Queue::is_outbox);
            assert!(known && outbox, "a subscription is half there");
        }
        let outboxes = self.queues.values().filter(|queue| queue.is_outbox());
        assert_eq!(
            outboxes.count(),
            self.topic_of.len(),
            "an outbox is nobody's"
        );
        assert!(
            blocks.agrees_with(&self.blocks),
            "the counts by block are wrong"
        );
        assert!(
            deadlines.iter().eq(self.deadlines.keys()),
            "the order of deadlines is wrong"
        );
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let queues = self.queues.values().map(|queue| queue.memory_bytes());
        self.blocks.memory_bytes() + queues.sum::<usize>()
    }
}

/// The places of the first and the last message that these entries may have sent.
fn places((first_index, last_index): (u64, u64)) -> (Sequence, Sequence) {
    (
        Sequence::new(first_index, 0),
        Sequence::new(
            last_index.min(Sequence::INDEX_LAST),
            Sequence::PER_ENTRY - 1,
        ),
    )
}

fn sum_of_totals(one: QueueTotals, other: QueueTotals) -> QueueTotals {
    QueueTotals {
        sent: one.sent + other.sent,
        received: one.received + other.received,
        deleted: one.deleted + other.deleted,
        expired: one.expired + other.expired,
        dead_lettered: one.dead_lettered + other.dead_lettered,
        cleared: one.cleared + other.cleared,
        rewound: one.rewound + other.rewound,
    }
}
