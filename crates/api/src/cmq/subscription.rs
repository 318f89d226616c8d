//! The actions that make, change, list and end subscriptions.

use anser_broker::{
    attributes::BodyFormat,
    op::{
        self, DeadLetterQueueChange, EndpointName, Subscribed, SubscriptionChanged,
        SubscriptionChanges, SubscriptionListing, SubscriptionsListed, Unsubscribed,
    },
    retry::RetryStrategy,
};
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Done, Scope},
    endpoint,
    errors::Fault,
    limits, notify,
    page::{OFFSET, Page, SEARCH},
    parameters::{Arguments, Field, Kind},
    resource_id::ResourceText,
    topic::TOPIC,
};

pub(crate) const SUBSCRIPTION: Field = Field::required("subscriptionName", Kind::SubscriptionName);
const PROTOCOL: Field = Field::required("protocol", Kind::Raw);
const ENDPOINT: Field = Field::required("endpoint", Kind::Endpoint);
/// The PHP client sends it where it changes nothing.
const ENDPOINT_IGNORED: Field = Field::optional("endpoint", Kind::Endpoint);
const PROTOCOL_IGNORED: Field = Field::optional("protocol", Kind::Raw);
const TAGS: Field = Field::optional(
    "filterTag",
    Kind::Tags {
        beyond: Fault::TooManyFilterTags,
    },
);
const BINDING_KEYS: Field = Field::optional(
    "bindingKey",
    Kind::Keys {
        beyond: Fault::TooManyBindingKeys,
    },
);
/// An extension: where messages go that are given up.
const DEAD_LETTER_QUEUE: Field = Field::optional("deadLetterQueueName", Kind::QueueNameOrEmpty);
/// Unlike other lists, this one may be asked for nothing but its length.
const LIMIT: Field = Field::optional("limit", Kind::integer(0, u64::MAX));

pub(crate) struct Subscribe;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionShown {
    subscription_id: ResourceText,
}

impl Action for Subscribe {
    const NAME: &'static str = "Subscribe";
    const FIELDS: &'static [Field] = &[
        TOPIC,
        SUBSCRIPTION,
        PROTOCOL,
        ENDPOINT,
        notify::STRATEGY,
        notify::FORMAT,
        TAGS,
        BINDING_KEYS,
        DEAD_LETTER_QUEUE,
    ];
    type Operation = op::Subscribe;
    type Response = SubscriptionShown;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self> {
        let (protocol, text) = (arguments.raw(PROTOCOL.name), arguments.raw(ENDPOINT.name));
        let endpoint = endpoint::read(protocol, text)?;
        let usual_format = match endpoint {
            EndpointName::Http { .. } => BodyFormat::Json,
            EndpointName::Queue(_) => BodyFormat::Simplified,
        };
        let operation = op::Subscribe {
            topic: arguments.topic_name(TOPIC.name),
            name: arguments.subscription_name(SUBSCRIPTION.name),
            retry: notify::strategy(arguments)?.unwrap_or(RetryStrategy::ExponentialDecay),
            format: notify::format(arguments)?.unwrap_or(usual_format),
            endpoint,
            tags: arguments.tags(TAGS.name),
            binding_keys: arguments.binding_keys(BINDING_KEYS.name),
            dead_letter: match dead_letter(arguments) {
                DeadLetterQueueChange::Set(queue) => Some(queue),
                DeadLetterQueueChange::Keep | DeadLetterQueueChange::Remove => None,
            },
            subscriptions_max: scope.config.subscriptions_max,
        };
        Ok((Self, operation))
    }

    fn write(self, output: Subscribed, _scope: &Scope<'_>) -> Answered<Self> {
        let subscription_id = output.subscription.into();
        Ok(SubscriptionShown { subscription_id })
    }
}

fn dead_letter(arguments: &Arguments<'_>) -> DeadLetterQueueChange {
    match arguments.raw_if_given(DEAD_LETTER_QUEUE.name) {
        None => DeadLetterQueueChange::Keep,
        Some([]) => DeadLetterQueueChange::Remove,
        Some(_) => DeadLetterQueueChange::Set(arguments.queue_name(DEAD_LETTER_QUEUE.name)),
    }
}

fn set(arguments: &Arguments<'_>, changes: SubscriptionChanges) -> op::SetSubscriptionAttributes {
    op::SetSubscriptionAttributes {
        topic: arguments.topic_name(TOPIC.name),
        name: arguments.subscription_name(SUBSCRIPTION.name),
        changes,
    }
}

/// An absent list leaves things as they are; there is no way to write an empty one.
fn given<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

pub(crate) struct SetSubscriptionAttributes;

impl Action for SetSubscriptionAttributes {
    const NAME: &'static str = "SetSubscriptionAttributes";
    const FIELDS: &'static [Field] = &[
        TOPIC,
        SUBSCRIPTION,
        PROTOCOL_IGNORED,
        ENDPOINT_IGNORED,
        notify::STRATEGY,
        notify::FORMAT,
        TAGS,
        BINDING_KEYS,
        DEAD_LETTER_QUEUE,
    ];
    type Operation = op::SetSubscriptionAttributes;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let changes = SubscriptionChanges {
            retry: notify::strategy(arguments)?,
            format: notify::format(arguments)?,
            tags: given(arguments.tags(TAGS.name)),
            binding_keys: given(arguments.binding_keys(BINDING_KEYS.name)),
            dead_letter: dead_letter(arguments),
        };
        Ok((Self, set(arguments, changes)))
    }

    fn write(self, _output: SubscriptionChanged, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}

pub(crate) struct ClearSubscriptionFilterTags;

impl Action for ClearSubscriptionFilterTags {
    const NAME: &'static str = "ClearSubscriptionFilterTags";
    const FIELDS: &'static [Field] = &[TOPIC, SUBSCRIPTION];
    type Operation = op::SetSubscriptionAttributes;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let changes = SubscriptionChanges {
            tags: Some(Vec::new()),
            ..SubscriptionChanges::default()
        };
        Ok((Self, set(arguments, changes)))
    }

    fn write(self, _output: SubscriptionChanged, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}

pub(crate) struct Unsubscribe;

impl Action for Unsubscribe {
    const NAME: &'static str = "Unsubscribe";
    const FIELDS: &'static [Field] = &[TOPIC, SUBSCRIPTION];
    type Operation = op::Unsubscribe;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let operation = op::Unsubscribe {
            topic: arguments.topic_name(TOPIC.name),
            name: arguments.subscription_name(SUBSCRIPTION.name),
        };
        Ok((Self, operation))
    }

    fn write(self, _output: Unsubscribed, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}

pub(crate) struct ListSubscriptionByTopic;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionsShown {
    total_count: u64,
    subscription_list: Vec<SubscriptionListed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionListed {
    subscription_id: ResourceText,
    subscription_name: String,
    protocol: &'static str,
    endpoint: String,
}

impl From<SubscriptionListing> for SubscriptionListed {
    fn from(listing: SubscriptionListing) -> Self {
        let (protocol, endpoint) = endpoint::shown(listing.endpoint);
        Self {
            subscription_id: listing.subscription.into(),
            subscription_name: listing.name.as_str().to_owned(),
            protocol,
            endpoint,
        }
    }
}

impl Action for ListSubscriptionByTopic {
    const NAME: &'static str = "ListSubscriptionByTopic";
    const FIELDS: &'static [Field] = &[TOPIC, SEARCH, OFFSET, LIMIT];
    type Operation = op::ListSubscriptions;
    type Response = SubscriptionsShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let Page {
            search,
            offset,
            limit,
        } = Page::read(arguments, limits::SUBSCRIPTIONS_PAGE_MOST);
        let operation = op::ListSubscriptions {
            topic: arguments.topic_name(TOPIC.name),
            search,
            offset,
            limit,
        };
        Ok((Self, operation))
    }

    fn write(self, output: SubscriptionsListed, _scope: &Scope<'_>) -> Answered<Self> {
        let subscriptions = output.subscriptions.into_iter().map(Into::into);
        Ok(SubscriptionsShown {
            total_count: output.total,
            subscription_list: subscriptions.collect(),
        })
    }
}
