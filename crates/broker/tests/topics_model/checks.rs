//! Whether the shard and the naive model agree.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    command::{Answer, Effect, Query},
    error::Error,
    id::{QueueId, Sequence, SubscriptionId, TopicId},
    op::SubscriptionTotals,
    shard::Shard,
};

use super::World;
use crate::naive_topics::Number;

impl World {
    /// How much each outbox has ready for its pusher, and in lanes by the last number given.
    pub(super) fn announced(&self) -> BTreeMap<Number, (BTreeSet<Sequence>, u64)> {
        let outboxes = self.naive.outboxes.iter();
        outboxes
            .map(|(id, outbox)| (*id, (outbox.ready_for_pusher(), outbox.moves_started())))
            .collect()
    }

    /// Whoever has something new to do hears of it.
    pub(super) fn check_announcements(
        &self,
        before: &BTreeMap<Number, (BTreeSet<Sequence>, u64)>,
        effects: &[Effect],
    ) {
        for (id, (ready, moves)) in self.announced() {
            let nothing = (BTreeSet::new(), 0);
            let (ready_before, moves_before) = before.get(&id).unwrap_or(&nothing);
            let subscription = SubscriptionId(id);
            if !ready.is_subset(ready_before) {
                assert!(effects.contains(&Effect::OutboxReady { subscription }));
            }
            let queue = QueueId(id);
            let pending = self.naive.outboxes[&id].has_moves();
            if moves > *moves_before && pending {
                assert!(effects.contains(&Effect::MovesPending { queue }));
            }
        }
    }

    pub(super) fn check(&self) {
        self.shard.check();
        assert_eq!(self.shard.next_deadline(), self.naive.next_deadline());
        let live = self.shard.live_between(0, u64::MAX);
        assert_eq!(live, self.naive.live(), "what is alive");
        let middle = self.shard.applied() / 2;
        let late = live.iter().filter(|message| message.index() >= middle);
        let late: Vec<Sequence> = late.copied().collect();
        assert_eq!(self.shard.live_between(middle, u64::MAX), late);
        let near = live
            .iter()
            .any(|message| message.index() / 64 >= middle / 64);
        assert_eq!(self.shard.any_live_between(middle, u64::MAX), near);
        self.check_topics();
        for id in self.slots.into_iter().flatten() {
            self.check_subscription(id);
        }
        let ready: Vec<u64> = self.shard.outboxes_ready().iter().map(|id| id.0).collect();
        let expected = self.naive.outboxes.iter();
        let expected = expected.filter(|(_, outbox)| !outbox.ready_for_pusher().is_empty());
        assert_eq!(ready, expected.map(|(id, _)| *id).collect::<Vec<_>>());
    }

    fn check_topics(&self) {
        for topic in self.topics {
            let query = Query::TopicCounts {
                topic: TopicId(topic),
            };
            let counts = match self.shard.query(&query) {
                Answer::TopicCounts(counts) => Ok((counts.waiting, counts.published)),
                Answer::Refused(error) => Err(error),
                other => panic!("{other:?}"),
            };
            assert_eq!(counts, self.naive.topic_counts(topic));
        }
    }

    fn check_subscription(&self, id: Number) {
        let query = Query::SubscriptionCounts {
            subscription: SubscriptionId(id),
        };
        let lanes = self.shard.moves(QueueId(id), usize::MAX);
        let moves = lanes.iter().flat_map(|lane| {
            let moves = lane.moves.iter();
            moves.map(|one| {
                (
                    lane.target.0,
                    one.number,
                    one.message,
                    lane.is_delivery,
                    one.is_overdue,
                )
            })
        });
        let moves: Vec<_> = moves.collect();
        let Some(outbox) = self.naive.outboxes.get(&id) else {
            assert_eq!(
                self.shard.query(&query),
                Answer::Refused(Error::NoSuchSubscription)
            );
            assert_eq!(moves, []);
            return;
        };
        let Answer::SubscriptionCounts(counts) = self.shard.query(&query) else {
            panic!("no counts of {id}")
        };
        assert_eq!(counts.totals, outbox.totals, "totals of {id}");
        assert_eq!(counts.waiting, outbox.waiting(), "waiting in {id}");
        assert_eq!(moves, self.naive.moves(id), "moves of {id}");
        let dead = moves
            .iter()
            .filter(|(_, _, _, is_delivery, _)| !is_delivery);
        let SubscriptionTotals {
            matched,
            delivered,
            expired,
            given_up,
            dead_lettered,
        } = counts.totals;
        assert_eq!(
            matched,
            counts.waiting + delivered + expired + given_up + dead_lettered + dead.count() as u64,
            "each message is in one place"
        );
    }

    pub(super) fn restore(&mut self) {
        let bytes = save(&self.shard);
        crate::model::restore_damaged(&bytes, usize::try_from(self.now).unwrap() % 97, 97);
        self.shard = Shard::restore(&bytes).unwrap();
        assert_eq!(
            save(&self.shard),
            bytes,
            "a restored shard saves to other bytes"
        );
        self.check();
    }
}

fn save(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    bytes
}
