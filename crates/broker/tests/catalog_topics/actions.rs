//! Any change of topics and subscriptions there can be, and the command for it.

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, FilterKind, QueueAttributes, RetentionFrom, TopicAttributes,
        TopicChanges,
    },
    command::{Command, CreateQueue, CreateTopic, Subscribe},
    labels::{BindingKey, Tag},
    name::{QueueName, SubscriptionName, TopicName},
    op::{DeadLetterQueueChange, EndpointName, SubscriptionChanges},
    retry::RetryStrategy,
    time::Millis,
};
use proptest::prelude::*;

use super::{ACCOUNT, NAMES, REUSE_AFTER, SUBSCRIPTIONS_MAX, TOPICS_MAX, naive::Naive};

#[derive(Debug, Clone)]
pub(super) enum Action {
    CreateQueue(usize),
    DeleteQueue(usize),
    CreateTopic {
        name: usize,
        by_tags: bool,
    },
    DeleteTopic(usize),
    SetTopic {
        name: usize,
        retention: u64,
    },
    Subscribe(Wish),
    SetSubscription(Wish),
    Unsubscribe {
        topic: usize,
        name: usize,
    },
    /// Confirms the latest revision of something, or the one before.
    Settle {
        number: u64,
        back: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) topic: usize,
    pub(super) name: usize,
    /// None: over HTTP.
    pub(super) endpoint: Option<usize>,
    pub(super) is_json: bool,
    /// How many tags or binding keys.
    pub(super) filters: usize,
    pub(super) dead_letter: Option<usize>,
}

pub(super) fn an_action() -> impl Strategy<Value = Action> {
    let name = || 0..NAMES.len();
    let wish = || {
        let names = (
            name(),
            name(),
            prop::option::of(name()),
            prop::option::of(name()),
        );
        let bits = (
            prop::bool::weighted(0.2),
            prop_oneof![9 => 1usize..3, 1 => 0usize..12],
        );
        (names, bits).prop_map(
            |((topic, name, endpoint, dead_letter), (is_json, filters))| Wish {
                topic,
                name,
                endpoint,
                is_json,
                filters,
                dead_letter,
            },
        )
    };
    prop_oneof![
        4 => name().prop_map(Action::CreateQueue),
        2 => name().prop_map(Action::DeleteQueue),
        4 => (name(), any::<bool>()).prop_map(|(name, by_tags)| Action::CreateTopic { name, by_tags }),
        2 => name().prop_map(Action::DeleteTopic),
        1 => (name(), 0u64..3).prop_map(|(name, retention)| Action::SetTopic { name, retention }),
        8 => wish().prop_map(Action::Subscribe),
        4 => wish().prop_map(Action::SetSubscription),
        2 => (name(), name()).prop_map(|(topic, name)| Action::Unsubscribe { topic, name }),
        4 => (1u64..40, 0u64..2).prop_map(|(number, back)| Action::Settle { number, back }),
    ]
}

#[expect(clippy::too_many_lines, reason = "a flat table of actions")]
pub(super) fn command(action: &Action, naive: &Naive) -> Command {
    let (account, reuse_after) = (ACCOUNT, Millis(REUSE_AFTER));
    match *action {
        Action::CreateQueue(name) => Command::CreateQueue(CreateQueue {
            account,
            name: queue_name(name),
            attributes: queue_attributes(),
            dead_letter: None,
            queues_max: 100,
            reuse_after: Millis(0),
            avoid: Vec::new(),
        }),
        Action::DeleteQueue(name) => Command::DeleteQueue {
            account,
            name: queue_name(name),
        },
        Action::CreateTopic { name, by_tags } => Command::CreateTopic(CreateTopic {
            account,
            name: topic_name(name),
            attributes: TopicAttributes {
                acknowledge: Acknowledge::Majority,
                body_bytes_max: 1,
                retention: Millis(1),
                filter: if by_tags {
                    FilterKind::Tags
                } else {
                    FilterKind::RoutingKey
                },
            },
            topics_max: TOPICS_MAX,
            reuse_after,
            avoid: Vec::new(),
        }),
        Action::DeleteTopic(name) => Command::DeleteTopic {
            account,
            name: topic_name(name),
        },
        Action::SetTopic { name, retention } => Command::SetTopicAttributes {
            account,
            name: topic_name(name),
            changes: TopicChanges {
                acknowledge: None,
                body_bytes_max: None,
                retention: Some(Millis(retention)),
            },
        },
        Action::Subscribe(ref wish) => Command::Subscribe(Box::new(subscribe(wish))),
        Action::SetSubscription(ref wish) => Command::SetSubscriptionAttributes {
            account,
            topic: topic_name(wish.topic),
            name: subscription_name(wish.name),
            changes: SubscriptionChanges {
                retry: None,
                format: Some(format(wish.is_json)),
                tags: Some(tags(wish.filters)),
                binding_keys: Some(binding_keys(wish.filters)),
                dead_letter: match wish.dead_letter {
                    Some(name) => DeadLetterQueueChange::Set(queue_name(name)),
                    None => DeadLetterQueueChange::Remove,
                },
            },
        },
        Action::Unsubscribe { topic, name } => Command::Unsubscribe {
            account,
            topic: topic_name(topic),
            name: subscription_name(name),
        },
        Action::Settle { number, back } => {
            let record = naive.records.get(usize::try_from(number - 1).unwrap());
            let revision = record.map_or(1, |record| record.revision) - back;
            Command::Settled { number, revision }
        }
    }
}

fn subscribe(wish: &Wish) -> Subscribe {
    Subscribe {
        account: ACCOUNT,
        topic: topic_name(wish.topic),
        name: subscription_name(wish.name),
        endpoint: match wish.endpoint {
            Some(name) => EndpointName::Queue(queue_name(name)),
            None => EndpointName::Http {
                url: "http://a".to_owned(),
            },
        },
        retry: RetryStrategy::BackOff,
        format: format(wish.is_json),
        tags: tags(wish.filters),
        binding_keys: binding_keys(wish.filters),
        dead_letter: wish.dead_letter.map(queue_name),
        subscriptions_max: SUBSCRIPTIONS_MAX,
    }
}

fn queue_name(name: usize) -> QueueName {
    QueueName::new(NAMES[name]).unwrap()
}

pub(super) fn topic_name(name: usize) -> TopicName {
    TopicName::new(NAMES[name]).unwrap()
}

fn subscription_name(name: usize) -> SubscriptionName {
    SubscriptionName::new(NAMES[name]).unwrap()
}

fn format(is_json: bool) -> BodyFormat {
    if is_json {
        BodyFormat::Json
    } else {
        BodyFormat::Simplified
    }
}

fn tags(count: usize) -> Vec<Tag> {
    vec![Tag::new("tag").unwrap(); count]
}

fn binding_keys(count: usize) -> Vec<BindingKey> {
    vec![BindingKey::new("key.#").unwrap(); count]
}

fn queue_attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1,
        wait: Millis(0),
        visibility: Millis(1),
        body_bytes_max: 1,
        retention: Millis(1),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(0),
        delayed_max: 1,
        in_flight_max: 1,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}
