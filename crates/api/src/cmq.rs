//! CMQ API 2.0 ("A2"): flat forms in, JSON objects out, signature v1.
//!
//! [`table`] has one row an action. The steps of a request are in [`dialect`], the common parameters
//! and the signature in [`authenticate`], the envelope of every answer in [`envelope`]. What it means to do an
//! operation is not here: that is [`crate::front`]. Choices where the vendor's documents are silent are listed in
//! `docs/dialects/cmq.md`.

use std::{fmt, time::Duration};

use crate::auth::{host::Host, strict::Accounts};

pub(crate) mod action;
pub(crate) mod ambiguity;
mod attributes;
mod authenticate;
mod control;
pub(crate) mod dialect;
pub(crate) mod endpoint;
mod envelope;
pub(crate) mod errors;
mod limits;
pub(crate) mod message;
mod notify;
mod number;
mod page;
pub(crate) mod parameters;
mod policy;
pub(crate) mod publish;
mod queue;
pub(crate) mod resource_id;
mod route;
mod shown;
pub(crate) mod subscription;
mod subscription_attributes;
pub(crate) mod table;
mod topic;

/// How this server speaks CMQ.
#[derive(Clone)]
pub struct Config {
    /// Not looked at in requests: the address a client uses decides.
    pub region: String,
    /// How far a request's time may be from ours; at most [`Config::CLOCK_SKEW_MOST`].
    pub clock_skew: Duration,
    /// Accounts whose requests must be signed with SHA-256.
    pub sha256_only: Accounts,
    /// Accounts of which each signed request is accepted once by this node.
    pub once_only: Accounts,
    /// How long the name of a deleted queue or topic stays unusable.
    pub name_reuse: Duration,
    /// Queues an account may have.
    pub queues_max: u64,
    /// Topics an account may have.
    pub topics_max: u64,
    /// Subscriptions a topic may have.
    pub subscriptions_max: u64,
    /// What a new queue allows of leased and of delayed messages.
    pub in_flight_max: u64,
    pub delayed_max: u64,
    /// The smallest `maxMsgHeapNum`; tests make it small.
    pub backlog_least: u64,
    /// Hosts, with port if clients write one, under which this server is known besides the `Host`
    /// header, for instance in front of a proxy that changes it.
    pub public_names: Vec<Host<'static>>,
    /// Where clients of the TCP protocol find this server, each as `host:port`. Without any they are
    /// told the `Host` header of their own request.
    pub advertised_tcp: Vec<String>,
    /// The key of receipt handles, the same on all nodes and for good.
    pub receipt_key: [u8; 32],
}

impl Config {
    pub const CLOCK_SKEW_MOST: Duration = Duration::from_secs(2 * 3600);

    pub fn new(receipt_key: [u8; 32]) -> Self {
        Self {
            region: String::new(),
            clock_skew: Duration::from_secs(5 * 60),
            sha256_only: Accounts::default(),
            once_only: Accounts::default(),
            name_reuse: Duration::ZERO,
            queues_max: 10_000,
            topics_max: 10_000,
            subscriptions_max: 500,
            in_flight_max: 100_000,
            delayed_max: 1_000_000,
            backlog_least: limits::BACKLOG_LEAST,
            public_names: Vec::new(),
            advertised_tcp: Vec::new(),
            receipt_key,
        }
    }
}

/// Without the key.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("region", &self.region)
            .field("clock_skew", &self.clock_skew)
            .field("sha256_only", &self.sha256_only)
            .field("once_only", &self.once_only)
            .field("name_reuse", &self.name_reuse)
            .field("queues_max", &self.queues_max)
            .field("topics_max", &self.topics_max)
            .field("subscriptions_max", &self.subscriptions_max)
            .field("in_flight_max", &self.in_flight_max)
            .field("delayed_max", &self.delayed_max)
            .field("backlog_least", &self.backlog_least)
            .field("public_names", &self.public_names)
            .field("advertised_tcp", &self.advertised_tcp)
            .finish_non_exhaustive()
    }
}
