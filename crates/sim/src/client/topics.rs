//! Topics, and subscriptions that bring what is published to queues.

use anser_broker::{
    attributes::{Acknowledge, BodyFormat, FilterKind, TopicAttributes},
    codec,
    command::{Command, CreateTopic, Placed, PlacedTopic, Reply, Subscribe},
    error::Error,
    id::{AccountId, TopicId},
    labels::{Labels, Published, Tag},
    name::{SubscriptionName, TopicName},
    op::EndpointName,
    retry::RetryStrategy,
    time::Millis,
};
use anser_check::{
    Filter, Labels as Judged, Operation, Retry, SentBody, SubscriptionFacts, Target,
};
use bytes::Bytes;

use super::{
    Clients,
    history::{done_outcome, sent_outcome},
    queues::{AGES, Gets},
    work::{Work, name},
};
use crate::event::{Ask, Response};

const TOPICS_MAX: usize = 4;
const TAGS: [&str; 3] = ["red", "green", "blue"];

/// What was made by clients, the deleted included.
#[derive(Default)]
pub(super) struct Topics {
    topics: Vec<Topic>,
    subscriptions: Vec<Subscription>,
}

struct Topic {
    account: AccountId,
    name: String,
    id: TopicId,
    shard: u16,
    /// Who made it, and the only one to subscribe to it, to unsubscribe, and to delete it.
    owner: usize,
    is_gone: bool,
}

struct Subscription {
    topic: usize,
    name: String,
    /// The title of its queue.
    queue: String,
    tags: Vec<String>,
    /// It was deleted, or may have been.
    is_gone: bool,
}

/// What a client does with topics.
#[derive(Debug, Clone)]
pub(super) enum TopicWork {
    Create {
        account: AccountId,
        name: String,
    },
    /// Deletes a topic.
    End {
        topic: usize,
    },
    Subscribe {
        topic: usize,
        name: String,
        queue: usize,
        queue_name: String,
        tags: Vec<String>,
    },
    Unsubscribe {
        subscription: usize,
    },
    Publish {
        topic: usize,
        tags: Vec<String>,
        bodies: Vec<Bytes>,
        sent: Vec<SentBody>,
    },
}

impl TopicWork {
    pub(super) fn ask(&self, topics: &Topics) -> (u16, Ask) {
        let change = |command: Command| (0, Ask::Change(Box::new(command)));
        match self {
            Self::Create { account, name } => change(Command::CreateTopic(CreateTopic {
                account: *account,
                name: topic_name(name),
                attributes: attributes(name),
                topics_max: 100,
                reuse_after: Millis(0),
                avoid: Vec::new(),
            })),
            Self::End { topic } => {
                let Topic { account, name, .. } = &topics.topics[*topic];
                change(Command::DeleteTopic {
                    account: *account,
                    name: topic_name(name),
                })
            }
            Self::Subscribe {
                topic,
                name: subscription,
                queue_name,
                tags,
                ..
            } => {
                let Topic {
                    account,
                    name: topic,
                    ..
                } = &topics.topics[*topic];
                change(Command::Subscribe(Box::new(Subscribe {
                    account: *account,
                    topic: topic_name(topic),
                    name: subscription_name(subscription),
                    endpoint: EndpointName::Queue(name(queue_name)),
                    retry: RetryStrategy::BackOff,
                    format: BodyFormat::Simplified,
                    tags: labels(tags).tags,
                    binding_keys: Vec::new(),
                    dead_letter: None,
                    subscriptions_max: 100,
                })))
            }
            Self::Unsubscribe { subscription } => {
                let Subscription { topic, name, .. } = &topics.subscriptions[*subscription];
                let topic = &topics.topics[*topic];
                change(Command::Unsubscribe {
                    account: topic.account,
                    topic: topic_name(&topic.name),
                    name: subscription_name(name),
                })
            }
            Self::Publish {
                topic,
                tags,
                bodies,
                ..
            } => {
                let Topic { id, shard, .. } = topics.topics[*topic];
                let labels = labels(tags);
                let bodies = bodies.iter().map(|body| Published::seal(&labels, body));
                let command = Command::Publish {
                    topic: id,
                    bodies: bodies.collect(),
                };
                (shard, Ask::Propose(codec::encode(&command)))
            }
        }
    }
}

impl Topics {
    fn living(&self) -> impl Iterator<Item = usize> {
        let topics = self.topics.iter().enumerate();
        let living = topics.filter(|(_, topic)| !topic.is_gone);
        living.map(|(place, _)| place)
    }

    /// What the judge knows of them; a topic that never had one is none of its affairs.
    pub(super) fn facts(&self) -> Vec<SubscriptionFacts> {
        let subscriptions = self.subscriptions.iter();
        let facts = subscriptions.map(|subscription| SubscriptionFacts {
            topic: self.topics[subscription.topic].title(),
            name: subscription.name.clone(),
            filter: Filter::Tags(subscription.tags.clone()),
            target: Target::Queue(subscription.queue.clone()),
            retry: Retry::BackOff,
        });
        facts.collect()
    }

    fn begin(&mut self, placed: &PlacedTopic, owner: usize) {
        self.topics.push(Topic {
            account: placed.account,
            name: placed.name.as_str().to_owned(),
            id: placed.topic,
            shard: placed.shard.0,
            owner,
            is_gone: false,
        });
    }
}

impl Topic {
    fn title(&self) -> String {
        format!("{}/{}#{}", self.account.0, self.name, self.id.0)
    }
}

impl Clients {
    /// Something with topics, if there is any for this client.
    pub(super) fn choose_topic(&mut self, client: usize) -> Option<TopicWork> {
        let living: Vec<usize> = self.topics.living().collect();
        let Some(topic) = self.random.pick(&living) else {
            return self.create_topic(client);
        };
        let is_mine = self.topics.topics[topic].owner == client;
        match self.random.below(20) {
            0 => self.create_topic(client),
            1..5 if is_mine => self.subscribe(client, topic),
            5 if is_mine => Some(self.unsubscribe(topic)),
            _ => Some(self.publish(client, topic)),
        }
    }

    fn create_topic(&mut self, client: usize) -> Option<TopicWork> {
        let number = self.topics.topics.len();
        (number < TOPICS_MAX).then(|| TopicWork::Create {
            account: super::account_of(client),
            name: format!("t{client}-{}", self.counted),
        })
    }

    fn subscribe(&mut self, client: usize, topic: usize) -> Option<TopicWork> {
        let account = self.topics.topics[topic].account;
        let queues = self.queues.iter().enumerate();
        let free = queues.filter(|(_, queue)| {
            queue.account == account && !queue.is_fleeting && queue.can_get(Gets::Publishes)
        });
        let free: Vec<usize> = free.map(|(place, _)| place).collect();
        let queue = self.random.pick(&free)?;
        let of = &mut self.queues[queue];
        (of.gets, of.is_used) = (Gets::Publishes, true);
        Some(TopicWork::Subscribe {
            topic,
            name: format!("s{client}-{}", self.counted),
            queue,
            queue_name: self.queues[queue].name.clone(),
            tags: self.tags(),
        })
    }

    /// Ends a subscription, or the topic that has none.
    fn unsubscribe(&mut self, topic: usize) -> TopicWork {
        let subscriptions = self.topics.subscriptions.iter().enumerate();
        let of = subscriptions.filter(|(_, one)| one.topic == topic && !one.is_gone);
        let of: Vec<usize> = of.map(|(place, _)| place).collect();
        match self.random.pick(&of) {
            Some(subscription) => TopicWork::Unsubscribe { subscription },
            None => TopicWork::End { topic },
        }
    }

    fn publish(&mut self, client: usize, topic: usize) -> TopicWork {
        let count = if self.random.permille(250) { 4 } else { 1 };
        let (bodies, sent) = self.new_bodies(client, count);
        TopicWork::Publish {
            topic,
            tags: self.tags(),
            bodies,
            sent,
        }
    }

    fn tags(&mut self) -> Vec<String> {
        let wanted = TAGS.iter().filter(|_| self.random.permille(400));
        wanted.map(|&tag| tag.to_owned()).collect()
    }

    /// What became of it.
    pub(super) fn conclude_topic(&mut self, client: usize, work: &TopicWork, response: &Response) {
        match (work, response) {
            (TopicWork::Create { .. }, Response::Reply(Reply::Placed(Placed::Topic(placed)))) => {
                self.topics.begin(placed, client);
            }
            (TopicWork::End { topic }, Response::Reply(_) | Response::Refused(Error::Unknown)) => {
                self.topics.topics[*topic].is_gone = true;
            }
            (
                TopicWork::Subscribe {
                    topic,
                    name,
                    queue,
                    tags,
                    ..
                },
                Response::Reply(_) | Response::Refused(Error::Unknown),
            ) => {
                let of = &self.queues[*queue];
                self.topics.subscriptions.push(Subscription {
                    topic: *topic,
                    name: name.clone(),
                    queue: of.title(),
                    tags: tags.clone(),
                    is_gone: false,
                });
            }
            (
                TopicWork::Unsubscribe { subscription },
                Response::Reply(_) | Response::Refused(Error::Unknown),
            ) => self.topics.subscriptions[*subscription].is_gone = true,
            _ => {}
        }
    }

    /// What the judge is told; `None`: nothing.
    pub(super) fn with_topics(
        &self,
        work: &TopicWork,
        response: &Response,
    ) -> Option<(String, Operation)> {
        let title = |topic: &usize| self.topics.topics[*topic].title();
        let outcome = done_outcome(response);
        Some(match work {
            TopicWork::Create { .. } | TopicWork::End { .. } => return None,
            TopicWork::Subscribe { topic, name, .. } => {
                let name = name.clone();
                (title(topic), Operation::Subscribe { name, outcome })
            }
            TopicWork::Unsubscribe { subscription } => {
                let Subscription { topic, name, .. } = &self.topics.subscriptions[*subscription];
                let name = name.clone();
                (title(topic), Operation::Unsubscribe { name, outcome })
            }
            TopicWork::Publish {
                topic, tags, sent, ..
            } => {
                let publish = Operation::Publish {
                    labels: Judged {
                        tags: tags.clone(),
                        routing_key: None,
                    },
                    bodies: sent.clone(),
                    outcome: sent_outcome(response, self.topics.topics[*topic].shard),
                };
                (title(topic), publish)
            }
        })
    }
}

impl From<TopicWork> for Work {
    fn from(work: TopicWork) -> Self {
        Self::Topic(work)
    }
}

fn labels(tags: &[String]) -> Labels {
    let tags = tags.iter().map(|tag| Tag::new(tag).expect("it is a word"));
    Labels {
        tags: tags.collect(),
        routing_key: None,
    }
}

/// Some ask for more than what old programs can read.
fn attributes(name: &str) -> TopicAttributes {
    let acknowledge = if name.len().is_multiple_of(2) {
        Acknowledge::All
    } else {
        Acknowledge::Majority
    };
    TopicAttributes {
        body_bytes_max: 64 << 10,
        retention: AGES,
        filter: FilterKind::Tags,
        acknowledge,
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName::new(name).expect("names are made of letters")
}

fn subscription_name(name: &str) -> SubscriptionName {
    SubscriptionName::new(name).expect("names are made of letters")
}
