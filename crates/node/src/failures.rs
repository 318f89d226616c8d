//! The last failed deliveries of each subscription, for whoever asks why a subscriber gets nothing.
//! In memory only, and bounded.

use std::{
    collections::VecDeque,
    num::NonZero,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anser_broker::{
    id::{ShardId, SubscriptionId},
    op::DeliveryFailure,
};
use lru::LruCache;

use crate::{
    cluster::words::{Ask, Told},
    node::Node,
};

/// How long a description waits for failures, which it can do without.
const PATIENCE: Duration = Duration::from_secs(1);

const FAILURES_KEPT: usize = 10;
/// Subscriptions with failures; beyond, those are forgotten that have not failed for longest.
const SUBSCRIPTIONS_KEPT: NonZero<usize> = NonZero::new(10_000).expect("not zero");

#[derive(Debug)]
pub(crate) struct Failures(Mutex<LruCache<SubscriptionId, VecDeque<DeliveryFailure>>>);

impl Default for Failures {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(SUBSCRIPTIONS_KEPT)))
    }
}

impl Failures {
    pub(crate) fn add(&self, subscription: SubscriptionId, failure: DeliveryFailure) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get_or_insert_mut(subscription, VecDeque::new);
        kept.truncate(FAILURES_KEPT - 1);
        kept.push_front(failure);
    }

    /// The newest first.
    pub(crate) fn of(&self, subscription: SubscriptionId) -> Vec<DeliveryFailure> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.peek(&subscription);
        kept.map_or_else(Vec::new, |kept| kept.iter().cloned().collect())
    }
}

impl Node {
    /// The last failed pushes of a subscription, from the node that pushes for it: the one that leads its shard.
    /// None if that node does not answer, as after its restart.
    pub(crate) async fn failures_of(
        &self,
        shard: ShardId,
        subscription: SubscriptionId,
    ) -> Vec<DeliveryFailure> {
        let Some(cluster) = &self.desk().cluster else {
            return self.failures().of(subscription);
        };
        match cluster.leaders.of(shard) {
            None => Vec::new(),
            Some(leader) if leader == cluster.node => self.failures().of(subscription),
            Some(leader) => {
                let ask = Ask::Failures { subscription };
                let asked = cluster.ask(leader, &ask);
                match tokio::time::timeout(PATIENCE, asked).await {
                    Ok(Ok(Told::Failures(failures))) => failures,
                    _ => Vec::new(),
                }
            }
        }
    }
}
