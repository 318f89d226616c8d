//! The dead-letter policy, a JSON text in a parameter.

use anser_broker::{
    attributes::{DeadLetterAfter, DeadLetterPolicy},
    name::QueueName,
    op::NamedDeadLetterPolicy,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    action::seconds,
    errors::{Fault, Refusal},
    limits,
    resource_id::ResourceText,
};

/// Reads `{"deadLetterQueue":"name","policy":0,"maxReceiveCount":3}` or
/// `{"deadLetterQueue":"name","policy":1,"maxTimeToLive":600}`.
pub(crate) fn read(text: &str) -> Result<NamedDeadLetterPolicy, Refusal> {
    let Ok(Value::Object(members)) = serde_json::from_str(text) else {
        return Err(Fault::PolicyNotJson.into());
    };
    let Some(Value::String(queue)) = members.get("deadLetterQueue") else {
        return Err(Fault::PolicyQueue.into());
    };
    let after = match members.get("policy").and_then(Value::as_u64) {
        Some(0) => {
            let count = bound(
                &members,
                "maxReceiveCount",
                1,
                limits::DEAD_LETTER_RECEIVES_MOST,
            )?;
            DeadLetterAfter::Receives(u32::try_from(count).expect("at most a thousand"))
        }
        Some(1) => {
            let (least, most) = (
                limits::DEAD_LETTER_SECONDS_LEAST,
                limits::DEAD_LETTER_SECONDS_MOST,
            );
            DeadLetterAfter::Age(seconds(bound(&members, "maxTimeToLive", least, most)?))
        }
        _ => return Err(Fault::PolicyKind.into()),
    };
    let queue = QueueName::new(queue).map_err(|_| Fault::PolicyParameters)?;
    Ok(NamedDeadLetterPolicy { queue, after })
}

fn bound(members: &Map<String, Value>, name: &str, least: u64, most: u64) -> Result<u64, Refusal> {
    members
        .get(name)
        .and_then(Value::as_u64)
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| Fault::PolicyParameters.into())
}

/// A policy in an answer, an object with the dead-letter queue's id.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyShown {
    dead_letter_queue: ResourceText,
    policy: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_receive_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time_to_live: Option<u64>,
}

impl PolicyShown {
    pub(crate) fn new(policy: DeadLetterPolicy) -> Self {
        let dead_letter_queue = ResourceText::from(policy.queue);
        match policy.after {
            DeadLetterAfter::Receives(count) => Self {
                dead_letter_queue,
                policy: 0,
                max_receive_count: Some(count),
                max_time_to_live: None,
            },
            DeadLetterAfter::Age(age) => Self {
                dead_letter_queue,
                policy: 1,
                max_receive_count: None,
                max_time_to_live: Some(age.seconds()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_its_own_code() {
        let deep = "[".repeat(4_000);
        for (text, fault) in [
            ("no", Fault::PolicyNotJson),
            ("[]", Fault::PolicyNotJson),
            (&deep, Fault::PolicyNotJson),
            ("{}", Fault::PolicyQueue),
            (r#"{"deadLetterQueue":5,"policy":0}"#, Fault::PolicyQueue),
            (r#"{"deadLetterQueue":"d"}"#, Fault::PolicyKind),
            (r#"{"deadLetterQueue":"d","policy":2}"#, Fault::PolicyKind),
            (r#"{"deadLetterQueue":"d","policy":"0"}"#, Fault::PolicyKind),
            (
                r#"{"deadLetterQueue":"d","policy":0}"#,
                Fault::PolicyParameters,
            ),
            (
                r#"{"deadLetterQueue":"d","policy":0,"maxReceiveCount":0}"#,
                Fault::PolicyParameters,
            ),
            (
                r#"{"deadLetterQueue":"d","policy":0,"maxReceiveCount":1001}"#,
                Fault::PolicyParameters,
            ),
            (
                r#"{"deadLetterQueue":"d","policy":1,"maxTimeToLive":299}"#,
                Fault::PolicyParameters,
            ),
            (
                r#"{"deadLetterQueue":"d","policy":1,"maxTimeToLive":43201}"#,
                Fault::PolicyParameters,
            ),
            (
                r#"{"deadLetterQueue":"d/e","policy":0,"maxReceiveCount":1}"#,
                Fault::PolicyParameters,
            ),
        ] {
            assert_eq!(read(text).unwrap_err().fault, fault, "{text}");
        }
    }

    #[test]
    fn both_kinds_are_read() {
        let policy = read(r#"{"deadLetterQueue":"d","policy":0,"maxReceiveCount":3}"#).unwrap();
        assert_eq!(policy.after, DeadLetterAfter::Receives(3));
        let policy = read(r#"{"deadLetterQueue":"d","policy":1,"maxTimeToLive":600}"#).unwrap();
        assert_eq!(policy.after, DeadLetterAfter::Age(seconds(600)));
    }
}
