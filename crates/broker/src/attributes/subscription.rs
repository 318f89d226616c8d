//! What can be set on a subscription.

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    id::QueueId,
    labels::{BindingKey, Tag},
    limits,
    name::QueueName,
    retry::RetryStrategy,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionAttributes {
    pub endpoint: Endpoint,
    pub retry: RetryStrategy,
    pub format: BodyFormat,
    pub filter: Filter,
    /// Where messages go that are given up; without it they are counted and dropped.
    pub dead_letter: Option<QueueId>,
}

/// Where messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// The URL as it was given. Whether it may be dialled is found out when it is.
    Http { url: Box<str> },
    /// The queue of this name in the topic's account.
    Queue {
        name: QueueName,
        /// `None` while there is no queue of this name: what is published waits for it.
        queue: Option<QueueId>,
    },
}

/// What a delivery's body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyFormat {
    /// The dialect's envelope around the message.
    Json,
    /// The message and nothing else.
    Simplified,
}

/// Which messages of the topic a subscription wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// Those with one of these tags; without any, all messages.
    Tags(Box<[Tag]>),
    /// Those whose routing key matches one of these. At least one.
    BindingKeys(Box<[BindingKey]>),
}

impl SubscriptionAttributes {
    /// Whether the values are within the core's bounds and agree with each other.
    pub fn check(&self) -> Result<(), Error> {
        match &self.endpoint {
            Endpoint::Http { url } if !(1..=limits::URL_BYTES_MAX).contains(&url.len()) => {
                return Err(Error::AttributeOutOfRange);
            }
            Endpoint::Queue { .. } if self.format != BodyFormat::Simplified => {
                return Err(Error::FormatNotForQueues);
            }
            Endpoint::Http { .. } | Endpoint::Queue { .. } => {}
        }
        self.filter.check()
    }
}

impl Filter {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Tags(tags) if tags.len() > limits::TAGS_MAX => Err(Error::AttributeOutOfRange),
            Self::BindingKeys(keys) if keys.is_empty() => Err(Error::BindingKeyMissing),
            Self::BindingKeys(keys) if keys.len() > limits::BINDING_KEYS_MAX => {
                Err(Error::AttributeOutOfRange)
            }
            Self::Tags(_) | Self::BindingKeys(_) => Ok(()),
        }
    }
}
