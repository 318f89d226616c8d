//! What can be set on a topic.

use serde::{Deserialize, Serialize};

use crate::{error::Error, limits, time::Millis};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicAttributes {
    pub body_bytes_max: u32,
    /// How long a message is kept for subscribers that have not received it.
    pub retention: Millis,
    /// Fixed when the topic is made.
    pub filter: FilterKind,
}

/// By what subscriptions choose among a topic's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterKind {
    /// Words on a message; any word in common suffices, and no filter takes everything.
    Tags,
    /// One dotted key on a message, patterns with wildcards at subscriptions.
    RoutingKey,
}

/// Settings to change; `None` leaves one as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicChanges {
    pub body_bytes_max: Option<u32>,
    pub retention: Option<Millis>,
}

impl TopicAttributes {
    /// Whether the values are within the core's bounds.
    pub fn check(&self) -> Result<(), Error> {
        let in_range = (1..=limits::BODY_BYTES_MAX).contains(&self.body_bytes_max)
            && (Millis(1)..=limits::TOPIC_RETENTION_MAX).contains(&self.retention);
        if in_range {
            Ok(())
        } else {
            Err(Error::AttributeOutOfRange)
        }
    }

    /// These settings with some of them changed.
    #[must_use]
    pub fn with(&self, changes: &TopicChanges) -> Self {
        Self {
            body_bytes_max: changes.body_bytes_max.unwrap_or(self.body_bytes_max),
            retention: changes.retention.unwrap_or(self.retention),
            filter: self.filter,
        }
    }
}
