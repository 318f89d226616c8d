//! Reading the catalog.

use crate::{
    catalog::Catalog,
    command::{Answer, Query, QueueRecord, SubscriptionRecord, TopicRecord},
    error::Error,
    id::{AccountId, QueueId},
    name::{QueueName, SubscriptionName, TopicName},
    op::{QueueListing, SubscriptionListing, TopicListing},
    sorted::SortedMap,
    turn::WallOffset,
};

/// Which part of a list is wanted.
#[derive(Debug)]
struct Page<'a> {
    search: &'a str,
    offset: u64,
    limit: u64,
}

impl Page<'_> {
    /// The items of this page, and how many there are in all; `name` is an item's folded name.
    fn of<T>(&self, items: impl Iterator<Item = T>, name: impl Fn(&T) -> String) -> (u64, Vec<T>) {
        let search = self.search.to_ascii_lowercase();
        let mut total = 0;
        let mut found = Vec::new();
        for item in items {
            if !search.is_empty() && !name(&item).contains(&search) {
                continue;
            }
            if total >= self.offset && (found.len() as u64) < self.limit {
                found.push(item);
            }
            total += 1;
        }
        (total, found)
    }
}

impl Catalog {
    pub(crate) fn query(&self, query: &Query, wall: WallOffset) -> Answer {
        let page = page_of(query);
        let answer = match query {
            Query::Queue { account, name } => self.queue(*account, name, wall),
            Query::Queues { account, .. } => Ok(self.queues(*account, &page)),
            Query::DeadLetterSources { account, name, .. } => {
                self.dead_letter_sources(*account, name, &page)
            }
            Query::Topic { account, name } => self.topic(*account, name, wall),
            Query::Topics { account, .. } => Ok(self.topic_page(*account, &page)),
            Query::Subscription {
                account,
                topic,
                name,
            } => self.subscription(*account, topic, name, wall),
            Query::Subscriptions { account, topic, .. } => {
                self.subscriptions(*account, topic, &page)
            }
            Query::Nodes => Ok(self.nodes.answer(wall)),
            Query::Counts { .. }
            | Query::Room { .. }
            | Query::TopicCounts { .. }
            | Query::SubscriptionCounts { .. } => {
                unreachable!("counts are not for the catalog")
            }
        };
        answer.unwrap_or_else(Answer::Refused)
    }

    fn queue(
        &self,
        account: AccountId,
        name: &QueueName,
        wall: WallOffset,
    ) -> Result<Answer, Error> {
        let queue = self.find(account, name).ok_or(Error::NoSuchQueue)?;
        let record = &self.queues[&queue];
        let policy = record.attributes.dead_letter;
        Ok(Answer::Queue(Box::new(QueueRecord {
            queue,
            shard: record.shard,
            name: record.name.clone(),
            attributes: record.attributes.clone(),
            dead_letter: policy.map(|policy| (self.queues[&policy.queue].name.clone(), policy)),
            created: wall.wall(record.created),
            modified: wall.wall(record.modified),
        })))
    }

    fn queues(&self, account: AccountId, page: &Page<'_>) -> Answer {
        let queues = self.accounts.get(&account).into_iter();
        let queues = queues.flat_map(SortedMap::keys);
        self.queue_page(queues.copied(), page)
    }

    fn dead_letter_sources(
        &self,
        account: AccountId,
        name: &QueueName,
        page: &Page<'_>,
    ) -> Result<Answer, Error> {
        let queue = self.find(account, name).ok_or(Error::NoSuchQueue)?;
        let sources = self.sources.get(&queue).into_iter();
        let sources = sources.flat_map(SortedMap::keys);
        Ok(self.queue_page(sources.copied(), page))
    }

    fn queue_page(&self, queues: impl Iterator<Item = QueueId>, page: &Page<'_>) -> Answer {
        let (total, found) = page.of(queues, |queue| self.queues[queue].name.folded());
        let listing = |queue: QueueId| QueueListing {
            queue,
            name: self.queues[&queue].name.clone(),
        };
        Answer::Queues {
            total,
            queues: found.into_iter().map(listing).collect(),
        }
    }

    fn topic(
        &self,
        account: AccountId,
        name: &TopicName,
        wall: WallOffset,
    ) -> Result<Answer, Error> {
        let id = self.topics.find(account, name)?;
        let topic = &self.topics.living[&id];
        Ok(Answer::Topic(Box::new(TopicRecord {
            topic: id,
            shard: topic.shard,
            name: topic.name.clone(),
            attributes: topic.attributes.clone(),
            subscriptions: self.topics.subscription_count(id),
            created: wall.wall(topic.created),
            modified: wall.wall(topic.modified),
        })))
    }

    fn topic_page(&self, account: AccountId, page: &Page<'_>) -> Answer {
        let topics = &self.topics;
        let ids = topics.accounts.get(&account).into_iter().flatten();
        let (total, found) = page.of(ids.copied(), |id| topics.living[id].name.folded());
        let listing = |topic| TopicListing {
            topic,
            name: topics.living[&topic].name.clone(),
        };
        Answer::Topics {
            total,
            topics: found.into_iter().map(listing).collect(),
        }
    }

    fn subscription(
        &self,
        account: AccountId,
        topic: &TopicName,
        name: &SubscriptionName,
        wall: WallOffset,
    ) -> Result<Answer, Error> {
        let id = self.topics.find_subscription(account, topic, name)?;
        let subscription = &self.topics.subscriptions[&id];
        let topic = &self.topics.living[&subscription.topic];
        let dead_letter = subscription.attributes.dead_letter;
        Ok(Answer::Subscription(Box::new(SubscriptionRecord {
            subscription: id,
            shard: topic.shard,
            topic: topic.name.clone(),
            name: subscription.name.clone(),
            attributes: subscription.attributes.clone(),
            dead_letter: dead_letter.map(|queue| self.queues[&queue].name.clone()),
            created: wall.wall(subscription.created),
            modified: wall.wall(subscription.modified),
        })))
    }

    fn subscriptions(
        &self,
        account: AccountId,
        topic: &TopicName,
        page: &Page<'_>,
    ) -> Result<Answer, Error> {
        let topic = self.topics.find(account, topic)?;
        let all = &self.topics.subscriptions;
        let ids = self.topics.by_topic.get(&topic).into_iter().flatten();
        let (total, found) = page.of(ids.copied(), |id| all[id].name.folded());
        let listing = |subscription| SubscriptionListing {
            subscription,
            name: all[&subscription].name.clone(),
            endpoint: all[&subscription].attributes.endpoint.clone(),
        };
        Ok(Answer::Subscriptions {
            total,
            subscriptions: found.into_iter().map(listing).collect(),
        })
    }
}

/// Which part of the list is asked for; nothing of it if the query is for no list.
fn page_of(query: &Query) -> Page<'_> {
    match query {
        Query::Queues {
            search,
            offset,
            limit,
            ..
        }
        | Query::DeadLetterSources {
            search,
            offset,
            limit,
            ..
        }
        | Query::Topics {
            search,
            offset,
            limit,
            ..
        }
        | Query::Subscriptions {
            search,
            offset,
            limit,
            ..
        } => Page {
            search,
            offset: *offset,
            limit: *limit,
        },
        Query::Queue { .. }
        | Query::Topic { .. }
        | Query::Subscription { .. }
        | Query::Nodes
        | Query::Counts { .. }
        | Query::Room { .. }
        | Query::TopicCounts { .. }
        | Query::SubscriptionCounts { .. } => Page {
            search: "",
            offset: 0,
            limit: 0,
        },
    }
}
