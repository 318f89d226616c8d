//! A queue's attributes: their ranges, their defaults and how they are shown.

use anser_broker::{
    attributes::{Acknowledge, AttributeChanges, QueueAttributes, RetentionFrom},
    time::Millis,
};
use serde::Serialize;

use super::{
    action::{Scope, seconds},
    errors::{Fault, Refusal},
    limits,
    parameters::{Arguments, Field, Kind},
    policy::PolicyShown,
    resource_id::ResourceText,
};

pub(crate) const BACKLOG: Field = Field::optional(
    "maxMsgHeapNum",
    // The least is the operator's to set.
    Kind::integer(0, limits::BACKLOG_MOST),
);
pub(crate) const WAIT: Field =
    Field::optional("pollingWaitSeconds", Kind::integer(0, limits::WAIT_SECONDS));
pub(crate) const VISIBILITY: Field = Field::optional(
    "visibilityTimeout",
    Kind::integer(1, limits::VISIBILITY_SECONDS),
);
pub(crate) const MESSAGE_BYTES: Field = Field::optional(
    "maxMsgSize",
    Kind::integer(limits::MESSAGE_BYTES_LEAST, limits::MESSAGE_BYTES_MOST),
);
pub(crate) const RETENTION: Field = Field::optional(
    "msgRetentionSeconds",
    Kind::integer(
        limits::RETENTION_SECONDS_LEAST,
        limits::RETENTION_SECONDS_MOST,
    ),
);
pub(crate) const REWIND: Field = Field::optional(
    "rewindSeconds",
    Kind::integer(0, limits::RETENTION_SECONDS_MOST),
);
/// An extension: which replicas must have a message before its send or publish is answered.
pub(crate) const ACKNOWLEDGE: Field =
    Field::optional("acknowledge", Kind::Text(limits::TEXT_BYTES));
pub(crate) const POLICY: Field =
    Field::optional("deadLetterPolicy", Kind::Text(limits::POLICY_BYTES));

/// The attributes that a request sets.
pub(crate) fn changes(
    arguments: &Arguments<'_>,
    scope: &Scope<'_>,
) -> Result<AttributeChanges, Refusal> {
    let time = |field: Field| arguments.integer(field.name).map(seconds);
    let backlog_max = arguments.integer(BACKLOG.name);
    if backlog_max.is_some_and(|count| count < scope.config.backlog_least) {
        return Err(Refusal::about(Fault::OutOfRange, BACKLOG.name.as_bytes()));
    }
    let retention = time(RETENTION);
    Ok(AttributeChanges {
        backlog_max,
        wait: time(WAIT),
        visibility: time(VISIBILITY),
        body_bytes_max: message_bytes(arguments),
        retention,
        rewind: time(REWIND),
        delay: None,
        delay_max: retention.map(delay_max),
        acknowledge: acknowledge(arguments)?,
    })
}

/// The acknowledgement policy that a request sets.
pub(crate) fn acknowledge(arguments: &Arguments<'_>) -> Result<Option<Acknowledge>, Refusal> {
    match arguments.text(ACKNOWLEDGE.name) {
        None => Ok(None),
        Some("majority") => Ok(Some(Acknowledge::Majority)),
        Some("all") => Ok(Some(Acknowledge::All)),
        Some(_) => {
            let name = ACKNOWLEDGE.name.as_bytes();
            Err(Refusal::about(Fault::OutOfRange, name))
        }
    }
}

/// A policy in an answer: only one that differs from what CMQ knows.
pub(crate) fn acknowledge_shown(acknowledge: Acknowledge) -> Option<&'static str> {
    match acknowledge {
        Acknowledge::Majority => None,
        Acknowledge::All => Some("all"),
    }
}

/// The largest message that a request allows.
pub(crate) fn message_bytes(arguments: &Arguments<'_>) -> Option<u32> {
    let bytes = arguments.integer(MESSAGE_BYTES.name)?;
    Some(u32::try_from(bytes).expect("a checked size is at most a mebibyte"))
}

/// The longest delay of a message in a queue of this retention.
fn delay_max(retention: Millis) -> Millis {
    let bound = retention.min(seconds(limits::DELAY_SECONDS_MOST));
    bound.max(seconds(limits::DELAY_SECONDS_ALWAYS))
}

/// The attributes of a queue whose creator says nothing.
pub(crate) fn defaults(scope: &Scope<'_>) -> QueueAttributes {
    let retention = seconds(limits::RETENTION_SECONDS);
    QueueAttributes {
        backlog_max: limits::BACKLOG,
        wait: Millis(0),
        visibility: seconds(limits::VISIBILITY_SECONDS_DEFAULT),
        body_bytes_max: limits::MESSAGE_BYTES,
        retention,
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: delay_max(retention),
        delayed_max: scope.config.delayed_max,
        in_flight_max: scope.config.in_flight_max,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}

/// Attributes in an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttributesShown {
    queue_id: ResourceText,
    max_msg_heap_num: u64,
    polling_wait_seconds: u64,
    visibility_timeout: u64,
    max_msg_size: u32,
    msg_retention_seconds: u64,
    rewind_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<PolicyShown>,
    /// Only of a queue that differs from what CMQ knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledge: Option<&'static str>,
}

impl AttributesShown {
    pub(crate) fn new(queue: ResourceText, attributes: &QueueAttributes) -> Self {
        Self {
            queue_id: queue,
            max_msg_heap_num: attributes.backlog_max,
            polling_wait_seconds: attributes.wait.seconds(),
            visibility_timeout: attributes.visibility.seconds(),
            max_msg_size: attributes.body_bytes_max,
            msg_retention_seconds: attributes.retention.seconds(),
            rewind_seconds: attributes.rewind.seconds(),
            dead_letter_policy: attributes.dead_letter.map(PolicyShown::new),
            acknowledge: acknowledge_shown(attributes.acknowledge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_may_always_be_an_hour_and_grows_with_the_retention() {
        assert_eq!(delay_max(seconds(60)), seconds(3600));
        assert_eq!(delay_max(seconds(345_600)), seconds(345_600));
        assert_eq!(delay_max(seconds(7_000_000)), seconds(6_048_000));
    }
}
