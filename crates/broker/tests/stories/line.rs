//! A line of a story, and what its words mean.

use std::collections::BTreeMap;

use anser_broker::{
    attributes::{
        Acknowledge, AttributeChanges, BodyFormat, DeadLetterAfter, FilterKind, QueueAttributes,
        RetentionFrom, TopicAttributes, TopicChanges,
    },
    command::{Command, CreateTopic, DeadLetterUpdate, Subscribe},
    id::AccountId,
    labels::{BindingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    time::Millis,
};
use bytes::Bytes;

/// A line's words: the verb, the plain ones and the `name=value` ones.
pub(super) struct Line<'a> {
    pub(super) verb: &'a str,
    pub(super) plain: Vec<&'a str>,
    pub(super) named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let (named, plain): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let named = named
            .into_iter()
            .map(|word| word.split_once('=').unwrap())
            .collect();
        Self { verb, plain, named }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.named.get(name).map(|text| text.parse().unwrap())
    }

    pub(super) fn time(&self, name: &str) -> Option<Millis> {
        self.named.get(name).map(|text| duration(text))
    }

    pub(super) fn account(&self) -> AccountId {
        AccountId(self.number("account").unwrap_or(1))
    }

    pub(super) fn name(&self) -> QueueName {
        QueueName::new(self.plain[0]).unwrap()
    }

    pub(super) fn bodies(&self) -> Vec<Bytes> {
        let bodies = self.plain[1..].iter();
        let bodies = bodies.map(|body| Bytes::from(body.trim_matches('"').to_owned()));
        bodies.collect()
    }

    /// Words divided by commas; `none`: no words.
    fn words(&self, name: &str) -> Option<Vec<&'a str>> {
        match *self.named.get(name)? {
            "none" => Some(Vec::new()),
            text => Some(text.split(',').collect()),
        }
    }

    pub(super) fn tags(&self) -> Option<Vec<Tag>> {
        let words = self.words("tags")?.into_iter();
        Some(words.map(|tag| Tag::new(tag).unwrap()).collect())
    }

    fn binding_keys(&self) -> Option<Vec<BindingKey>> {
        let words = self.words("keys")?.into_iter();
        Some(words.map(|key| BindingKey::new(key).unwrap()).collect())
    }

    fn retry(&self) -> Option<RetryStrategy> {
        self.named.get("retry").map(|retry| match *retry {
            "back-off" => RetryStrategy::BackOff,
            _ => RetryStrategy::ExponentialDecay,
        })
    }

    fn body_bytes_max(&self) -> Option<u32> {
        self.number("body-max")
            .map(|max| u32::try_from(max).unwrap())
    }

    pub(super) fn topic_command(&self) -> Command {
        let account = self.account();
        let topic = TopicName::new(self.plain[0]).unwrap();
        let subscription = self
            .plain
            .get(1)
            .map(|name| SubscriptionName::new(name).unwrap());
        match (self.verb, subscription) {
            ("create-topic", _) => Command::CreateTopic(CreateTopic {
                account,
                name: topic,
                attributes: TopicAttributes {
                    acknowledge: Acknowledge::Majority,
                    body_bytes_max: self.body_bytes_max().unwrap_or(16),
                    retention: self.time("retention").unwrap_or(duration("1d")),
                    filter: match self.named.get("filter") {
                        Some(&"keys") => FilterKind::RoutingKey,
                        _ => FilterKind::Tags,
                    },
                },
                topics_max: self.number("topics-max").unwrap_or(100),
                reuse_after: self.time("reuse-after").unwrap_or(Millis(0)),
                avoid: Vec::new(),
            }),
            ("set-topic", _) => Command::SetTopicAttributes {
                account,
                name: topic,
                changes: TopicChanges {
                    acknowledge: None,
                    body_bytes_max: self.body_bytes_max(),
                    retention: self.time("retention"),
                },
            },
            ("delete-topic", _) => Command::DeleteTopic {
                account,
                name: topic,
            },
            ("subscribe", Some(name)) => Command::Subscribe(Box::new(self.subscribe(topic, name))),
            ("set-subscription", Some(name)) => Command::SetSubscriptionAttributes {
                account,
                topic,
                name,
                changes: SubscriptionChanges {
                    retry: self.retry(),
                    format: None,
                    tags: self.tags(),
                    binding_keys: self.binding_keys(),
                    dead_letter: match self.named.get("dead-letter") {
                        None => DeadLetterQueueChange::Keep,
                        Some(&"none") => DeadLetterQueueChange::Remove,
                        Some(name) => DeadLetterQueueChange::Set(QueueName::new(name).unwrap()),
                    },
                },
            },
            ("unsubscribe", Some(name)) => Command::Unsubscribe {
                account,
                topic,
                name,
            },
            (verb, _) => panic!("{verb} lacks a name"),
        }
    }

    /// With `queue=` to a queue, otherwise over HTTP.
    fn subscribe(&self, topic: TopicName, name: SubscriptionName) -> Subscribe {
        let queue = |text: &&str| QueueName::new(text).unwrap();
        Subscribe {
            account: self.account(),
            topic,
            name,
            endpoint: match self.named.get("queue").map(queue) {
                Some(queue) => EndpointName::Queue(queue),
                None => EndpointName::Http {
                    url: "http://example.com/".to_owned(),
                },
            },
            retry: self.retry().unwrap_or(RetryStrategy::ExponentialDecay),
            format: BodyFormat::Simplified,
            tags: self.tags().unwrap_or_default(),
            binding_keys: self.binding_keys().unwrap_or_default(),
            dead_letter: self.named.get("dead-letter").map(queue),
            subscriptions_max: self.number("subscriptions-max").unwrap_or(100),
        }
    }

    pub(super) fn dead_letter(&self) -> DeadLetterUpdate {
        match self.named.get("dead-letter") {
            None => DeadLetterUpdate::Keep,
            Some(&"none") => DeadLetterUpdate::Remove,
            Some(text) => {
                let parts: Vec<_> = text.split(':').collect();
                let after = match parts[1] {
                    "receives" => DeadLetterAfter::Receives(parts[2].parse().unwrap()),
                    _ => DeadLetterAfter::Age(duration(parts[2])),
                };
                DeadLetterUpdate::Set(QueueName::new(parts[0]).unwrap(), after)
            }
        }
    }
}

pub(super) fn duration(text: &str) -> Millis {
    let split = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap();
    let number: u64 = text[..split].parse().unwrap();
    let unit = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => panic!("no unit {unit}"),
    };
    Millis(number * unit)
}

pub(super) fn attributes(line: &Line<'_>) -> QueueAttributes {
    let defaults = QueueAttributes {
        backlog_max: 1000,
        wait: Millis(0),
        visibility: Millis::from_seconds(30),
        body_bytes_max: 16,
        retention: Millis::from_seconds(4 * 86_400),
        retention_from: match line.named.get("retention-from") {
            Some(&"visible") => RetentionFrom::Visible,
            _ => RetentionFrom::Sent,
        },
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis::from_seconds(400 * 86_400),
        delayed_max: line.number("delayed-max").unwrap_or(100),
        in_flight_max: line.number("in-flight-max").unwrap_or(100),
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    };
    defaults.with(&changes(line))
}

pub(super) fn changes(line: &Line<'_>) -> AttributeChanges {
    AttributeChanges {
        backlog_max: line.number("backlog-max"),
        wait: line.time("wait"),
        visibility: line.time("visibility"),
        body_bytes_max: line
            .number("body-max")
            .map(|max| u32::try_from(max).unwrap()),
        retention: line.time("retention"),
        rewind: line.time("rewind"),
        delay: line.time("delay"),
        delay_max: line.time("delay-max"),
        acknowledge: line.named.get("acknowledge").map(|text| match *text {
            "all" => Acknowledge::All,
            _ => Acknowledge::Majority,
        }),
    }
}
