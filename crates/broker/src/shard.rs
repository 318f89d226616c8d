//! A shard: the queues that live on it, and on shard 0 the catalog.
//!
//! The same entries in the same order give the same shard everywhere, also when one was restored
//! from a snapshot in between. This file takes entries and questions apart; `home` holds the queues
//! and `catalog` the names.

use crate::{
    attributes::{Acknowledge, QueueAttributes},
    catalog::Catalog,
    codec::{self, Batch, Bodies, Encoded, View},
    command::{Answer, Command, Destination, Effect, Lane, NodeRecord, Placed, Query, Reply, Seen},
    error::Error,
    fingerprint::Fingerprint,
    id::{QueueId, Sequence, ShardId, SubscriptionId},
    limits, moment,
    op::{QueueCounts, QueueTotals},
    queue::NumberedBodies,
    time::{Millis, Stamp, Timestamp},
    turn::{Turn, WallOffset},
    version::ClusterVersion,
};

mod dropped;
mod home;
mod recovered;
mod sources;
mod state;
mod summary;
mod topics;

use home::Home;

#[derive(Debug, Clone)]
pub struct Shard {
    id: ShardId,
    shards: u16,
    applied: u64,
    now: Timestamp,
    wall: WallOffset,
    /// On shard 0.
    catalog: Option<Catalog>,
    home: Home,
    fingerprint: Fingerprint,
    settled_per_entry: usize,
}

/// What a receive would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receivable {
    NoSuchQueue,
    /// At most this many messages, and at least one.
    Ready(u64),
    Empty,
    /// There are messages, but the queue has as many leases running as it may have.
    InFlightFull,
}

/// All queues of a shard together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub queues: u64,
    pub ready: u64,
    pub leased: u64,
    pub delayed: u64,
    pub retired: u64,
    pub moving: u64,
    /// Of queues that ended, too.
    pub totals: QueueTotals,
    pub topics: u64,
    pub subscriptions: u64,
    /// Messages that wait for a subscriber, counted once for each.
    pub undelivered: u64,
}

impl Shard {
    /// # Panics
    /// If the id is not one of `shards`.
    pub fn new(id: ShardId, shards: u16) -> Self {
        assert!(id.0 < shards, "shard {id:?} is not one of {shards}");
        Self {
            id,
            shards,
            applied: 0,
            now: Timestamp::default(),
            wall: WallOffset::default(),
            catalog: (id == ShardId::CATALOG).then(|| Catalog::new(shards)),
            home: Home::default(),
            fingerprint: Fingerprint::default(),
            settled_per_entry: limits::SETTLED_PER_ENTRY,
        }
    }

    /// For tests: reaches the bound on settled messages with few messages. Not part of the state.
    #[doc(hidden)]
    pub fn set_settled_per_entry(&mut self, settled_per_entry: usize) {
        self.settled_per_entry = settled_per_entry;
    }

    /// For a planted bug: the state is another one from now on, though no client can tell.
    #[cfg(feature = "sabotage")]
    pub fn spoil(&mut self) {
        self.home.ended.sent += 1;
    }

    /// For a planted bug: the same of the catalog, as far as there is something in it.
    #[cfg(feature = "sabotage")]
    pub fn spoil_catalog(&mut self) {
        if let Some(catalog) = &mut self.catalog {
            catalog.spoil();
        }
    }

    /// For tests: looks at everything, and panics if it does not agree.
    #[doc(hidden)]
    pub fn check(&self) {
        self.home.check();
    }

    /// Applies one entry and answers each of its commands, in order. An empty payload is an entry
    /// of the consensus itself. A payload that is no batch changes nothing but `applied`.
    ///
    /// # Panics
    /// If the index is not beyond the last one.
    pub fn apply(
        &mut self,
        index: u64,
        payload: &[u8],
        replies: &mut Vec<Reply>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), codec::Error> {
        assert!(
            index > self.applied,
            "entry {index} comes after entry {}",
            self.applied
        );
        self.applied = index;
        if payload.is_empty() {
            return Ok(());
        }
        let batch = Batch::decode(payload)?;
        self.now = self.now.max(batch.stamp.now).min(moment::LAST);
        self.wall = WallOffset::of(batch.stamp);
        let blocks = std::mem::take(&mut self.home.blocks);
        let mut turn = Turn::new(index, self.now, self.wall, blocks, effects);
        turn.starts = self.now + batch.stamp.blur;
        turn.skips = self.settled_per_entry;
        self.home.settle(self.settled_per_entry, &mut turn);
        self.fingerprint.add_entry(index, payload);
        for command in &batch.commands {
            let reply = self.command(command, &mut turn);
            self.fingerprint.add_reply(&reply);
            replies.push(reply);
        }
        self.home.blocks = turn.blocks;
        self.home.add_to(index, &mut self.fingerprint);
        if let Some(catalog) = &self.catalog {
            catalog.add_to(index, &mut self.fingerprint);
        }
        self.home.schedule_touched();
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "a flat table of kinds")]
    fn command(&mut self, command: &View<'_>, turn: &mut Turn<'_>) -> Reply {
        match *command {
            View::SendMessages {
                queue,
                delay,
                bodies,
            } => {
                let bodies = numbered(bodies, turn);
                self.home
                    .with(queue, |queue| queue.send(delay, &bodies, turn))
            }
            View::SendMessagesOnce {
                queue,
                token,
                delay,
                bodies,
            } => {
                let bodies = numbered(bodies, turn);
                self.home
                    .with(queue, |queue| queue.send_once(token, delay, &bodies, turn))
            }
            View::ReceiveMessages {
                queue,
                max,
                visibility,
            } => self
                .home
                .with(queue, |queue| queue.receive(max, visibility, turn)),
            View::DeleteMessages { queue, receipts } => {
                self.home.with(queue, |queue| queue.delete(&receipts, turn))
            }
            View::ChangeVisibility {
                queue,
                receipts,
                visibility,
            } => self.home.with(queue, |queue| {
                queue.change_visibility(&receipts, visibility, turn)
            }),
            View::AcceptMoved {
                queue,
                source,
                seen,
                first,
                bodies,
            } => {
                let bodies = numbered(bodies, turn);
                self.home.with_source(queue, source, seen, |queue| {
                    queue.accept_moved(source, first, &bodies, turn)
                })
            }
            View::ReturnLeases { queue, receipts } => self
                .home
                .with(queue, |queue| queue.return_leases(&receipts, turn)),
            View::Publish { topic, bodies } => {
                let bodies = numbered(bodies, turn);
                self.home.publish(topic, &bodies, turn)
            }
            View::AcceptPublished {
                queue,
                source,
                seen,
                first,
                bodies,
            } => {
                let bodies = numbered(bodies, turn);
                self.home.with_source(queue, source, seen, |queue| {
                    queue.accept_published(source, first, &bodies, turn)
                })
            }
            View::GiveUp { queue, receipts } => self.home.give_up(queue, &receipts, turn),
            View::Rare(ref command) => self.rare_command(command, turn),
        }
    }

    fn rare_command(&mut self, command: &Command, turn: &mut Turn<'_>) -> Reply {
        match *command {
            Command::PutQueue {
                queue,
                revision,
                ref attributes,
            } => self.home.put(queue, revision, attributes, turn),
            Command::DropQueue { queue, floor } => self.home.drop_queue(queue, floor, turn),
            Command::ClearQueue { queue } => self.home.with(queue, |queue| queue.clear(turn)),
            Command::RewindQueue { queue, to } => {
                self.home.with(queue, |queue| queue.rewind(to, turn))
            }
            Command::MovesSettled {
                queue,
                target,
                through,
            } => self
                .home
                .with(queue, |queue| queue.moves_settled(target, through, turn)),
            Command::ForgetSource {
                queue,
                source,
                seen,
                through,
            } => self.home.forget_source(queue, source, seen, through),
            Command::LaneEnded {
                queue,
                target,
                through,
            } => self.home.lane_ended(queue, target, through),
            Command::ReturnMoves { queue, target } => self
                .home
                .with(queue, |queue| queue.return_moves(target, turn)),
            Command::PutTopic {
                topic,
                revision,
                ref attributes,
            } => self.home.put_topic(topic, revision, attributes, turn),
            Command::DropTopic { topic, floor } => self.home.drop_topic(topic, floor, turn),
            Command::PutSubscription {
                subscription,
                topic,
                revision,
                ref attributes,
            } => self
                .home
                .put_subscription(subscription, topic, revision, attributes, turn),
            Command::DropSubscription {
                subscription,
                floor,
            } => self.home.drop_subscription(subscription, floor, turn),
            Command::MoveFailed {
                queue,
                target,
                number,
                wait_max,
            } => self.home.with(queue, |queue| {
                queue.move_failed(target, number, wait_max, turn)
            }),
            Command::Settle => Reply::Done,
            ref other => match &mut self.catalog {
                Some(catalog) => catalog.apply(other, turn),
                None => Reply::Refused(Error::Unavailable),
            },
        }
    }

    pub fn query(&self, query: &Query) -> Answer {
        match (query, &self.catalog) {
            (Query::Counts { queue }, _) => match self.home.queue(*queue) {
                Some(queue) => Answer::Counts(queue.counts(self.wall)),
                None => Answer::Refused(Error::NoSuchQueue),
            },
            (Query::Room { queue, source }, _) => match self.home.queue(*queue) {
                Some(queue) => Answer::Room(queue.room_for(*source)),
                None => Answer::Refused(Error::NoSuchQueue),
            },
            (Query::TopicCounts { topic }, _) => match self.home.topic_counts(*topic) {
                Ok(counts) => Answer::TopicCounts(counts),
                Err(error) => Answer::Refused(error),
            },
            (Query::SubscriptionCounts { subscription }, _) => {
                match self.home.subscription_counts(*subscription) {
                    Ok(counts) => Answer::SubscriptionCounts(counts),
                    Err(error) => Answer::Refused(error),
                }
            }
            (_, Some(catalog)) => catalog.query(query, self.wall),
            (_, None) => Answer::Refused(Error::Unavailable),
        }
    }

    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How many shards the cluster has.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The index of the last entry that was applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// A hash of everything that was applied and of what came of it: the same on all replicas that have applied the
    /// same, or one of them has gone wrong.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.0
    }

    /// The shard's time and what the wall clock shows at that moment, by the last entry.
    pub fn now(&self) -> Stamp {
        Stamp {
            now: self.now,
            wall: self.wall.wall(self.now),
            blur: Millis(0),
        }
    }

    /// When something becomes due by itself. It may be in the past: then an entry could not settle
    /// everything, and the next one goes on.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.home.next_deadline()
    }

    pub fn attributes(&self, queue: QueueId) -> Option<&QueueAttributes> {
        self.home.queue(queue).map(|queue| &queue.attributes)
    }

    /// Which replicas must have messages for this before a send or publish is answered.
    pub fn acknowledge(&self, to: Destination) -> Acknowledge {
        let policy = match to {
            Destination::Queue(queue) => {
                let attributes = self.attributes(queue);
                attributes.map(|attributes| attributes.acknowledge)
            }
            Destination::Topic(topic) => {
                let topic = self.home.topics.get(&topic);
                topic.map(|topic| topic.attributes.acknowledge)
            }
        };
        policy.unwrap_or_default()
    }

    /// How many copies of messages a command may make: a body for each subscription of the topic that it is
    /// published to, by what is applied so far. Nothing of the state depends on it.
    pub fn copies_of(&self, command: &Encoded) -> u64 {
        let topic = command
            .publishes_to()
            .and_then(|topic| self.home.topics.get(&topic));
        let subscriptions = topic.map_or(0, |topic| topic.subscriptions().len() as u64);
        subscriptions * u64::from(command.messages)
    }

    /// What a receive at this moment of the shard's time would find. Messages that become ready by
    /// then are not seen: [`Shard::next_deadline`] tells of them.
    pub fn receivable(&self, queue: QueueId, now: Timestamp) -> Receivable {
        let Some(queue) = self.home.queue(queue) else {
            return Receivable::NoSuchQueue;
        };
        if !queue.has_receivable(now) {
            return Receivable::Empty;
        }
        // A lease that has ended makes room as soon as it is settled.
        let room = queue.in_flight_room() + u64::from(queue.has_ended_lease(now));
        match queue.ready_len().min(room) {
            0 => Receivable::InFlightFull,
            ready => Receivable::Ready(ready),
        }
    }

    /// The first messages to carry from a queue to others; at most `max` a lane.
    pub fn moves(&self, queue: QueueId, max: usize) -> Vec<Lane> {
        let seen = Seen {
            shard: self.id,
            index: self.applied,
        };
        match self.home.queue(queue) {
            Some(queue) => queue.moves(max, self.now, seen),
            None => self.home.left_lanes(queue, seen),
        }
    }

    /// The subscriptions whose pushers would find something.
    pub fn outboxes_ready(&self) -> Vec<SubscriptionId> {
        self.home.outboxes_ready().collect()
    }

    pub fn queues_with_moves(&self) -> Vec<QueueId> {
        self.home.queues_with_moves().collect()
    }

    /// The queues, topics and subscriptions that live here, by number, and the revision of the catalog that each was told
    /// last.
    pub fn revisions(&self) -> impl Iterator<Item = (u64, u64)> {
        self.home.revisions()
    }

    /// Catalog: everything whose home has not confirmed the latest revision, or the deletion.
    pub fn unsettled(&self) -> Vec<Placed> {
        let catalog = self.catalog.as_ref();
        catalog.map_or_else(Vec::new, Catalog::unsettled)
    }

    /// Catalog: all living queues, topics and subscriptions.
    pub fn routes(&self) -> Vec<Placed> {
        let catalog = self.catalog.as_ref();
        catalog.map_or_else(Vec::new, Catalog::routes)
    }

    /// Catalog: the cluster's nodes in the order of their numbers, the removed ones included.
    pub fn nodes(&self) -> Vec<NodeRecord> {
        let catalog = self.catalog.as_ref();
        catalog.map_or_else(Vec::new, |catalog| catalog.nodes().records(self.wall))
    }

    /// Catalog: the version at which the cluster works.
    pub fn version(&self) -> ClusterVersion {
        let catalog = self.catalog.as_ref();
        catalog.map_or(ClusterVersion::FIRST, |catalog| catalog.nodes().version())
    }

    /// Catalog: the cluster's id; `None` if it was not formed yet.
    pub fn cluster(&self) -> Option<[u8; 16]> {
        self.catalog.as_ref()?.nodes().cluster()
    }

    /// Every message sent by these entries (both included) whose body may still be needed, in order.
    pub fn live_between(&self, first_index: u64, last_index: u64) -> Vec<Sequence> {
        self.home.live_between(first_index, last_index)
    }

    /// Whether [`Shard::live_between`] may find any. Messages are counted by blocks of 64 entries, and all
    /// of a block at either end are asked for; so the answer takes no look at any queue.
    pub fn any_live_between(&self, first_index: u64, last_index: u64) -> bool {
        self.home.any_live_near(first_index, last_index)
    }

    /// Looks at every queue, not at messages.
    pub fn totals(&self) -> Totals {
        self.home.totals()
    }

    /// Every queue's counts. Looks at every queue, not at messages.
    pub fn counts(&self) -> impl Iterator<Item = (QueueId, QueueCounts)> {
        self.home.counts(self.wall)
    }

    /// About how many bytes the queues take in memory; the catalog is not counted.
    pub fn memory_bytes(&self) -> usize {
        self.home.memory_bytes()
    }
}

/// Bodies with the numbers that they have in the entry.
fn numbered<'a>(bodies: Bodies<'a>, turn: &mut Turn<'_>) -> NumberedBodies<'a> {
    let first = turn.number_messages(bodies.count());
    NumberedBodies { bodies, first }
}

#[cfg(test)]
mod tests;
