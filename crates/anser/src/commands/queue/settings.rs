//! Flags that set a queue's attributes.

use anyhow::Result;
use clap::Args;

use crate::{client::QueueSettings, exit::Exit};

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// How long a received message is hidden from others: 1 to 43200, at first 30.
    #[arg(long, value_name = "SECONDS")]
    visibility_timeout: Option<u64>,
    /// How long a receive waits for a message: 0 to 30, at first 0.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// How long a message is kept: 60 to 1296000, at first 345600.
    #[arg(long, value_name = "SECONDS")]
    retention: Option<u64>,
    /// How long deleted messages are kept for rewinding: 0 to the retention, at first 0.
    #[arg(long, value_name = "SECONDS")]
    rewind: Option<u64>,
    /// The largest body: 1024 to 1048576, at first 65536.
    #[arg(long, value_name = "BYTES")]
    max_body: Option<u64>,
    /// The largest backlog: 1000000 to 1000000000, at first 100000000.
    #[arg(long, value_name = "MESSAGES")]
    max_backlog: Option<u64>,
    /// The queue for messages that were received too often or waited too long.
    #[arg(long, value_name = "QUEUE")]
    dead_letter: Option<String>,
    /// A message moves to the dead-letter queue after so many receives: 1 to 1000.
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "dead_letter",
        conflicts_with = "max_age"
    )]
    max_receives: Option<u64>,
    /// A message moves to the dead-letter queue after waiting so long: 300 to 43200.
    #[arg(long, value_name = "SECONDS", requires = "dead_letter")]
    max_age: Option<u64>,
    /// Which copies must have a message before its send is answered: most of them, or all.
    #[arg(long, value_name = "majority|all", value_parser = ["majority", "all"])]
    acknowledge: Option<String>,
}

impl Settings {
    pub(super) fn changes(&self) -> Result<QueueSettings> {
        Ok(QueueSettings {
            max_msg_heap_num: self.max_backlog,
            polling_wait_seconds: self.wait,
            visibility_timeout: self.visibility_timeout,
            max_msg_size: self.max_body,
            msg_retention_seconds: self.retention,
            rewind_seconds: self.rewind,
            dead_letter_policy: self.dead_letter_policy()?,
            acknowledge: self.acknowledge.clone(),
        })
    }

    fn dead_letter_policy(&self) -> Result<Option<String>> {
        let Some(queue) = &self.dead_letter else {
            return Ok(None);
        };
        let policy = match (self.max_receives, self.max_age) {
            (Some(count), _) => serde_json::json!({
                "deadLetterQueue": queue, "policy": 0, "maxReceiveCount": count,
            }),
            (None, Some(age)) => serde_json::json!({
                "deadLetterQueue": queue, "policy": 1, "maxTimeToLive": age,
            }),
            (None, None) => {
                return Err(Exit::Configuration.error(
                    "--dead-letter says where but not when: add --max-receives or --max-age",
                ));
            }
        };
        Ok(Some(policy.to_string()))
    }
}
