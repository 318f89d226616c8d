//! What of the queues and topics of a shard goes into its fingerprint.

use super::{home::Home, state};
use crate::{
    fingerprint::{Fingerprint, by_turns},
    id::{QueueId, SubscriptionId, TopicId},
};

impl Home {
    /// Adds what an entry has made of the queues here: of those that its commands touched, and of one more, so that
    /// each has its turn though nobody uses it. What seldom changes has its turn too.
    pub(super) fn add_to(&self, index: u64, fingerprint: &mut Fingerprint) {
        fingerprint.add_length(self.queues.len());
        fingerprint.add_length(self.topics.len());
        fingerprint.add_totals(&self.ended);
        let last = self.queues.last().map_or(0, |(last, _)| last.0);
        let one_more = self
            .queues
            .iter_from(&QueueId(by_turns(index, last)))
            .next();
        let one_more = one_more.map(|(_, queue)| &**queue);
        // One that was touched may have ended since.
        let touched = self.touched.iter().filter_map(|id| self.queue(*id));
        for queue in touched.chain(one_more) {
            queue.add_to(fingerprint);
            if index.is_multiple_of(4) {
                queue.add_rest_to(fingerprint);
            }
        }
        match index % 4 {
            1 => self.add_topic_to(index, fingerprint),
            2 => self.add_subscription_to(index, fingerprint),
            3 => self.add_rest_to(fingerprint),
            _ => {}
        }
    }

    fn add_topic_to(&self, index: u64, fingerprint: &mut Fingerprint) {
        let last = self.topics.last().map_or(0, |(last, _)| last.0);
        let mut from = self.topics.iter_from(&TopicId(by_turns(index, last)));
        if let Some((id, topic)) = from.next() {
            fingerprint.add_bytes(|sink| state::save_topic(*id, topic, sink));
        }
    }

    fn add_subscription_to(&self, index: u64, fingerprint: &mut Fingerprint) {
        let last = self.topic_of.last().map_or(0, |(last, _)| last.0);
        let mut from = self
            .topic_of
            .iter_from(&SubscriptionId(by_turns(index, last)));
        let Some((id, topic)) = from.next() else {
            return;
        };
        fingerprint.add(topic.0);
        let topic = self.topics.get(topic);
        if let Some(subscription) = topic.and_then(|topic| topic.subscriptions().get(id)) {
            fingerprint.add_bytes(|sink| state::save_subscription(*id, subscription, sink));
        }
    }

    fn add_rest_to(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add_length(self.topic_of.len());
        fingerprint.add_length(self.leaving.len());
        fingerprint.add_length(self.forgotten.len());
        fingerprint.add_length(self.dropped.numbers().len());
        fingerprint.add(self.dropped.floor());
    }
}
