//! The actions on topics.

use anser_broker::{
    attributes::{Acknowledge, FilterKind, TopicAttributes, TopicChanges},
    op::{self, TopicChanged, TopicCreated, TopicDeleted, TopicDescription, TopicsListed},
};
use serde::Serialize;

use super::{
    action::{Action, Answered, Asked, Done, Scope, seconds},
    attributes::{ACKNOWLEDGE, MESSAGE_BYTES, acknowledge, acknowledge_shown, message_bytes},
    errors::Refusal,
    limits,
    page::{LIMIT, OFFSET, Page, SEARCH},
    parameters::{Arguments, Field, Kind},
    queue::REQUESTS_PER_SECOND,
    resource_id::ResourceText,
};

pub(crate) const TOPIC: Field = Field::required("topicName", Kind::TopicName);
const FILTER: Field = Field::optional("filterType", Kind::integer(BY_TAGS, BY_ROUTING_KEY));
/// An extension: in CMQ the retention of a topic is fixed.
const RETENTION: Field = Field::optional(
    "msgRetentionSeconds",
    Kind::integer(
        limits::RETENTION_SECONDS_LEAST,
        limits::TOPIC_RETENTION_SECONDS,
    ),
);
/// The values of `filterType`.
const BY_TAGS: u64 = 1;
const BY_ROUTING_KEY: u64 = 2;

fn changes(arguments: &Arguments<'_>) -> Result<TopicChanges, Refusal> {
    Ok(TopicChanges {
        body_bytes_max: message_bytes(arguments),
        retention: arguments.integer(RETENTION.name).map(seconds),
        acknowledge: acknowledge(arguments)?,
    })
}

pub(crate) struct CreateTopic;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicShown {
    topic_id: ResourceText,
}

impl Action for CreateTopic {
    const NAME: &'static str = "CreateTopic";
    const FIELDS: &'static [Field] = &[TOPIC, MESSAGE_BYTES, FILTER, RETENTION, ACKNOWLEDGE];
    type Operation = op::CreateTopic;
    type Response = TopicShown;

    fn read(arguments: &Arguments<'_>, scope: &Scope<'_>) -> Asked<Self> {
        let filter = match arguments.integer(FILTER.name) {
            Some(BY_ROUTING_KEY) => FilterKind::RoutingKey,
            _ => FilterKind::Tags,
        };
        let defaults = TopicAttributes {
            body_bytes_max: limits::MESSAGE_BYTES,
            retention: seconds(limits::TOPIC_RETENTION_SECONDS),
            filter,
            acknowledge: Acknowledge::Majority,
        };
        let operation = op::CreateTopic {
            name: arguments.topic_name(TOPIC.name),
            attributes: defaults.with(&changes(arguments)?),
            topics_max: scope.config.topics_max,
            reuse_after: scope.reuse_after(),
        };
        Ok((Self, operation))
    }

    fn write(self, output: TopicCreated, _scope: &Scope<'_>) -> Answered<Self> {
        let topic_id = output.topic.into();
        Ok(TopicShown { topic_id })
    }
}

pub(crate) struct SetTopicAttributes;

impl Action for SetTopicAttributes {
    const NAME: &'static str = "SetTopicAttributes";
    const FIELDS: &'static [Field] = &[TOPIC, MESSAGE_BYTES, RETENTION, ACKNOWLEDGE];
    type Operation = op::SetTopicAttributes;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let operation = op::SetTopicAttributes {
            name: arguments.topic_name(TOPIC.name),
            changes: changes(arguments)?,
        };
        Ok((Self, operation))
    }

    fn write(self, _output: TopicChanged, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}

pub(crate) struct GetTopicAttributes;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicAttributesShown {
    topic_id: ResourceText,
    topic_name: String,
    msg_count: u64,
    max_msg_size: u32,
    msg_retention_seconds: u64,
    create_time: u64,
    last_modify_time: u64,
    filter_type: u64,
    create_uin: u64,
    qps: u32,
    tags: [(); 0],
    logging_enabled: u8,
    /// The same number as the C++ client spells it.
    #[serde(rename = "LoggingEnabled")]
    logging_enabled_capital: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledge: Option<&'static str>,
}

impl Action for GetTopicAttributes {
    const NAME: &'static str = "GetTopicAttributes";
    const FIELDS: &'static [Field] = &[TOPIC];
    type Operation = op::DescribeTopic;
    type Response = TopicAttributesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.topic_name(TOPIC.name);
        Ok((Self, op::DescribeTopic { name }))
    }

    fn write(self, output: TopicDescription, scope: &Scope<'_>) -> Answered<Self> {
        Ok(TopicAttributesShown {
            topic_id: output.topic.into(),
            topic_name: output.name.as_str().to_owned(),
            msg_count: output.waiting,
            max_msg_size: output.attributes.body_bytes_max,
            msg_retention_seconds: output.attributes.retention.seconds(),
            create_time: output.created.seconds(),
            last_modify_time: output.modified.seconds(),
            filter_type: match output.attributes.filter {
                FilterKind::Tags => BY_TAGS,
                FilterKind::RoutingKey => BY_ROUTING_KEY,
            },
            create_uin: scope.account.0,
            qps: REQUESTS_PER_SECOND,
            tags: [],
            logging_enabled: 0,
            logging_enabled_capital: 0,
            acknowledge: acknowledge_shown(output.attributes.acknowledge),
        })
    }
}

pub(crate) struct ListTopic;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicsShown {
    total_count: u64,
    topic_list: Vec<TopicListed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicListed {
    topic_id: ResourceText,
    topic_name: String,
}

impl Action for ListTopic {
    const NAME: &'static str = "ListTopic";
    const FIELDS: &'static [Field] = &[SEARCH, OFFSET, LIMIT];
    type Operation = op::ListTopics;
    type Response = TopicsShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let Page {
            search,
            offset,
            limit,
        } = Page::read(arguments, limits::PAGE_MOST);
        let operation = op::ListTopics {
            search,
            offset,
            limit,
        };
        Ok((Self, operation))
    }

    fn write(self, output: TopicsListed, _scope: &Scope<'_>) -> Answered<Self> {
        let topics = output.topics.into_iter().map(|listing| TopicListed {
            topic_id: listing.topic.into(),
            topic_name: listing.name.as_str().to_owned(),
        });
        Ok(TopicsShown {
            total_count: output.total,
            topic_list: topics.collect(),
        })
    }
}

pub(crate) struct DeleteTopic;

impl Action for DeleteTopic {
    const NAME: &'static str = "DeleteTopic";
    const FIELDS: &'static [Field] = &[TOPIC];
    type Operation = op::DeleteTopic;
    type Response = Done;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        let name = arguments.topic_name(TOPIC.name);
        Ok((Self, op::DeleteTopic { name }))
    }

    fn write(self, _output: TopicDeleted, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(Done {})
    }
}
