//! What the server's answers say, typed; field names are those of the CMQ API 2.0.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What every answer begins with.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) code: i64,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
}

/// An answer that says no more than that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Done {}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueCreated {
    pub queue_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    pub msg_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchSent {
    /// In the order of the bodies.
    pub msg_list: Vec<Sent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    pub msg_id: String,
    pub receipt_handle: String,
    pub msg_body: String,
    /// Times are seconds since 1970.
    pub enqueue_time: u64,
    pub first_dequeue_time: u64,
    pub next_visible_time: u64,
    pub dequeue_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchReceived {
    pub(super) msg_info_list: Vec<Received>,
}

/// The handles that a batch delete could not delete; empty if all went well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchDeleted {
    #[serde(default)]
    pub error_list: Vec<NotDeleted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotDeleted {
    pub code: i64,
    pub message: String,
    pub receipt_handle: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueList {
    /// How many match, before offset and limit.
    pub total_count: u64,
    pub queue_list: Vec<QueueListing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueListing {
    pub queue_id: String,
    pub queue_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueDetails {
    pub queue_name: String,
    pub queue_id: String,
    pub max_msg_heap_num: u64,
    pub polling_wait_seconds: u64,
    pub visibility_timeout: u64,
    pub max_msg_size: u64,
    pub msg_retention_seconds: u64,
    pub rewind_seconds: u64,
    /// Times are seconds since 1970.
    pub create_time: u64,
    pub last_modify_time: u64,
    pub active_msg_num: u64,
    pub inactive_msg_num: u64,
    pub delay_msg_num: u64,
    pub rewind_msg_num: u64,
    pub min_msg_time: u64,
    /// As the server words it: text or object.
    #[serde(default)]
    pub dead_letter_policy: Option<serde_json::Value>,
    /// An extension; `None`: `majority`.
    #[serde(default)]
    pub acknowledge: Option<String>,
}
