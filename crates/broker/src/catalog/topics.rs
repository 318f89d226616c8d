//! Topics and subscriptions in the catalog.
//!
//! A subscription to a queue names it; the catalog says which queue that is, and says it again when a
//! queue of the name is made or ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    attributes::{
        Endpoint, Filter, FilterKind, SubscriptionAttributes, TopicAttributes, TopicChanges,
    },
    catalog::{Catalog, deletions::Deletions},
    command::{CreateTopic, Effect, Placed, PlacedSubscription, PlacedTopic, Reply, Subscribe},
    error::Error,
    id::{AccountId, QueueId, ShardId, SubscriptionId, TopicId},
    labels::{BindingKey, Tag},
    limits,
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    time::Timestamp,
    turn::Turn,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Topics {
    /// The living ones. Ids ascend, so this is the order of creation.
    pub(super) living: BTreeMap<TopicId, Topic>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// By account and folded name.
    names: BTreeMap<(AccountId, String), TopicId>,
    pub(super) accounts: BTreeMap<AccountId, BTreeSet<TopicId>>,
    /// By topic and folded name.
    subscription_names: BTreeMap<(TopicId, String), SubscriptionId>,
    pub(super) by_topic: BTreeMap<TopicId, BTreeSet<SubscriptionId>>,
    /// Those to queues, by account and the queue's folded name.
    by_endpoint: BTreeMap<(AccountId, String), BTreeSet<SubscriptionId>>,
    by_dead_letter: BTreeMap<QueueId, BTreeSet<SubscriptionId>>,
    /// Numbers of topics and subscriptions.
    pub(super) unsettled: BTreeSet<u64>,
    /// Deleted ones whose home has not confirmed it, by number.
    pub(super) ending: BTreeMap<u64, Placed>,
    pub(super) deletions: Deletions,
}

#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) account: AccountId,
    pub(super) name: TopicName,
    pub(super) shard: ShardId,
    pub(super) revision: u64,
    pub(super) attributes: TopicAttributes,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) topic: TopicId,
    pub(super) name: SubscriptionName,
    pub(super) revision: u64,
    pub(super) attributes: SubscriptionAttributes,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
}

impl Topics {
    pub(super) fn find(&self, account: AccountId, name: &TopicName) -> Result<TopicId, Error> {
        let topic = self.names.get(&(account, name.folded()));
        topic.copied().ok_or(Error::NoSuchTopic)
    }

    pub(super) fn find_subscription(
        &self,
        account: AccountId,
        topic: &TopicName,
        name: &SubscriptionName,
    ) -> Result<SubscriptionId, Error> {
        let topic = self.find(account, topic)?;
        let subscription = self.subscription_names.get(&(topic, name.folded()));
        subscription.copied().ok_or(Error::NoSuchSubscription)
    }

    pub(super) fn subscription_count(&self, topic: TopicId) -> u64 {
        self.by_topic.get(&topic).map_or(0, BTreeSet::len) as u64
    }

    pub(super) fn is_dead_letter_queue(&self, queue: QueueId) -> bool {
        self.by_dead_letter.contains_key(&queue)
    }

    pub(super) fn insert(&mut self, id: TopicId, topic: Topic) {
        let name = (topic.account, topic.name.folded());
        self.names.insert(name, id);
        self.accounts.entry(topic.account).or_default().insert(id);
        self.living.insert(id, topic);
    }

    fn remove(&mut self, id: TopicId) -> Topic {
        let topic = self.living.remove(&id).expect("a named topic lives");
        self.names.remove(&(topic.account, topic.name.folded()));
        take_from(&mut self.accounts, &topic.account, &id);
        topic
    }

    pub(super) fn insert_subscription(&mut self, id: SubscriptionId, subscription: Subscription) {
        let topic = subscription.topic;
        let name = (topic, subscription.name.folded());
        self.subscription_names.insert(name, id);
        self.by_topic.entry(topic).or_default().insert(id);
        let account = self.living[&topic].account;
        if let Endpoint::Queue { name, .. } = &subscription.attributes.endpoint {
            let endpoint = (account, name.folded());
            self.by_endpoint.entry(endpoint).or_default().insert(id);
        }
        self.bind(id, None, subscription.attributes.dead_letter);
        self.subscriptions.insert(id, subscription);
    }

    fn remove_subscription(&mut self, id: SubscriptionId) -> Subscription {
        let subscription = self.subscriptions.remove(&id);
        let subscription = subscription.expect("a named subscription lives");
        let topic = subscription.topic;
        self.subscription_names
            .remove(&(topic, subscription.name.folded()));
        take_from(&mut self.by_topic, &topic, &id);
        let account = self.living[&topic].account;
        if let Endpoint::Queue { name, .. } = &subscription.attributes.endpoint {
            take_from(&mut self.by_endpoint, &(account, name.folded()), &id);
        }
        self.bind(id, subscription.attributes.dead_letter, None);
        subscription
    }

    /// Moves a subscription from one dead-letter queue to another.
    fn bind(&mut self, id: SubscriptionId, old: Option<QueueId>, new: Option<QueueId>) {
        if let Some(old) = old {
            take_from(&mut self.by_dead_letter, &old, &id);
        }
        if let Some(new) = new {
            self.by_dead_letter.entry(new).or_default().insert(id);
        }
    }

    pub(super) fn placed(&self, id: TopicId) -> Placed {
        let topic = &self.living[&id];
        Placed::Topic(PlacedTopic {
            account: topic.account,
            name: topic.name.clone(),
            topic: id,
            shard: topic.shard,
            revision: topic.revision,
            attributes: Some(topic.attributes.clone()),
            floor: 0,
        })
    }

    pub(super) fn placed_subscription(&self, id: SubscriptionId) -> Placed {
        let subscription = &self.subscriptions[&id];
        Placed::Subscription(Box::new(PlacedSubscription {
            revision: subscription.revision,
            attributes: Some(subscription.attributes.clone()),
            ..self.ended_subscription(id, subscription)
        }))
    }

    /// What is to be said of a subscription that has just ended.
    fn ended_subscription(
        &self,
        id: SubscriptionId,
        subscription: &Subscription,
    ) -> PlacedSubscription {
        let topic = &self.living[&subscription.topic];
        PlacedSubscription {
            account: topic.account,
            topic: subscription.topic,
            topic_name: topic.name.clone(),
            subscription: id,
            name: subscription.name.clone(),
            shard: topic.shard,
            revision: subscription.revision + 1,
            attributes: None,
            floor: 0,
        }
    }

    /// The latest word on something that is not settled.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = Placed> {
        self.unsettled.iter().map(|number| {
            let (topic, subscription) = (TopicId(*number), SubscriptionId(*number));
            if self.living.contains_key(&topic) {
                self.placed(topic)
            } else if self.subscriptions.contains_key(&subscription) {
                self.placed_subscription(subscription)
            } else {
                self.ending[number].clone()
            }
        })
    }

    /// Those living whose home may not have heard of them, and their shards.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (ShardId, u64)> {
        self.unsettled.iter().filter_map(|number| {
            let subscription = self.subscriptions.get(&SubscriptionId(*number));
            let topic = subscription.map_or(TopicId(*number), |subscription| subscription.topic);
            Some((self.living.get(&topic)?.shard, *number))
        })
    }

    pub(super) fn all_placed(&self) -> impl Iterator<Item = Placed> {
        let topics = self.living.keys().map(|id| self.placed(*id));
        let subscriptions = self.subscriptions.keys();
        topics.chain(subscriptions.map(|id| self.placed_subscription(*id)))
    }

    pub(super) fn settled(&mut self, number: u64, revision: u64) {
        let topic = self.living.get(&TopicId(number));
        let subscription = self.subscriptions.get(&SubscriptionId(number));
        let latest = topic
            .map(|topic| topic.revision)
            .or_else(|| subscription.map(|subscription| subscription.revision))
            .or_else(|| self.ending.get(&number).map(Placed::revision));
        if latest.is_some_and(|latest| revision >= latest) {
            self.unsettled.remove(&number);
            self.ending.remove(&number);
        }
    }
}

/// Takes a member out of a set in a map, and the set if that was its last.
fn take_from<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, member: &V) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(member);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

impl Catalog {
    pub(super) fn create_topic(&mut self, create: &CreateTopic, turn: &mut Turn<'_>) -> Reply {
        if let Err(error) = self.check_create_topic(create, turn.now) {
            return Reply::Refused(error);
        }
        let shard = self.emptiest_shard(&create.avoid);
        self.loads[usize::from(shard.0)] += 1;
        let id = TopicId(self.next);
        self.next += 1;
        let topic = Topic {
            account: create.account,
            name: create.name.clone(),
            shard,
            revision: 1,
            attributes: create.attributes.clone(),
            created: turn.now,
            modified: turn.now,
        };
        self.topics.insert(id, topic);
        let placed = self.topics.placed(id);
        self.say_of_topics(placed, turn)
    }

    fn check_create_topic(&self, create: &CreateTopic, now: Timestamp) -> Result<(), Error> {
        create.attributes.check()?;
        if self.topics.find(create.account, &create.name).is_ok() {
            return Err(Error::TopicExists);
        }
        let name = create.name.folded();
        let deletions = &self.topics.deletions;
        if deletions.is_recent(create.account, &name, create.reuse_after, now) {
            return Err(Error::TopicRecentlyDeleted);
        }
        let held = self.topics.accounts.get(&create.account);
        if held.map_or(0, BTreeSet::len) as u64 >= create.topics_max {
            return Err(Error::TooManyTopics);
        }
        Ok(())
    }

    pub(super) fn delete_topic(
        &mut self,
        account: AccountId,
        name: &TopicName,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let id = match self.topics.find(account, name) {
            Ok(id) => id,
            Err(error) => return Reply::Refused(error),
        };
        if self.topics.subscription_count(id) > 0 {
            return Reply::Refused(Error::TopicHasSubscriptions);
        }
        let topic = self.topics.remove(id);
        self.loads[usize::from(topic.shard.0)] -= 1;
        self.topics
            .deletions
            .add(account, topic.name.folded(), turn.now);
        let placed = Placed::Topic(PlacedTopic {
            account,
            name: topic.name,
            topic: id,
            shard: topic.shard,
            revision: topic.revision + 1,
            attributes: None,
            floor: 0,
        });
        self.topics.ending.insert(id.0, placed.clone());
        self.say_of_topics(placed, turn)
    }

    pub(super) fn set_topic_attributes(
        &mut self,
        account: AccountId,
        name: &TopicName,
        changes: &TopicChanges,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let id = match self.topics.find(account, name) {
            Ok(id) => id,
            Err(error) => return Reply::Refused(error),
        };
        let topic = self.topics.living.get_mut(&id);
        let topic = topic.expect("a named topic lives");
        let attributes = topic.attributes.with(changes);
        if let Err(error) = attributes.check() {
            return Reply::Refused(error);
        }
        topic.attributes = attributes;
        topic.revision += 1;
        topic.modified = turn.now;
        let placed = self.topics.placed(id);
        self.say_of_topics(placed, turn)
    }

    pub(super) fn subscribe(&mut self, subscribe: &Subscribe, turn: &mut Turn<'_>) -> Reply {
        let (topic, attributes) = match self.check_subscribe(subscribe) {
            Ok(checked) => checked,
            Err(error) => return Reply::Refused(error),
        };
        let id = SubscriptionId(self.next);
        self.next += 1;
        let subscription = Subscription {
            topic,
            name: subscribe.name.clone(),
            revision: 1,
            attributes,
            created: turn.now,
            modified: turn.now,
        };
        self.topics.insert_subscription(id, subscription);
        let placed = self.topics.placed_subscription(id);
        self.say_of_topics(placed, turn)
    }

    fn check_subscribe(
        &self,
        subscribe: &Subscribe,
    ) -> Result<(TopicId, SubscriptionAttributes), Error> {
        let account = subscribe.account;
        let topic = self.topics.find(account, &subscribe.topic)?;
        let endpoint = match &subscribe.endpoint {
            EndpointName::Http { url } => Endpoint::Http {
                url: url.as_str().into(),
            },
            EndpointName::Queue(name) => Endpoint::Queue {
                name: name.clone(),
                queue: self.find(account, name),
            },
        };
        let attributes = SubscriptionAttributes {
            endpoint,
            retry: subscribe.retry,
            format: subscribe.format,
            filter: match self.topics.living[&topic].attributes.filter {
                FilterKind::Tags => tags(&subscribe.tags),
                FilterKind::RoutingKey => binding_keys(&subscribe.binding_keys),
            },
            dead_letter: None,
        };
        attributes.check()?;
        let name = (topic, subscribe.name.folded());
        if self.topics.subscription_names.contains_key(&name) {
            return Err(Error::SubscriptionExists);
        }
        let max = subscribe.subscriptions_max.min(limits::SUBSCRIPTIONS_MAX);
        if self.topics.subscription_count(topic) >= max {
            return Err(Error::TooManySubscriptions);
        }
        if let Endpoint::Queue { queue: None, .. } = attributes.endpoint {
            return Err(Error::NoSuchEndpointQueue);
        }
        let dead_letter = match &subscribe.dead_letter {
            Some(name) => Some(self.dead_letter_queue(account, name, &attributes.endpoint)?),
            None => None,
        };
        let attributes = SubscriptionAttributes {
            dead_letter,
            ..attributes
        };
        Ok((topic, attributes))
    }

    /// The queue for what a subscription gives up.
    fn dead_letter_queue(
        &self,
        account: AccountId,
        name: &QueueName,
        endpoint: &Endpoint,
    ) -> Result<QueueId, Error> {
        let is_endpoint = match endpoint {
            Endpoint::Queue { name: endpoint, .. } => endpoint.folded() == name.folded(),
            Endpoint::Http { .. } => false,
        };
        if is_endpoint {
            return Err(Error::DeadLetterNested);
        }
        self.find(account, name).ok_or(Error::NoSuchDeadLetterQueue)
    }

    pub(super) fn set_subscription_attributes(
        &mut self,
        account: AccountId,
        topic: &TopicName,
        name: &SubscriptionName,
        changes: &SubscriptionChanges,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let changed = self
            .topics
            .find_subscription(account, topic, name)
            .and_then(|id| Ok((id, self.check_subscription_changes(account, id, changes)?)));
        let (id, attributes) = match changed {
            Ok(changed) => changed,
            Err(error) => return Reply::Refused(error),
        };
        let old = self.topics.subscriptions[&id].attributes.dead_letter;
        self.topics.bind(id, old, attributes.dead_letter);
        let subscription = self.subscription_mut(id);
        subscription.attributes = attributes;
        subscription.revision += 1;
        subscription.modified = turn.now;
        let placed = self.topics.placed_subscription(id);
        self.say_of_topics(placed, turn)
    }

    fn check_subscription_changes(
        &self,
        account: AccountId,
        id: SubscriptionId,
        changes: &SubscriptionChanges,
    ) -> Result<SubscriptionAttributes, Error> {
        let mut attributes = self.topics.subscriptions[&id].attributes.clone();
        attributes.retry = changes.retry.unwrap_or(attributes.retry);
        attributes.format = changes.format.unwrap_or(attributes.format);
        match (&attributes.filter, &changes.tags, &changes.binding_keys) {
            (Filter::Tags(_), Some(new), _) => attributes.filter = tags(new),
            (Filter::BindingKeys(_), _, Some(new)) => attributes.filter = binding_keys(new),
            _ => {}
        }
        attributes.check()?;
        match &changes.dead_letter {
            DeadLetterQueueChange::Keep => {}
            DeadLetterQueueChange::Remove => attributes.dead_letter = None,
            DeadLetterQueueChange::Set(name) => {
                let queue = self.dead_letter_queue(account, name, &attributes.endpoint)?;
                attributes.dead_letter = Some(queue);
            }
        }
        Ok(attributes)
    }

    pub(super) fn unsubscribe(
        &mut self,
        account: AccountId,
        topic: &TopicName,
        name: &SubscriptionName,
        turn: &mut Turn<'_>,
    ) -> Reply {
        let id = match self.topics.find_subscription(account, topic, name) {
            Ok(id) => id,
            Err(error) => return Reply::Refused(error),
        };
        let subscription = self.topics.remove_subscription(id);
        let placed = self.topics.ended_subscription(id, &subscription);
        let placed = Placed::Subscription(Box::new(placed));
        self.topics.ending.insert(id.0, placed.clone());
        self.say_of_topics(placed, turn)
    }

    /// Lets the subscriptions to queues of a name know which queue that is now.
    pub(super) fn retarget(
        &mut self,
        account: AccountId,
        name: &QueueName,
        target: Option<QueueId>,
        turn: &mut Turn<'_>,
    ) {
        let subscribed = self.topics.by_endpoint.get(&(account, name.folded()));
        let subscribed: Vec<SubscriptionId> = subscribed.into_iter().flatten().copied().collect();
        for id in subscribed {
            let subscription = self.subscription_mut(id);
            if let Endpoint::Queue { queue, .. } = &mut subscription.attributes.endpoint {
                *queue = target;
            }
            subscription.revision += 1;
            self.topics.unsettled.insert(id.0);
            turn.effect(Effect::Unsettled(self.topics.placed_subscription(id)));
        }
    }

    fn subscription_mut(&mut self, id: SubscriptionId) -> &mut Subscription {
        let subscription = self.topics.subscriptions.get_mut(&id);
        subscription.expect("a named subscription lives")
    }

    /// What is new of a topic or a subscription, for the caller and for its home.
    fn say_of_topics(&mut self, placed: Placed, turn: &mut Turn<'_>) -> Reply {
        self.topics.unsettled.insert(placed.number());
        let placed = self.with_floor(placed);
        turn.effect(Effect::RouteChanged(placed.clone()));
        turn.effect(Effect::Unsettled(placed.clone()));
        Reply::Placed(placed)
    }
}

fn tags(tags: &[Tag]) -> Filter {
    Filter::Tags(tags.into())
}

fn binding_keys(keys: &[BindingKey]) -> Filter {
    Filter::BindingKeys(keys.into())
}
