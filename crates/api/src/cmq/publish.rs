//! The actions that publish messages, one or a batch.

use anser_broker::{
    labels::Labels,
    op::{self, MessagesPublished},
};
use bytes::Bytes;

use super::{
    action::{Action, Answered, Asked, Scope},
    errors::Fault,
    message::{BODIES, BODY, MessageShown, MessagesShown, batch},
    parameters::{Arguments, Field, Kind},
    topic::TOPIC,
};

const TAGS: Field = Field::optional(
    "msgTag",
    Kind::Tags {
        beyond: Fault::TooManyMessageTags,
    },
);
const ROUTING_KEY: Field = Field::optional("routingKey", Kind::Key);

fn publish(arguments: &Arguments<'_>, bodies: Vec<Bytes>) -> op::PublishMessages {
    op::PublishMessages {
        topic: arguments.topic_name(TOPIC.name),
        labels: Labels {
            tags: arguments.tags(TAGS.name),
            routing_key: arguments.routing_key(ROUTING_KEY.name),
        },
        bodies,
    }
}

pub(crate) struct PublishMessage;

impl Action for PublishMessage {
    const NAME: &'static str = "PublishMessage";
    const FIELDS: &'static [Field] = &[TOPIC, BODY, TAGS, ROUTING_KEY];
    type Operation = op::PublishMessages;
    type Response = MessageShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        Ok((Self, publish(arguments, vec![arguments.body(BODY.name)])))
    }

    fn write(self, output: MessagesPublished, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(MessageShown::only(&output.messages))
    }
}

pub(crate) struct BatchPublishMessage;

impl Action for BatchPublishMessage {
    const NAME: &'static str = "BatchPublishMessage";
    const FIELDS: &'static [Field] = &[TOPIC, BODIES, TAGS, ROUTING_KEY];
    type Operation = op::PublishMessages;
    type Response = MessagesShown;

    fn read(arguments: &Arguments<'_>, _scope: &Scope<'_>) -> Asked<Self> {
        Ok((Self, publish(arguments, batch(arguments)?)))
    }

    fn write(self, output: MessagesPublished, _scope: &Scope<'_>) -> Answered<Self> {
        Ok(output.messages.into())
    }
}
