//! A catalog that is too simple to be wrong: one list of all that ever was in it.

use anser_broker::error::Error;

use super::{
    NAMES, REUSE_AFTER, SHARDS, SUBSCRIPTIONS_MAX, TOPICS_MAX,
    actions::{Action, Wish},
};

/// A queue, a topic or a subscription; it stays in the list when it ends.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) shard: u16,
    pub(super) revision: u64,
    pub(super) is_settled: bool,
    /// When it ended.
    pub(super) ended: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Queue,
    Topic { by_tags: bool, retention: u64 },
    Subscription(Subscription),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topic: u64,
    /// The queue's name, and its number if there is one.
    pub(super) endpoint: Option<(String, Option<u64>)>,
    pub(super) is_json: bool,
    pub(super) filters: usize,
    pub(super) dead_letter: Option<u64>,
}

/// What is new, number and revision, and whom the catalog tells beside.
type Outcome = (Option<(u64, u64)>, Vec<u64>);

/// Each with the number that is its place, from 1.
#[derive(Debug, Default)]
pub(super) struct Naive {
    pub(super) now: u64,
    pub(super) records: Vec<Record>,
}

impl Naive {
    pub(super) fn living(&self) -> impl Iterator<Item = (u64, &Record)> {
        (1..)
            .zip(&self.records)
            .filter(|(_, record)| record.ended.is_none())
    }

    fn find(&self, name: usize, is_kind: impl Fn(&Kind) -> bool) -> Option<u64> {
        let mut living = self.living();
        let found = living.find(|(_, record)| {
            is_kind(&record.kind) && record.name.eq_ignore_ascii_case(NAMES[name])
        });
        found.map(|(number, _)| number)
    }

    fn queue(&self, name: usize) -> Option<u64> {
        self.find(name, |kind| *kind == Kind::Queue)
    }

    pub(super) fn topic(&self, name: usize) -> Result<u64, Error> {
        self.find(name, is_topic).ok_or(Error::NoSuchTopic)
    }

    fn subscription(&self, topic: usize, name: usize) -> Result<u64, Error> {
        let topic = self.topic(topic)?;
        self.find(name, |kind| is_subscription_of(kind, topic))
            .ok_or(Error::NoSuchSubscription)
    }

    pub(super) fn subscriptions(&self, topic: u64) -> Vec<u64> {
        let living = self.living();
        let its = living.filter(|(_, record)| is_subscription_of(&record.kind, topic));
        its.map(|(number, _)| number).collect()
    }

    fn record(&mut self, number: u64) -> &mut Record {
        &mut self.records[usize::try_from(number - 1).unwrap()]
    }

    fn shard_of(&self, topic: u64) -> u16 {
        self.records[usize::try_from(topic - 1).unwrap()].shard
    }

    fn add(&mut self, kind: Kind, name: usize) -> (u64, u64) {
        let load = |shard| {
            let living = self.living();
            let homes = living.filter(|(_, record)| !matches!(record.kind, Kind::Subscription(_)));
            homes.filter(|(_, record)| record.shard == shard).count()
        };
        let shard = match &kind {
            Kind::Subscription(subscription) => self.shard_of(subscription.topic),
            _ => (0..SHARDS).min_by_key(|shard| load(*shard)).unwrap(),
        };
        self.records.push(Record {
            kind,
            name: NAMES[name].to_owned(),
            shard,
            revision: 1,
            is_settled: false,
            ended: None,
        });
        (self.records.len() as u64, 1)
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Record)) -> (u64, u64) {
        let record = self.record(number);
        change(record);
        record.revision += 1;
        record.is_settled = false;
        (number, record.revision)
    }

    fn end(&mut self, number: u64) -> (u64, u64) {
        let now = self.now;
        self.change(number, |record| record.ended = Some(now))
    }

    /// Tells the subscriptions that deliver to queues of a name; gives their numbers.
    fn retarget(&mut self, name: usize, target: Option<u64>) -> Vec<u64> {
        let mut told = Vec::new();
        for number in 1..=self.records.len() as u64 {
            let record = self.record(number);
            let Kind::Subscription(Subscription {
                endpoint: Some((queue_name, queue)),
                ..
            }) = &mut record.kind
            else {
                continue;
            };
            if record.ended.is_none() && queue_name.eq_ignore_ascii_case(NAMES[name]) {
                *queue = target;
                self.change(number, |_| {});
                told.push(number);
            }
        }
        told
    }

    pub(super) fn apply(&mut self, action: &Action) -> Result<Outcome, Error> {
        let mut told = Vec::new();
        let placed = match *action {
            Action::CreateQueue(name) => {
                if self.queue(name).is_some() {
                    return Err(Error::QueueExists);
                }
                let placed = self.add(Kind::Queue, name);
                told = self.retarget(name, Some(placed.0));
                placed
            }
            Action::DeleteQueue(name) => {
                let queue = self.queue(name).ok_or(Error::NoSuchQueue)?;
                let is_needed = self
                    .living()
                    .any(|(_, record)| has_dead_letter_queue(&record.kind, queue));
                if is_needed {
                    return Err(Error::IsDeadLetterQueue);
                }
                let placed = self.end(queue);
                told = self.retarget(name, None);
                placed
            }
            Action::CreateTopic { name, by_tags } => self.create_topic(name, by_tags)?,
            Action::DeleteTopic(name) => {
                let topic = self.topic(name)?;
                if !self.subscriptions(topic).is_empty() {
                    return Err(Error::TopicHasSubscriptions);
                }
                self.end(topic)
            }
            Action::SetTopic { name, retention } => {
                let topic = self.topic(name)?;
                if retention == 0 {
                    return Err(Error::AttributeOutOfRange);
                }
                let new = retention;
                self.change(topic, |record| {
                    if let Kind::Topic { retention, .. } = &mut record.kind {
                        *retention = new;
                    }
                })
            }
            Action::Subscribe(ref wish) => {
                let subscription = self.check_subscribe(wish)?;
                self.add(Kind::Subscription(subscription), wish.name)
            }
            Action::SetSubscription(ref wish) => {
                let number = self.subscription(wish.topic, wish.name)?;
                let changed = self.check_changes(number, wish)?;
                self.change(number, |record| record.kind = Kind::Subscription(changed))
            }
            Action::Unsubscribe { topic, name } => {
                let number = self.subscription(topic, name)?;
                self.end(number)
            }
            Action::Settle { number, back } => {
                if number <= self.records.len() as u64 && back == 0 {
                    self.record(number).is_settled = true;
                }
                return Ok((None, told));
            }
        };
        told.insert(0, placed.0);
        Ok((Some(placed), told))
    }

    fn create_topic(&mut self, name: usize, by_tags: bool) -> Result<(u64, u64), Error> {
        if self.topic(name).is_ok() {
            return Err(Error::TopicExists);
        }
        let is_recent = |record: &Record| {
            is_topic(&record.kind)
                && record.name.eq_ignore_ascii_case(NAMES[name])
                && record
                    .ended
                    .is_some_and(|ended| self.now < ended + REUSE_AFTER)
        };
        if self.records.iter().any(is_recent) {
            return Err(Error::TopicRecentlyDeleted);
        }
        let topics = self.living().filter(|(_, record)| is_topic(&record.kind));
        if topics.count() as u64 >= TOPICS_MAX {
            return Err(Error::TooManyTopics);
        }
        let retention = 1;
        Ok(self.add(Kind::Topic { by_tags, retention }, name))
    }

    fn check_subscribe(&self, wish: &Wish) -> Result<Subscription, Error> {
        let topic = self.topic(wish.topic)?;
        let endpoint = wish.endpoint;
        let endpoint = endpoint.map(|name| (NAMES[name].to_owned(), self.queue(name)));
        let mut subscription = Subscription {
            topic,
            endpoint,
            is_json: wish.is_json,
            filters: wish.filters,
            dead_letter: None,
        };
        self.check(&subscription)?;
        if self.subscription(wish.topic, wish.name).is_ok() {
            return Err(Error::SubscriptionExists);
        }
        if self.subscriptions(topic).len() as u64 >= SUBSCRIPTIONS_MAX {
            return Err(Error::TooManySubscriptions);
        }
        if let Some((_, None)) = subscription.endpoint {
            return Err(Error::NoSuchEndpointQueue);
        }
        if let Some(name) = wish.dead_letter {
            subscription.dead_letter = Some(self.dead_letter(&subscription, name)?);
        }
        Ok(subscription)
    }

    fn check_changes(&self, number: u64, wish: &Wish) -> Result<Subscription, Error> {
        let record = &self.records[usize::try_from(number - 1).unwrap()];
        let Kind::Subscription(mut changed) = record.kind.clone() else {
            panic!("{record:?} is no subscription")
        };
        (changed.is_json, changed.filters) = (wish.is_json, wish.filters);
        self.check(&changed)?;
        changed.dead_letter = match wish.dead_letter {
            Some(name) => Some(self.dead_letter(&changed, name)?),
            None => None,
        };
        Ok(changed)
    }

    fn check(&self, subscription: &Subscription) -> Result<(), Error> {
        if subscription.endpoint.is_some() && subscription.is_json {
            return Err(Error::FormatNotForQueues);
        }
        let record = &self.records[usize::try_from(subscription.topic - 1).unwrap()];
        let by_keys = matches!(record.kind, Kind::Topic { by_tags: false, .. });
        match subscription.filters {
            0 if by_keys => Err(Error::BindingKeyMissing),
            11.. => Err(Error::AttributeOutOfRange),
            _ => Ok(()),
        }
    }

    pub(super) fn dead_letter(
        &self,
        subscription: &Subscription,
        name: usize,
    ) -> Result<u64, Error> {
        let endpoint = subscription.endpoint.as_ref();
        if endpoint.is_some_and(|(endpoint, _)| endpoint.eq_ignore_ascii_case(NAMES[name])) {
            return Err(Error::DeadLetterNested);
        }
        self.queue(name).ok_or(Error::NoSuchDeadLetterQueue)
    }
}

pub(super) fn is_topic(kind: &Kind) -> bool {
    matches!(kind, Kind::Topic { .. })
}

fn is_subscription_of(kind: &Kind, topic: u64) -> bool {
    matches!(kind, Kind::Subscription(subscription) if subscription.topic == topic)
}

fn has_dead_letter_queue(kind: &Kind, queue: u64) -> bool {
    matches!(kind, Kind::Subscription(subscription) if subscription.dead_letter == Some(queue))
}
