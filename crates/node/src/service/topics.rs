//! The operations on topics and subscriptions.

use anser_broker::{
    codec,
    command::{
        self, Answer, Command, Placed, PlacedSubscription, PlacedTopic, Query, Reply,
        SubscriptionCounts, SubscriptionRecord, TopicCounts, TopicRecord,
    },
    error::Error,
    id::{AccountId, MessageId, ShardId},
    labels::Published,
    limits,
    op::{
        AnyOperation, AnyOutput, CreateTopic, DeleteTopic, DeliveryFailure, DescribeSubscription,
        DescribeTopic, ListSubscriptions, ListTopics, MessagesPublished, PublishMessages,
        SetSubscriptionAttributes, SetTopicAttributes, Subscribe, Subscribed, SubscriptionChanged,
        SubscriptionDescription, SubscriptionsListed, TopicChanged, TopicCreated, TopicDeleted,
        TopicDescription, TopicsListed, Unsubscribe, Unsubscribed,
    },
};

use anser_host::TopicRoute;

use super::check_batch;
use crate::{
    event::{Request, Response},
    node::Node,
};

impl Node {
    pub(super) async fn perform_on_topics(
        &self,
        account: AccountId,
        operation: AnyOperation,
    ) -> Result<AnyOutput, Error> {
        use AnyOperation as In;
        use AnyOutput as Out;
        Ok(match operation {
            In::CreateTopic(input) => Out::CreateTopic(self.create_topic(account, input).await?),
            In::DeleteTopic(input) => Out::DeleteTopic(self.delete_topic(account, input).await?),
            In::SetTopicAttributes(input) => {
                Out::SetTopicAttributes(self.set_topic(account, input).await?)
            }
            In::DescribeTopic(input) => {
                Out::DescribeTopic(self.describe_topic(account, input).await?)
            }
            In::ListTopics(input) => Out::ListTopics(self.list_topics(account, input).await?),
            In::PublishMessages(input) => Out::PublishMessages(self.publish(account, input).await?),
            In::Subscribe(input) => Out::Subscribe(self.subscribe(account, input).await?),
            In::SetSubscriptionAttributes(input) => {
                Out::SetSubscriptionAttributes(self.set_subscription(account, input).await?)
            }
            In::DescribeSubscription(input) => {
                Out::DescribeSubscription(self.describe_subscription(account, input).await?)
            }
            In::ListSubscriptions(input) => {
                Out::ListSubscriptions(self.list_subscriptions(account, input).await?)
            }
            In::Unsubscribe(input) => Out::Unsubscribe(self.unsubscribe(account, input).await?),
            other => unreachable!("{} is about queues", other.name()),
        })
    }

    async fn create_topic(
        &self,
        account: AccountId,
        input: CreateTopic,
    ) -> Result<TopicCreated, Error> {
        self.check_space(ShardId::CATALOG)?;
        let command = Command::CreateTopic(command::CreateTopic {
            account,
            name: input.name,
            attributes: input.attributes,
            topics_max: input.topics_max,
            reuse_after: input.reuse_after,
            avoid: Vec::new(),
        });
        let placed = self.place_topic(command).await?;
        Ok(TopicCreated {
            topic: placed.topic,
        })
    }

    async fn delete_topic(
        &self,
        account: AccountId,
        input: DeleteTopic,
    ) -> Result<TopicDeleted, Error> {
        let name = input.name;
        self.place_topic(Command::DeleteTopic { account, name })
            .await?;
        Ok(TopicDeleted)
    }

    async fn set_topic(
        &self,
        account: AccountId,
        input: SetTopicAttributes,
    ) -> Result<TopicChanged, Error> {
        let SetTopicAttributes { name, changes } = input;
        let command = Command::SetTopicAttributes {
            account,
            name,
            changes,
        };
        let placed = self.place_topic(command).await?;
        Ok(TopicChanged {
            topic: placed.topic,
            attributes: placed
                .attributes
                .expect("a topic that was set has attributes"),
        })
    }

    async fn describe_topic(
        &self,
        account: AccountId,
        input: DescribeTopic,
    ) -> Result<TopicDescription, Error> {
        let name = input.name;
        let query = Query::Topic { account, name };
        let Answer::Topic(record) = self.read(ShardId::CATALOG, query).await? else {
            unreachable!("a query for a topic is answered with a topic")
        };
        let query = Query::TopicCounts {
            topic: record.topic,
        };
        let Answer::TopicCounts(counts) = self.read(record.shard, query).await? else {
            unreachable!("a query for counts is answered with counts")
        };
        Ok(topic_description(*record, counts))
    }

    async fn list_topics(
        &self,
        account: AccountId,
        input: ListTopics,
    ) -> Result<TopicsListed, Error> {
        let ListTopics {
            search,
            offset,
            limit,
        } = input;
        let query = Query::Topics {
            account,
            search,
            offset,
            limit,
        };
        let Answer::Topics { total, topics } = self.read(ShardId::CATALOG, query).await? else {
            unreachable!("a query for topics is answered with topics")
        };
        Ok(TopicsListed { total, topics })
    }

    async fn publish(
        &self,
        account: AccountId,
        input: PublishMessages,
    ) -> Result<MessagesPublished, Error> {
        let PublishMessages {
            topic: name,
            labels,
            bodies,
        } = input;
        let route = self.desk().routes.find_topic(account, &name);
        let TopicRoute { topic, shard } = route.ok_or(Error::NoSuchTopic)?;
        self.check_space(shard)?;
        check_batch(bodies.len())?;
        if labels.tags.len() > limits::TAGS_MAX {
            return Err(Error::AttributeOutOfRange);
        }
        let sealed = bodies.iter().map(|body| Published::seal(&labels, body));
        let encoded = codec::encode(&Command::Publish {
            topic,
            bodies: sealed.collect(),
        });
        match anser_host::ask(self.desk(), shard, Request::Propose(encoded)).await? {
            Response::Reply(Reply::Sent { messages }) => {
                let id = |sequence| MessageId { shard, sequence };
                Ok(MessagesPublished {
                    messages: messages.into_iter().map(id).collect(),
                })
            }
            other => unreachable!("a publish is answered with its messages, not {other:?}"),
        }
    }

    async fn subscribe(&self, account: AccountId, input: Subscribe) -> Result<Subscribed, Error> {
        self.check_space(ShardId::CATALOG)?;
        let command = Command::Subscribe(Box::new(command::Subscribe {
            account,
            topic: input.topic,
            name: input.name,
            endpoint: input.endpoint,
            retry: input.retry,
            format: input.format,
            tags: input.tags,
            binding_keys: input.binding_keys,
            dead_letter: input.dead_letter,
            subscriptions_max: input.subscriptions_max,
        }));
        let placed = self.place_subscription(command).await?;
        Ok(Subscribed {
            subscription: placed.subscription,
        })
    }

    async fn set_subscription(
        &self,
        account: AccountId,
        input: SetSubscriptionAttributes,
    ) -> Result<SubscriptionChanged, Error> {
        let SetSubscriptionAttributes {
            topic,
            name,
            changes,
        } = input;
        let command = Command::SetSubscriptionAttributes {
            account,
            topic,
            name,
            changes,
        };
        let placed = self.place_subscription(command).await?;
        Ok(SubscriptionChanged {
            subscription: placed.subscription,
        })
    }

    async fn describe_subscription(
        &self,
        account: AccountId,
        input: DescribeSubscription,
    ) -> Result<SubscriptionDescription, Error> {
        let DescribeSubscription { topic, name } = input;
        let query = Query::Subscription {
            account,
            topic,
            name,
        };
        let Answer::Subscription(record) = self.read(ShardId::CATALOG, query).await? else {
            unreachable!("a query for a subscription is answered with a subscription")
        };
        let query = Query::SubscriptionCounts {
            subscription: record.subscription,
        };
        let Answer::SubscriptionCounts(counts) = self.read(record.shard, query).await? else {
            unreachable!("a query for counts is answered with counts")
        };
        let failures = self.failures_of(record.shard, record.subscription).await;
        Ok(subscription_description(*record, counts, failures))
    }

    async fn list_subscriptions(
        &self,
        account: AccountId,
        input: ListSubscriptions,
    ) -> Result<SubscriptionsListed, Error> {
        let ListSubscriptions {
            topic,
            search,
            offset,
            limit,
        } = input;
        let query = Query::Subscriptions {
            account,
            topic,
            search,
            offset,
            limit,
        };
        let Answer::Subscriptions {
            total,
            subscriptions,
        } = self.read(ShardId::CATALOG, query).await?
        else {
            unreachable!("a query for subscriptions is answered with subscriptions")
        };
        Ok(SubscriptionsListed {
            total,
            subscriptions,
        })
    }

    async fn unsubscribe(
        &self,
        account: AccountId,
        input: Unsubscribe,
    ) -> Result<Unsubscribed, Error> {
        let Unsubscribe { topic, name } = input;
        self.place_subscription(Command::Unsubscribe {
            account,
            topic,
            name,
        })
        .await?;
        Ok(Unsubscribed)
    }

    async fn place_topic(&self, command: Command) -> Result<PlacedTopic, Error> {
        match self.place(command).await? {
            Placed::Topic(placed) => Ok(placed),
            other => unreachable!("a change of a topic places a topic, not {other:?}"),
        }
    }

    async fn place_subscription(&self, command: Command) -> Result<PlacedSubscription, Error> {
        match self.place(command).await? {
            Placed::Subscription(placed) => Ok(*placed),
            other => unreachable!("a change of a subscription places one, not {other:?}"),
        }
    }
}

fn topic_description(record: TopicRecord, counts: TopicCounts) -> TopicDescription {
    TopicDescription {
        topic: record.topic,
        name: record.name,
        attributes: record.attributes,
        created: record.created,
        modified: record.modified,
        subscriptions: record.subscriptions,
        waiting: counts.waiting,
        published: counts.published,
    }
}

fn subscription_description(
    record: SubscriptionRecord,
    counts: SubscriptionCounts,
    failures: Vec<DeliveryFailure>,
) -> SubscriptionDescription {
    SubscriptionDescription {
        subscription: record.subscription,
        topic: record.topic,
        name: record.name,
        endpoint: record.attributes.endpoint,
        retry: record.attributes.retry,
        format: record.attributes.format,
        filter: record.attributes.filter,
        dead_letter: record.dead_letter,
        created: record.created,
        modified: record.modified,
        waiting: counts.waiting,
        totals: counts.totals,
        failures,
    }
}
