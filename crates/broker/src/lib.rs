//! The queue state machine: commands in, replies and effects out.
//!
//! Pure: no clock, disk, network, randomness or thread, so that every replica that applies the same
//! commands has the same queues. Read [`op`] for what can be asked, then [`command`] for what a
//! shard's log holds, then [`shard`] for how it is applied, then `queue` for a message's life.

pub mod attributes;
pub mod codec;
pub mod command;
pub mod context;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod labels;
pub mod limits;
pub mod name;
pub mod op;
pub mod outboxes;
pub mod retry;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod service;
pub mod shard;
pub mod time;
pub mod version;

mod blocks;
mod catalog;
#[cfg(test)]
mod counting;
mod fingerprint;
mod list;
mod moment;
mod queue;
mod sorted;
mod topic;
mod turn;
