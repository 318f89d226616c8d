//! The subscriptions of the story.

use std::sync::Arc;

use anser::client::SubscriptionSettings;
use anser_check::{Filter, Retry, SubscriptionFacts, Target};

use crate::chaos::{
    receivers::{Manner, Receiver, Subscription, Temper},
    recorder::Recorder,
    workload::Chance,
};

/// One subscription of the story.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) topic: &'static str,
    pub(super) name: &'static str,
    /// Tags, or binding keys.
    pub(super) filter: &'static [&'static str],
    pub(super) goes_to: To,
    pub(super) retry: Retry,
}

#[derive(Clone, Copy)]
pub(super) enum To {
    Json(Manner),
    Simplified(Manner),
    Queue(&'static str),
}

pub(super) const fn shows(temper: Temper, once_in: u64) -> Manner {
    let times = u64::MAX;
    Manner {
        temper,
        once_in,
        times,
        ponders_ms: 30,
    }
}

pub(super) const fn row(
    topic: &'static str,
    name: &'static str,
    filter: &'static [&str],
    to: To,
) -> Row {
    Row {
        topic,
        name,
        filter,
        goes_to: to,
        retry: Retry::ExponentialDecay,
    }
}

/// A failure holds up a subscription with back-off for long, so there are few.
pub(super) const ORDERED: [Row; 2] = [
    Row {
        retry: Retry::BackOff,
        ..row(
            "tagged",
            "ordered",
            &["blue"],
            To::Simplified(Manner {
                temper: Temper::Fails,
                once_in: 10,
                times: 2,
                ponders_ms: 0,
            }),
        )
    },
    Row {
        retry: Retry::BackOff,
        ..row(
            "routed",
            "ordered",
            &["order.us.#"],
            To::Json(shows(Temper::Good, 1)),
        )
    },
];

pub(super) const ROWS: [Row; 11] = [
    row(
        "tagged",
        "every",
        &[],
        To::Json(shows(Temper::Redirects, 60)),
    ),
    row(
        "tagged",
        "red",
        &["red"],
        To::Simplified(shows(Temper::Fails, 12)),
    ),
    row(
        "tagged",
        "cold",
        &["green", "blue"],
        To::Json(shows(Temper::Hangs, 60)),
    ),
    row("tagged", "queued", &[], To::Queue("every")),
    row("tagged", "reds", &["red", "gold"], To::Queue("reds")),
    row(
        "routed",
        "every",
        &["#"],
        To::Json(shows(Temper::Resets, 30)),
    ),
    row(
        "routed",
        "paid",
        &["order.*.paid"],
        To::Simplified(shows(Temper::Slow, 20)),
    ),
    row(
        "routed",
        "both",
        &["order.#", "user.*"],
        To::Simplified(shows(Temper::Endless, 40)),
    ),
    row(
        "routed",
        "users",
        &["user.#"],
        To::Json(shows(Temper::Refuses, 1)),
    ),
    row("routed", "orders", &["order.#"], To::Queue("orders")),
    row(
        "rare",
        "gold",
        &["gold"],
        To::Simplified(shows(Temper::Good, 1)),
    ),
];

impl Row {
    pub(super) fn facts(&self) -> SubscriptionFacts {
        let words = self.words();
        SubscriptionFacts {
            topic: self.topic.to_owned(),
            name: self.name.to_owned(),
            filter: if self.topic == "routed" {
                Filter::BindingKeys(words)
            } else {
                Filter::Tags(words)
            },
            target: match self.goes_to {
                To::Queue(queue) => Target::Queue(queue.to_owned()),
                To::Json(_) | To::Simplified(_) => Target::Http,
            },
            retry: self.retry,
        }
    }

    pub(super) fn settings(&self) -> SubscriptionSettings {
        let (words, none) = (self.words(), Vec::new());
        let (binding_keys, filter_tags) = if self.topic == "routed" {
            (words, none)
        } else {
            (none, words)
        };
        let format = match self.goes_to {
            To::Json(_) => "JSON",
            To::Simplified(_) | To::Queue(_) => "SIMPLIFIED",
        };
        let strategy = match self.retry {
            Retry::BackOff => "BACKOFF_RETRY",
            Retry::ExponentialDecay => "EXPONENTIAL_DECAY_RETRY",
        };
        SubscriptionSettings {
            notify_strategy: Some(strategy.to_owned()),
            notify_content_format: Some(format.to_owned()),
            filter_tags,
            binding_keys,
            dead_letter_queue: None,
        }
    }

    fn words(&self) -> Vec<String> {
        self.filter.iter().map(|&word| word.to_owned()).collect()
    }

    /// How its receiver behaves, if it has one.
    pub(super) fn manner(&self) -> Option<Manner> {
        match self.goes_to {
            To::Json(manner) | To::Simplified(manner) => Some(manner),
            To::Queue(_) => None,
        }
    }

    pub(super) fn receiver(&self, recorder: &Arc<Recorder>, chance: Chance) -> Option<Receiver> {
        let manner = self.manner()?;
        let subscription = Subscription {
            topic: self.topic,
            name: self.name,
            is_json: matches!(self.goes_to, To::Json(_)),
        };
        Some(Receiver::start(recorder, subscription, manner, chance))
    }
}
