//! What of the catalog goes into its shard's fingerprint: by turns how many of each kind there are, and one record, as a state has it.
//! It takes as long for a catalog of ten thousand queues as for an empty one.

use super::{Catalog, state};
use crate::{
    codec::wire::Sink,
    fingerprint::{Fingerprint, by_turns},
    id::{QueueId, SubscriptionId, TopicId},
};

impl Catalog {
    pub(crate) fn add_to(&self, index: u64, fingerprint: &mut Fingerprint) {
        let topics = &self.topics;
        match index % 4 {
            0 => {
                let last = self.queues.last().map_or(0, |(last, _)| last.0);
                let mut from = self.queues.iter_from(&QueueId(by_turns(index, last)));
                if let Some((queue, record)) = from.next() {
                    fingerprint.add_bytes(|sink| state::save_queue(*queue, record, sink));
                }
            }
            1 => {
                let last = topics.living.last_key_value();
                let last = last.map_or(0, |(last, _)| last.0);
                let from = TopicId(by_turns(index, last));
                if let Some((id, topic)) = topics.living.range(from..).next() {
                    fingerprint.add_bytes(|sink| state::save_topic(*id, topic, sink));
                }
            }
            2 => {
                let last = topics.subscriptions.last_key_value();
                let last = last.map_or(0, |(last, _)| last.0);
                let from = SubscriptionId(by_turns(index, last));
                if let Some((id, subscription)) = topics.subscriptions.range(from..).next() {
                    fingerprint.add_bytes(|sink| state::save_subscription(*id, subscription, sink));
                }
            }
            _ => self.add_rest_to(index, fingerprint),
        }
    }

    fn add_rest_to(&self, index: u64, fingerprint: &mut Fingerprint) {
        let (topics, nodes) = (&self.topics, &self.nodes);
        fingerprint.add(self.next);
        for length in [
            self.queues.len(),
            self.ending.len(),
            self.unsettled.len(),
            self.deletions.order.len(),
            topics.living.len(),
            topics.subscriptions.len(),
            topics.ending.len(),
            topics.unsettled.len(),
            topics.deletions.order.len(),
            nodes.all.len(),
        ] {
            fingerprint.add_length(length);
        }
        fingerprint.add(nodes.version.0.into());
        let last = nodes.all.len().saturating_sub(1) as u64;
        let node = usize::try_from(by_turns(index, last)).expect("there are few nodes");
        fingerprint.add_bytes(|sink| {
            sink.option(nodes.cluster.as_ref(), |sink, cluster| sink.put(cluster));
            if let Some(node) = nodes.all.get(node) {
                state::save_node(node, sink);
            }
        });
    }
}
