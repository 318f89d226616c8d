//! From any node to where something is done: who leads which shard, where a queue lives, and how a request gets there.

pub(crate) mod answering;
pub(crate) mod freshness;
mod leaders;
mod receiving;
pub(crate) mod router;
mod routes;

pub use leaders::Leaders;
pub use routes::{Route, Routes, SubscriberRoute, TopicRoute};
