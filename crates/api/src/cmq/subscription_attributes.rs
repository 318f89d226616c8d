//! The action that shows one subscription: its settings, what became of its messages, and why
//! deliveries failed.

use anser_broker::{
    attributes::Filter,
    op::{self, DeliveryFailure, SubscriptionDescription},
};
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Scope},
    endpoint, notify,
    parameters::{Arguments, Field},
    resource_id::ResourceText,
    shown::{Digits, Text},
    subscription::SUBSCRIPTION,
    topic::TOPIC,
};

pub(crate) struct GetSubscriptionAttributes;

/// What clients read under two names stands under both.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionAttributesShown {
    subscription_id: ResourceText,
    subscription_name: String,
    topic_name: String,
    topic_owner: Digits,
    protocol: &'static str,
    protocal: &'static str,
    endpoint: String,
    notify_strategy: &'static str,
    notify_content_format: &'static str,
    filter_tag: Vec<String>,
    filter_tags: Vec<String>,
    binding_key: Vec<String>,
    create_time: u64,
    last_modify_time: u64,
    msg_count: u64,
    #[serde(flatten)]
    beyond: BeyondShown,
}

/// What CMQ does not show.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BeyondShown {
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_queue_name: Option<String>,
    delivered_num: u64,
    expired_num: u64,
    given_up_num: u64,
    dead_lettered_num: u64,
    last_failures: Vec<FailureShown>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureShown {
    time: u64,
    msg_id: Digits,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    milliseconds: u64,
    reason: String,
    answer: Text,
}

impl From<DeliveryFailure> for FailureShown {
    fn from(failure: DeliveryFailure) -> Self {
        Self {
            time: failure.at.seconds(),
            msg_id: Digits(failure.message.number()),
            attempt: failure.attempt,
            status: failure.status,
            milliseconds: failure.took.0,
            reason: failure.reason,
            answer: Text(failure.answer),
        }
    }
}

impl Action for GetSubscriptionAttributes {
    const NAME: &'static str = "GetSubscriptionAttributes";
    const FIELDS: &'static [Field] = &[TOPIC, SUBSCRIPTION];
    type Operation = op::DescribeSubscription;
    type Response = SubscriptionAttributesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let operation = op::DescribeSubscription {
            topic: arguments.topic_name(TOPIC.name),
            name: arguments.subscription_name(SUBSCRIPTION.name),
        };
        Ok((Self, operation))
    }

    fn write(self, output: SubscriptionDescription, scope: &Scope<'_>) -> Answered<Self> {
        let (protocol, endpoint) = endpoint::shown(output.endpoint);
        let (tags, binding_key) = filter(&output.filter);
        let totals = output.totals;
        let queue = output.dead_letter;
        Ok(SubscriptionAttributesShown {
            subscription_id: output.subscription.into(),
            subscription_name: output.name.as_str().to_owned(),
            topic_name: output.topic.as_str().to_owned(),
            topic_owner: Digits(scope.account.0),
            protocol,
            protocal: protocol,
            endpoint,
            notify_strategy: notify::strategy_word(output.retry),
            notify_content_format: notify::format_word(output.format),
            filter_tag: tags.clone(),
            filter_tags: tags,
            binding_key,
            create_time: output.created.seconds(),
            last_modify_time: output.modified.seconds(),
            msg_count: output.waiting,
            beyond: BeyondShown {
                dead_letter_queue_name: queue.map(|queue| queue.as_str().to_owned()),
                delivered_num: totals.delivered,
                expired_num: totals.expired,
                given_up_num: totals.given_up,
                dead_lettered_num: totals.dead_lettered,
                last_failures: output.failures.into_iter().map(Into::into).collect(),
            },
        })
    }
}

/// Tags and binding keys; one of the two is empty.
fn filter(filter: &Filter) -> (Vec<String>, Vec<String>) {
    match filter {
        Filter::Tags(tags) => {
            let tags = tags.iter().map(|tag| tag.as_str().to_owned());
            (tags.collect(), Vec::new())
        }
        Filter::BindingKeys(keys) => {
            let keys = keys.iter().map(|key| key.as_str().to_owned());
            (Vec::new(), keys.collect())
        }
    }
}
