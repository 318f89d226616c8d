//! A shard as a snapshot. Drawn in `docs/formats/state.md`.
//!
//! The bytes depend on the entries applied and on nothing else. Lists are written chunk by chunk as
//! they are; what can be worked out from the rest is not written.

use std::sync::Arc;

use crate::{
    catalog::Catalog,
    codec::{
        Error, TopicSink, format,
        wire::{Reader, Sink},
    },
    fingerprint::Fingerprint,
    id::{ShardId, SubscriptionId, TopicId},
    queue::{Queue, restore_totals, save_totals},
    shard::Shard,
    topic::{self, Subscription, Topic},
    turn::WallOffset,
};

const PIECE_BYTES: usize = 64 << 10;

impl Shard {
    /// Writes the whole state in pieces of at most 64 KiB.
    pub fn save(&self, out: &mut dyn FnMut(&[u8])) {
        let mut pieces = Pieces {
            piece: Vec::with_capacity(PIECE_BYTES),
            out,
        };
        self.save_to(&mut pieces);
        pieces.flush();
    }

    fn save_to(&self, sink: &mut impl Sink) {
        sink.u8(format::STATE);
        sink.u16(self.id.0);
        sink.u16(self.shards);
        sink.u64(self.applied);
        sink.u64(self.now.0);
        sink.put(&self.wall.0.to_le_bytes());
        sink.u64(self.fingerprint.0);
        if let Some(catalog) = &self.catalog {
            catalog.save(sink);
        }
        save_totals(&self.home.ended, sink);
        sink.u64(self.home.dropped.floor());
        sink.u64(self.home.dropped.numbers().len() as u64);
        for number in self.home.dropped.numbers() {
            sink.u64(number);
        }
        sink.u64(self.home.queues.len() as u64);
        for queue in self.home.queues.values() {
            queue.save(sink);
        }
        self.save_topics(sink);
        sink.u64(self.home.leaving.len() as u64);
        for (queue, target) in self.home.leaving.keys() {
            sink.u64(queue.0);
            sink.u64(target.0);
        }
        sink.u64(self.home.forgotten.len() as u64);
        for (shard, index) in self.home.forgotten.iter() {
            sink.u16(shard.0);
            sink.u64(*index);
        }
    }

    fn save_topics(&self, sink: &mut impl Sink) {
        sink.u64(self.home.topics.len() as u64);
        for (id, topic) in self.home.topics.iter() {
            save_topic(*id, topic, sink);
            for (id, subscription) in topic.subscriptions().iter() {
                save_subscription(*id, subscription, sink);
            }
        }
    }

    fn restore_topics(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        for _ in 0..reader.long_count(45)? {
            let id = reader.topic()?;
            let revision = reader.u64()?;
            let attributes = reader.acknowledged_topic_attributes()?;
            attributes.check().map_err(|_| Error::BadValue)?;
            let mut topic = Topic::new(revision, attributes);
            topic.published = reader.u64()?;
            for _ in 0..reader.long_count(32)? {
                let subscription_id = reader.subscription()?;
                let subscription = Subscription {
                    revision: reader.u64()?,
                    attributes: reader.subscription_attributes()?,
                    given_up: reader.u64()?,
                };
                self.restore_subscription(id, subscription_id, &subscription)?;
                topic.put(subscription_id, subscription);
            }
            if !self.home.topics.insert_new(id, Arc::new(topic)) {
                return Err(Error::BadValue);
            }
        }
        Ok(())
    }

    fn restore_subscription(
        &mut self,
        topic: TopicId,
        id: SubscriptionId,
        subscription: &Subscription,
    ) -> Result<(), Error> {
        subscription
            .attributes
            .check()
            .map_err(|_| Error::BadValue)?;
        let outbox = self.home.queues.own(&id.outbox());
        let outbox = outbox.ok_or(Error::BadValue)?;
        outbox.restore_role(topic::role(id, &subscription.attributes));
        if !self.home.topic_of.insert_new(id, topic) {
            return Err(Error::BadValue);
        }
        Ok(())
    }

    /// The shard that wrote these bytes.
    pub fn restore(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            format::STATE => {}
            unknown => return Err(Error::UnknownFormat(unknown)),
        }
        let (id, shards) = (reader.shard()?, reader.u16()?);
        if id.0 >= shards || shards > ShardId::LAST.0 + 1 {
            return Err(Error::BadValue);
        }
        let mut shard = Self::new(id, shards);
        shard.applied = reader.u64()?;
        shard.now = reader.timestamp()?;
        shard.wall = WallOffset(reader.u64()?.cast_signed());
        shard.fingerprint = Fingerprint(reader.u64()?);
        if id == ShardId::CATALOG {
            shard.catalog = Some(Catalog::restore(&mut reader, shards)?);
        }
        shard.restore_home(&mut reader)?;
        shard.restore_topics(&mut reader)?;
        shard.restore_sources(&mut reader)?;
        reader.end()?;
        Ok(shard)
    }

    fn restore_sources(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut last = None;
        for _ in 0..reader.long_count(16)? {
            let leaving = (reader.queue()?, reader.queue()?);
            if last >= Some(leaving) || self.home.queues.contains(&leaving.0) {
                return Err(Error::BadValue);
            }
            last = Some(leaving);
            self.home.leaving.insert(leaving, ());
        }
        let mut last = None;
        for _ in 0..reader.long_count(10)? {
            let shard = reader.shard()?;
            if last >= Some(shard) {
                return Err(Error::BadValue);
            }
            last = Some(shard);
            self.home.forgotten.insert(shard, reader.u64()?);
        }
        Ok(())
    }

    fn restore_home(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let home = &mut self.home;
        home.ended = restore_totals(reader)?;
        home.dropped.raise(reader.u64()?);
        let mut last = None;
        for _ in 0..reader.long_count(8)? {
            let number = reader.u64()?;
            if home.dropped.contains(number) || last > Some(number) || !home.dropped.add(number) {
                return Err(Error::BadValue);
            }
            last = Some(number);
        }
        for _ in 0..reader.long_count(64)? {
            let queue = Queue::restore(reader)?;
            home.blocks.add_all(queue.messages());
            let id = queue.id();
            if !home.queues.insert_new(id, Arc::new(queue)) {
                return Err(Error::BadValue);
            }
            home.schedule(id);
        }
        Ok(())
    }
}

/// Gathers bytes into pieces.
struct Pieces<'a> {
    piece: Vec<u8>,
    out: &'a mut dyn FnMut(&[u8]),
}

impl Pieces<'_> {
    fn flush(&mut self) {
        if !self.piece.is_empty() {
            (self.out)(&self.piece);
            self.piece.clear();
        }
    }
}

impl Sink for Pieces<'_> {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = PIECE_BYTES - self.piece.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE_BYTES {
                self.flush();
            }
        }
    }
}

/// Without its subscriptions, which follow.
pub(super) fn save_topic(id: TopicId, topic: &Topic, sink: &mut impl Sink) {
    sink.u64(id.0);
    sink.u64(topic.revision);
    sink.whole_topic_attributes(&topic.attributes);
    sink.u64(topic.published);
    sink.u64(topic.subscriptions().len() as u64);
}

pub(super) fn save_subscription(
    id: SubscriptionId,
    subscription: &Subscription,
    sink: &mut impl Sink,
) {
    sink.u64(id.0);
    sink.u64(subscription.revision);
    sink.subscription_attributes(&subscription.attributes);
    sink.u64(subscription.given_up);
}
