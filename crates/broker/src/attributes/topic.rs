//! What can be set on a topic.

use serde::{Deserialize, Serialize};

use crate::{attributes::Acknowledge, error::Error, limits, time::Millis};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Spoken", into = "Spoken")]
pub struct TopicAttributes {
    pub body_bytes_max: u32,
    /// How long a message is kept for subscribers that have not received it.
    pub retention: Millis,
    /// Fixed when the topic is made.
    pub filter: FilterKind,
    /// Which replicas must have a message before its publisher hears that it was published.
    pub acknowledge: Acknowledge,
}

/// By what subscriptions choose among a topic's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub acknowledge: Option<Acknowledge>,
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
            acknowledge: changes.acknowledge.unwrap_or(self.acknowledge),
        }
    }
}

/// Attributes between nodes, where a program from before there were policies reads those of a topic that
/// has the usual one.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spoken {
    body_bytes_max: u32,
    retention: Millis,
    filter: SpokenFilter,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum SpokenFilter {
    Tags,
    RoutingKey,
    /// Every voter acknowledges. Not before version 2 of the cluster, as the next.
    TagsForAll,
    RoutingKeyForAll,
}

impl From<TopicAttributes> for Spoken {
    fn from(attributes: TopicAttributes) -> Self {
        Self {
            body_bytes_max: attributes.body_bytes_max,
            retention: attributes.retention,
            filter: match (attributes.filter, attributes.acknowledge) {
                (FilterKind::Tags, Acknowledge::Majority) => SpokenFilter::Tags,
                (FilterKind::RoutingKey, Acknowledge::Majority) => SpokenFilter::RoutingKey,
                (FilterKind::Tags, Acknowledge::All) => SpokenFilter::TagsForAll,
                (FilterKind::RoutingKey, Acknowledge::All) => SpokenFilter::RoutingKeyForAll,
            },
        }
    }
}

impl From<Spoken> for TopicAttributes {
    fn from(spoken: Spoken) -> Self {
        let (filter, acknowledge) = match spoken.filter {
            SpokenFilter::Tags => (FilterKind::Tags, Acknowledge::Majority),
            SpokenFilter::RoutingKey => (FilterKind::RoutingKey, Acknowledge::Majority),
            SpokenFilter::TagsForAll => (FilterKind::Tags, Acknowledge::All),
            SpokenFilter::RoutingKeyForAll => (FilterKind::RoutingKey, Acknowledge::All),
        };
        Self {
            body_bytes_max: spoken.body_bytes_max,
            retention: spoken.retention,
            filter,
            acknowledge,
        }
    }
}
