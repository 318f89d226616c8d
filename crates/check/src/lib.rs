//! The history checker: judges what the clients of queues and topics saw, against what those promise.
//!
//! A test records every operation as an [`Event`] in a [`History`]: who asked what, when the request
//! left, when the answer came, and what it said. [`judge`] knows nothing of the server; it decides from
//! the history alone which promises (Q1-Q18 of the reliability design) were broken. Every bound is taken
//! on the side that favours the server, so a violation is a proof. What cannot be decided, such as a run
//! whose final drain was empty, is [`Invalid`] and never a pass. Read [`judge`] first.

mod body;
mod event;
mod evidence;
mod history;
mod leaps;
mod ledger;
mod report;
mod rules;
mod setting;
mod spans;
mod subscription;

pub use body::{Body, checksum};
pub use event::{
    Answer, Changes, Counters, DeadLetter, Delivery, Event, Limits, Nanos, Operation, Outcome,
    Push, QueueFacts, SentBody, Settings, refusal,
};
pub use history::{History, HistoryError};
pub use report::{Invalid, Report, Rule, Statistics, TopicStatistics, Violation};
pub use subscription::{Filter, Labels, Retry, SubscriptionFacts, Target};

/// Judges a history: which promises it breaks, or why it proves nothing.
pub fn judge(history: &History) -> Result<Report, Invalid> {
    rules::judge(history)
}
