//! The catalog in a snapshot: what cannot be worked out from the rest.

use std::sync::Arc;

use crate::{
    catalog::{Catalog, Record, deletions::Deletions, nodes::Place, topics},
    codec::{
        Error, NodeSink, TopicSink,
        wire::{Reader, Sink},
    },
    command::{NodeRecord, Placed, PlacedQueue, PlacedSubscription, PlacedTopic},
    id::{AccountId, NodeId, QueueId, SubscriptionId, TopicId},
    limits,
};

impl Catalog {
    pub(crate) fn save(&self, sink: &mut impl Sink) {
        sink.u64(self.next);
        sink.u64(self.queues.len() as u64);
        for (queue, record) in self.queues.iter() {
            save_queue(*queue, record, sink);
        }
        sink.u64(self.ending.len() as u64);
        for (queue, placed) in self.ending.iter() {
            sink.u64(queue.0);
            sink.u64(placed.account.0);
            sink.name(&placed.name);
            sink.u16(placed.shard.0);
            sink.u64(placed.revision);
        }
        sink.u64(self.unsettled.len() as u64);
        for queue in self.unsettled.keys() {
            sink.u64(queue.0);
        }
        save_deletions(&self.deletions, sink);
        self.save_topics(sink);
        self.save_nodes(sink);
        sink.u32(self.nodes.version.0);
    }

    fn save_nodes(&self, sink: &mut impl Sink) {
        sink.option(self.nodes.cluster.as_ref(), |sink, cluster| {
            sink.put(cluster);
        });
        sink.u64(self.nodes.all.len() as u64);
        for node in &self.nodes.all {
            save_node(node, sink);
        }
    }

    fn save_topics(&self, sink: &mut impl Sink) {
        let topics = &self.topics;
        sink.u64(topics.living.len() as u64);
        for (id, topic) in &topics.living {
            save_topic(*id, topic, sink);
        }
        sink.u64(topics.subscriptions.len() as u64);
        for (id, subscription) in &topics.subscriptions {
            save_subscription(*id, subscription, sink);
        }
        sink.u64(topics.ending.len() as u64);
        for placed in topics.ending.values() {
            save_ending(placed, sink);
        }
        sink.u64(topics.unsettled.len() as u64);
        for number in &topics.unsettled {
            sink.u64(*number);
        }
        save_deletions(&topics.deletions, sink);
    }

    pub(crate) fn restore(reader: &mut Reader<'_>, shards: u16) -> Result<Self, Error> {
        let mut catalog = Self::new(shards);
        catalog.next = reader.u64()?;
        for _ in 0..reader.long_count(64)? {
            let queue = reader.queue()?;
            let record = Record {
                account: reader.account()?,
                name: reader.name()?,
                shard: reader.shard()?,
                revision: reader.u64()?,
                attributes: reader.acknowledged_attributes()?,
                created: reader.timestamp()?,
                modified: reader.timestamp()?,
            };
            catalog.check_restored(queue, &record)?;
            catalog.insert(queue, record);
        }
        catalog.check_policies()?;
        for _ in 0..reader.long_count(28)? {
            let queue = reader.queue()?;
            let placed = PlacedQueue {
                account: reader.account()?,
                name: reader.name()?,
                queue,
                shard: reader.shard()?,
                revision: reader.u64()?,
                attributes: None,
                floor: 0,
            };
            if catalog.queues.contains(&queue) || queue.0 >= catalog.next {
                return Err(Error::BadValue);
            }
            if !catalog.ending.insert_new(queue, placed) {
                return Err(Error::BadValue);
            }
        }
        for _ in 0..reader.long_count(8)? {
            let queue = reader.queue()?;
            if !catalog.queues.contains(&queue) && !catalog.ending.contains(&queue) {
                return Err(Error::BadValue);
            }
            catalog.unsettled.insert_new(queue, ());
        }
        restore_deletions(Arc::make_mut(&mut catalog.deletions), reader)?;
        catalog.restore_topics(reader)?;
        catalog.restore_nodes(reader)?;
        catalog.nodes.version = reader.version()?;
        Ok(catalog)
    }

    fn check_restored(&self, queue: QueueId, record: &Record) -> Result<(), Error> {
        let is_new = self.queues.last().is_none_or(|(last, _)| *last < queue);
        let is_valid = queue.0 < self.next
            && usize::from(record.shard.0) < self.loads.len()
            && self.find(record.account, &record.name).is_none()
            && record.attributes.check().is_ok();
        if is_new && is_valid {
            Ok(())
        } else {
            Err(Error::BadValue)
        }
    }

    fn check_policies(&self) -> Result<(), Error> {
        let all_live = self.sources.keys().all(|queue| self.queues.contains(queue));
        if all_live {
            Ok(())
        } else {
            Err(Error::BadValue)
        }
    }

    fn restore_topics(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        for _ in 0..reader.long_count(56)? {
            let id = reader.topic()?;
            let topic = topics::Topic {
                account: reader.account()?,
                name: reader.topic_name()?,
                shard: reader.shard()?,
                revision: reader.u64()?,
                attributes: reader.acknowledged_topic_attributes()?,
                created: reader.timestamp()?,
                modified: reader.timestamp()?,
            };
            self.check_topic(id, &topic)?;
            self.loads[usize::from(topic.shard.0)] += 1;
            self.topics.insert(id, topic);
        }
        for _ in 0..reader.long_count(54)? {
            let id = reader.subscription()?;
            let subscription = topics::Subscription {
                topic: reader.topic()?,
                name: reader.subscription_name()?,
                revision: reader.u64()?,
                attributes: reader.subscription_attributes()?,
                created: reader.timestamp()?,
                modified: reader.timestamp()?,
            };
            self.check_subscription(id, &subscription)?;
            self.topics.insert_subscription(id, subscription);
        }
        for _ in 0..reader.long_count(28)? {
            let placed = restore_ending(reader)?;
            let number = placed.number();
            if number >= self.next || self.is_alive(number) {
                return Err(Error::BadValue);
            }
            self.topics.ending.insert(number, placed);
        }
        for _ in 0..reader.long_count(8)? {
            let number = reader.u64()?;
            if !self.is_alive(number) && !self.topics.ending.contains_key(&number) {
                return Err(Error::BadValue);
            }
            self.topics.unsettled.insert(number);
        }
        restore_deletions(&mut self.topics.deletions, reader)
    }

    fn restore_nodes(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        self.nodes.cluster = reader.option(Reader::array)?;
        let count = reader.long_count(61)?;
        if count > limits::NODES_MAX as u64 {
            return Err(Error::BadValue);
        }
        for number in 1..=count {
            let node = NodeRecord {
                node: NodeId(number),
                incarnation: reader.array()?,
                address: reader.text()?.to_owned(),
                host: reader.text()?.to_owned(),
                zone: reader.text()?.to_owned(),
                state: reader.node_state()?,
                start: reader.node_start()?,
                added: reader.timestamp()?,
            };
            let place = Place {
                address: &node.address,
                host: &node.host,
                zone: &node.zone,
            };
            let mut others = self.nodes.all.iter();
            if !place.fits() || others.any(|other| other.incarnation == node.incarnation) {
                return Err(Error::BadValue);
            }
            self.nodes.all.push(node);
        }
        Ok(())
    }

    /// Whether there is a topic or a subscription of this number.
    fn is_alive(&self, number: u64) -> bool {
        let (topic, subscription) = (TopicId(number), SubscriptionId(number));
        self.topics.living.contains_key(&topic)
            || self.topics.subscriptions.contains_key(&subscription)
    }

    fn check_topic(&self, id: TopicId, topic: &topics::Topic) -> Result<(), Error> {
        let last = self.topics.living.last_key_value();
        let is_valid = last.is_none_or(|(last, _)| *last < id)
            && id.0 < self.next
            && usize::from(topic.shard.0) < self.loads.len()
            && self.topics.find(topic.account, &topic.name).is_err()
            && topic.attributes.check().is_ok();
        if is_valid {
            Ok(())
        } else {
            Err(Error::BadValue)
        }
    }

    fn check_subscription(
        &self,
        id: SubscriptionId,
        subscription: &topics::Subscription,
    ) -> Result<(), Error> {
        let topic = self.topics.living.get(&subscription.topic);
        let topic = topic.ok_or(Error::BadValue)?;
        let is_new = self
            .topics
            .find_subscription(topic.account, &topic.name, &subscription.name)
            .is_err();
        let last = self.topics.subscriptions.last_key_value();
        let dead_letter = subscription.attributes.dead_letter;
        let is_valid = is_new
            && last.is_none_or(|(last, _)| *last < id)
            && id.0 < self.next
            && dead_letter.is_none_or(|queue| self.queues.contains(&queue))
            && subscription.attributes.check().is_ok();
        if is_valid {
            Ok(())
        } else {
            Err(Error::BadValue)
        }
    }
}

pub(super) fn save_queue(queue: QueueId, record: &Record, sink: &mut impl Sink) {
    sink.u64(queue.0);
    sink.u64(record.account.0);
    sink.name(&record.name);
    sink.u16(record.shard.0);
    sink.u64(record.revision);
    sink.whole_attributes(&record.attributes);
    sink.u64(record.created.0);
    sink.u64(record.modified.0);
}

pub(super) fn save_topic(id: TopicId, topic: &topics::Topic, sink: &mut impl Sink) {
    sink.u64(id.0);
    sink.u64(topic.account.0);
    sink.short_text(topic.name.as_str());
    sink.u16(topic.shard.0);
    sink.u64(topic.revision);
    sink.whole_topic_attributes(&topic.attributes);
    sink.u64(topic.created.0);
    sink.u64(topic.modified.0);
}

pub(super) fn save_subscription(
    id: SubscriptionId,
    subscription: &topics::Subscription,
    sink: &mut impl Sink,
) {
    sink.u64(id.0);
    sink.u64(subscription.topic.0);
    sink.short_text(subscription.name.as_str());
    sink.u64(subscription.revision);
    sink.subscription_attributes(&subscription.attributes);
    sink.u64(subscription.created.0);
    sink.u64(subscription.modified.0);
}

pub(super) fn save_node(node: &NodeRecord, sink: &mut impl Sink) {
    sink.put(&node.incarnation);
    sink.slice(node.address.as_bytes());
    sink.slice(node.host.as_bytes());
    sink.slice(node.zone.as_bytes());
    sink.node_state(node.state);
    sink.node_start(node.start);
    sink.u64(node.added.0);
}

fn save_ending(placed: &Placed, sink: &mut impl Sink) {
    match placed {
        Placed::Topic(topic) => {
            sink.u8(1);
            sink.u64(topic.topic.0);
            sink.u64(topic.account.0);
            sink.short_text(topic.name.as_str());
        }
        Placed::Subscription(subscription) => {
            sink.u8(2);
            sink.u64(subscription.subscription.0);
            sink.u64(subscription.account.0);
            sink.u64(subscription.topic.0);
            sink.short_text(subscription.topic_name.as_str());
            sink.short_text(subscription.name.as_str());
        }
        Placed::Queue(_) => unreachable!("queues that end are kept elsewhere"),
    }
    sink.u16(placed.shard().0);
    sink.u64(placed.revision());
}

fn restore_ending(reader: &mut Reader<'_>) -> Result<Placed, Error> {
    let kind = reader.u8()?;
    let number = reader.u64()?;
    let account: AccountId = reader.account()?;
    Ok(match kind {
        1 => Placed::Topic(PlacedTopic {
            account,
            name: reader.topic_name()?,
            topic: TopicId(number),
            shard: reader.shard()?,
            revision: reader.u64()?,
            attributes: None,
            floor: 0,
        }),
        2 => Placed::Subscription(Box::new(PlacedSubscription {
            account,
            topic: reader.topic()?,
            topic_name: reader.topic_name()?,
            subscription: SubscriptionId(number),
            name: reader.subscription_name()?,
            shard: reader.shard()?,
            revision: reader.u64()?,
            attributes: None,
            floor: 0,
        })),
        _ => return Err(Error::BadValue),
    })
}

fn save_deletions(deletions: &Deletions, sink: &mut impl Sink) {
    sink.u64(deletions.order.len() as u64);
    for deletion in &deletions.order {
        sink.u64(deletion.account.0);
        sink.slice(deletion.name.as_bytes());
        sink.u64(deletion.at.0);
    }
}

fn restore_deletions(deletions: &mut Deletions, reader: &mut Reader<'_>) -> Result<(), Error> {
    let count = reader.long_count(20)?;
    if count > limits::DELETED_NAMES_MAX as u64 {
        return Err(Error::BadValue);
    }
    for _ in 0..count {
        let account = reader.account()?;
        let name = std::str::from_utf8(reader.slice()?).map_err(|_| Error::BadValue)?;
        deletions.add(account, name.to_owned(), reader.timestamp()?);
    }
    Ok(())
}
