//! This node's copy of where each queue and topic lives and of who subscribed over HTTP, kept by what
//! the catalog's shard says.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};

use anser_broker::{
    attributes::Endpoint,
    command::{Placed, PlacedQueue, PlacedSubscription, PlacedTopic},
    id::{AccountId, QueueId, ShardId, SubscriptionId, TopicId},
    name::{QueueName, TopicName},
    outboxes::Subscriber,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub queue: QueueId,
    pub shard: ShardId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRoute {
    pub topic: TopicId,
    pub shard: ShardId,
}

/// A subscription over HTTP, and the shard of its outbox.
#[derive(Debug, Clone)]
pub struct SubscriberRoute {
    pub subscriber: Arc<Subscriber>,
    pub shard: ShardId,
    revision: u64,
}

#[derive(Debug, Default)]
pub struct Routes {
    maps: RwLock<Maps>,
    version: AtomicU64,
}

/// Looked up for every request, and never walked.
#[expect(clippy::disallowed_types, reason = "no order of theirs is ever seen")]
type HashMap<Key, Value> = std::collections::HashMap<Key, Value>;

#[derive(Debug, Default)]
struct Maps {
    by_name: HashMap<(AccountId, String), Route>,
    by_queue: HashMap<QueueId, ShardId>,
    topics: HashMap<(AccountId, String), TopicRoute>,
    subscribers: HashMap<SubscriptionId, SubscriberRoute>,
}

impl Routes {
    pub fn find(&self, account: AccountId, name: &QueueName) -> Option<Route> {
        self.read().by_name.get(&(account, name.folded())).copied()
    }

    pub fn shard_of(&self, queue: QueueId) -> Option<ShardId> {
        self.read().by_queue.get(&queue).copied()
    }

    pub fn find_topic(&self, account: AccountId, name: &TopicName) -> Option<TopicRoute> {
        self.read().topics.get(&(account, name.folded())).copied()
    }

    pub fn subscriber(&self, subscription: SubscriptionId) -> Option<SubscriberRoute> {
        self.read().subscribers.get(&subscription).cloned()
    }

    pub fn change(&self, placed: &Placed) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.change(placed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Differs whenever anything has changed in between.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Forgets everything but this.
    pub fn replace(&self, all: &[Placed]) {
        let mut maps = Maps::default();
        for placed in all {
            maps.change(placed);
        }
        *self.maps.write().unwrap_or_else(PoisonError::into_inner) = maps;
        self.version.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    fn change(&mut self, placed: &Placed) {
        match placed {
            Placed::Queue(placed) => self.change_queue(placed),
            Placed::Topic(placed) => self.change_topic(placed),
            Placed::Subscription(placed) => self.change_subscription(placed),
        }
    }

    fn change_queue(&mut self, placed: &PlacedQueue) {
        let key = (placed.account, placed.name.folded());
        let route = Route {
            queue: placed.queue,
            shard: placed.shard,
        };
        if placed.attributes.is_some() {
            self.by_name.insert(key, route);
            self.by_queue.insert(placed.queue, placed.shard);
        } else {
            if self.by_name.get(&key) == Some(&route) {
                self.by_name.remove(&key);
            }
            self.by_queue.remove(&placed.queue);
        }
    }

    fn change_topic(&mut self, placed: &PlacedTopic) {
        let key = (placed.account, placed.name.folded());
        let route = TopicRoute {
            topic: placed.topic,
            shard: placed.shard,
        };
        if placed.attributes.is_some() {
            self.topics.insert(key, route);
        } else if self.topics.get(&key) == Some(&route) {
            self.topics.remove(&key);
        }
    }

    fn change_subscription(&mut self, placed: &PlacedSubscription) {
        let id = placed.subscription;
        let Some(attributes) = &placed.attributes else {
            self.subscribers.remove(&id);
            return;
        };
        let Endpoint::Http { url } = &attributes.endpoint else {
            return;
        };
        let known = self.subscribers.get(&id).map(|known| known.revision);
        if known >= Some(placed.revision) {
            return;
        }
        let subscriber = Subscriber {
            subscription: id,
            account: placed.account,
            topic: placed.topic_name.clone(),
            name: placed.name.clone(),
            url: url.clone(),
            retry: attributes.retry,
            format: attributes.format,
        };
        let route = SubscriberRoute {
            subscriber: Arc::new(subscriber),
            shard: placed.shard,
            revision: placed.revision,
        };
        self.subscribers.insert(id, route);
    }
}
