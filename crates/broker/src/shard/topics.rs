//! The topics that live on a shard, and what their subscriptions do with the outboxes among its queues.

use std::sync::Arc;

use crate::{
    attributes::{FilterKind, SubscriptionAttributes, TopicAttributes},
    codec::Receipts,
    command::{Reply, SubscriptionCounts, TopicCounts},
    error::Error,
    id::{QueueId, Sequence, SubscriptionId, TopicId},
    labels::{self, Labels},
    limits,
    op::SubscriptionTotals,
    queue::{NumberedBodies, Queue},
    shard::home::Home,
    topic::{self, Subscription, Topic},
    turn::Turn,
};

/// Neighbours among the bodies of a publish that have the same labels, and who wants them.
struct Routed {
    /// The number of the first body in the entry, and how many there are.
    first: u32,
    count: u32,
    wanted_by: Vec<SubscriptionId>,
}

impl Home {
    pub(super) fn put_topic(
        &mut self,
        id: TopicId,
        revision: u64,
        attributes: &TopicAttributes,
        turn: &mut Turn<'_>,
    ) -> Reply {
        if let Err(error) = attributes.check() {
            return Reply::Refused(error);
        }
        let Some(topic) = self.topics.own(&id) else {
            if !self.dropped.contains(id.0) {
                let topic = Topic::new(revision, attributes.clone());
                self.topics.insert(id, Arc::new(topic));
            }
            return Reply::Done;
        };
        if topic.revision < revision {
            topic.revision = revision;
            topic.attributes = attributes.clone();
            let subscriptions = topic.subscriptions().iter();
            let outboxes: Vec<_> = subscriptions
                .map(|(id, subscription)| (*id, topic.outbox(&subscription.attributes)))
                .collect();
            for (subscription, attributes) in outboxes {
                self.with(subscription.outbox(), |queue| {
                    queue.set_attributes(attributes, turn);
                    Reply::Done
                });
            }
        }
        Reply::Done
    }

    pub(super) fn drop_topic(&mut self, id: TopicId, floor: u64, turn: &mut Turn<'_>) -> Reply {
        // A late word of one of its subscriptions names the topic, too.
        self.end(id.0, floor, |home| {
            let topic = home.topics.remove(&id);
            for subscription in topic.iter().flat_map(|topic| topic.subscriptions().keys()) {
                home.topic_of.remove(subscription);
                home.remove(subscription.outbox(), turn);
            }
        })
    }

    pub(super) fn put_subscription(
        &mut self,
        id: SubscriptionId,
        topic_id: TopicId,
        revision: u64,
        attributes: &SubscriptionAttributes,
        turn: &mut Turn<'_>,
    ) -> Reply {
        if let Err(error) = attributes.check() {
            return Reply::Refused(error);
        }
        // Numbers name one thing; one that names another is no subscription's.
        let is_new = match self.topic_of.get(&id) {
            Some(topic) if *topic != topic_id => return Reply::Refused(Error::Unavailable),
            Some(_) => false,
            None if self.queues.contains(&id.outbox()) => {
                return Reply::Refused(Error::Unavailable);
            }
            None => true,
        };
        // A late word of something that ended changes nothing; a topic that is still to come is
        // waited for.
        if is_new && self.dropped.contains(id.0) {
            return Reply::Done;
        }
        let Some(topic) = self.topics.own(&topic_id) else {
            if self.dropped.contains(topic_id.0) {
                return Reply::Done;
            }
            return Reply::Refused(Error::NoSuchTopic);
        };
        let known = topic.subscriptions().get(&id);
        if known.is_some_and(|known| known.revision >= revision) {
            return Reply::Done;
        }
        let given_up = known.map_or(0, |known| known.given_up);
        let outbox = topic.outbox(attributes);
        let subscription = Subscription {
            revision,
            attributes: attributes.clone(),
            given_up,
        };
        topic.put(id, subscription);
        if self.topic_of.insert_new(id, topic_id) {
            let queue = Queue::new(id.outbox(), revision, outbox.clone());
            self.queues.insert(id.outbox(), Arc::new(queue));
        }
        self.with(id.outbox(), |queue| {
            queue.set_attributes(outbox, turn);
            queue.set_role(topic::role(id, attributes), turn);
            Reply::Done
        })
    }

    pub(super) fn drop_subscription(
        &mut self,
        id: SubscriptionId,
        floor: u64,
        turn: &mut Turn<'_>,
    ) -> Reply {
        if !self.topic_of.contains(&id) && self.queues.contains(&id.outbox()) {
            return Reply::Refused(Error::Unavailable);
        }
        self.end(id.0, floor, |home| {
            let topic = home.topic_of.remove(&id);
            if let Some(topic) = topic.and_then(|topic| home.topics.own(&topic)) {
                topic.remove(id);
            }
            home.remove(id.outbox(), turn);
        })
    }

    pub(super) fn publish(
        &mut self,
        id: TopicId,
        bodies: &NumberedBodies<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let routed = match self.route(id, bodies) {
            Ok(routed) => routed,
            Err(error) => return Reply::Refused(error),
        };
        for Routed {
            first,
            count,
            wanted_by,
        } in routed
        {
            for subscription in wanted_by {
                let index = turn.index;
                let messages = (first..first + count).map(|at| Sequence::new(index, at));
                self.with(subscription.outbox(), |outbox| {
                    outbox.publish(messages, turn);
                    Reply::Done
                });
            }
        }
        let count = bodies.bodies.count();
        let messages = (bodies.first..bodies.first + count)
            .map(|ordinal| Sequence::new(turn.index, ordinal))
            .collect();
        Reply::Sent { messages }
    }

    /// Who wants which of the bodies; an error if nobody wants any.
    fn route(&mut self, id: TopicId, bodies: &NumberedBodies<'_>) -> Result<Vec<Routed>, Error> {
        let topic = self.topics.own(&id).ok_or(Error::NoSuchTopic)?;
        let sealed: Vec<&[u8]> = bodies.bodies.iter().collect();
        if !(1..=limits::BATCH_MESSAGES_MAX).contains(&sealed.len()) {
            return Err(Error::BatchSize);
        }
        let mut groups: Vec<(&[u8], Labels, Routed)> = Vec::new();
        let mut bytes = 0;
        for (ordinal, sealed) in (bodies.first..).zip(sealed) {
            if let Some((prefix, _, routed)) = groups.last_mut()
                && let Some(body) = sealed.strip_prefix(*prefix)
            {
                bytes += check_body(body, &topic.attributes)?;
                routed.count += 1;
                continue;
            }
            let (labels, body) = labels::split(sealed).ok_or(Error::AttributeOutOfRange)?;
            bytes += check_body(body, &topic.attributes)?;
            let routed = Routed {
                first: ordinal,
                count: 1,
                wanted_by: Vec::new(),
            };
            groups.push((&sealed[..sealed.len() - body.len()], labels, routed));
        }
        if bytes > limits::BATCH_BYTES_MAX {
            return Err(Error::BatchSize);
        }
        topic.matching_groups(groups)
    }

    pub(super) fn give_up(
        &mut self,
        queue: QueueId,
        receipts: &Receipts<'_>,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let id = SubscriptionId(queue.0);
        let Some(topic) = self.topic_of.get(&id).copied() else {
            return Reply::Refused(Error::NoSuchSubscription);
        };
        let mut is_kept = false;
        let reply = self.with(queue, |queue| {
            is_kept = queue.attributes.dead_letter.is_some();
            queue.give_up(receipts, turn)
        });
        if let (Reply::Each(results), false) = (&reply, is_kept)
            && let Some(topic) = self.topics.own(&topic)
        {
            let given_up = results.iter().filter(|result| result.is_ok()).count();
            topic.count_given_up(id, given_up as u64);
        }
        reply
    }

    pub(super) fn topic_counts(&self, id: TopicId) -> Result<TopicCounts, Error> {
        let topic = self.topics.get(&id).ok_or(Error::NoSuchTopic)?;
        let outboxes = topic.subscriptions().keys();
        let outboxes: Vec<&Queue> = outboxes
            .filter_map(|subscription| self.queue(subscription.outbox()))
            .collect();
        let undelivered = outboxes.iter().map(|outbox| outbox.undelivered());
        let waiting = if undelivered.clone().sum::<u64>() <= limits::UNDELIVERED_COUNTED_MAX {
            let mut messages: Vec<Sequence> = outboxes
                .iter()
                .flat_map(|outbox| outbox.undelivered_messages())
                .collect();
            messages.sort_unstable();
            messages.dedup();
            messages.len() as u64
        } else {
            undelivered.max().unwrap_or(0)
        };
        Ok(TopicCounts {
            waiting,
            published: topic.published,
        })
    }

    pub(super) fn subscription_counts(
        &self,
        id: SubscriptionId,
    ) -> Result<SubscriptionCounts, Error> {
        let topic = self.topic_of.get(&id).and_then(|id| self.topics.get(id));
        let subscription = topic.and_then(|topic| topic.subscriptions().get(&id));
        let subscription = subscription.ok_or(Error::NoSuchSubscription)?;
        let outbox = self.queue(id.outbox()).ok_or(Error::NoSuchSubscription)?;
        Ok(SubscriptionCounts {
            waiting: outbox.undelivered(),
            totals: SubscriptionTotals {
                matched: outbox.totals.sent,
                delivered: outbox.totals.deleted,
                expired: outbox.totals.expired,
                given_up: subscription.given_up,
                dead_lettered: outbox.totals.dead_lettered,
            },
        })
    }

    /// The subscriptions whose pushers would find something.
    pub(super) fn outboxes_ready(&self) -> impl Iterator<Item = SubscriptionId> {
        let outboxes = self.topic_of.keys();
        outboxes.filter_map(|id| self.queue(id.outbox())?.ready_for_pusher())
    }
}

impl Topic {
    fn matching_groups(
        &mut self,
        groups: Vec<(&[u8], Labels, Routed)>,
    ) -> Result<Vec<Routed>, Error> {
        let needs_key = self.attributes.filter == FilterKind::RoutingKey;
        let has_keys = |(_, labels, _): &(&[u8], Labels, Routed)| labels.routing_key.is_some();
        if needs_key && !groups.iter().all(has_keys) {
            return Err(Error::RoutingKeyMissing);
        }
        if self.subscriptions().is_empty() {
            return Err(Error::NoSubscription);
        }
        let mut routed: Vec<Routed> = groups
            .into_iter()
            .map(|(_, labels, routed)| Routed {
                wanted_by: self.matching(&labels),
                ..routed
            })
            .collect();
        routed.retain(|routed| !routed.wanted_by.is_empty());
        if routed.is_empty() {
            return Err(Error::NoSubscriptionMatches);
        }
        let published = routed.iter().map(|routed| u64::from(routed.count));
        self.published += published.sum::<u64>();
        Ok(routed)
    }
}

/// A body's bytes, if there may be so many.
fn check_body(body: &[u8], topic: &TopicAttributes) -> Result<usize, Error> {
    if body.is_empty() {
        return Err(Error::BodyEmpty);
    }
    if body.len() > topic.body_bytes_max as usize {
        return Err(Error::BodyTooLarge);
    }
    Ok(body.len())
}
