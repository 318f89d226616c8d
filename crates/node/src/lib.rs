//! The shell around the replicas: threads, clock, files and routing.
//!
//! A request goes from the [`Node`] (the service) over the desk to the runner that owns its shard;
//! the runner steps the replica, hands appends to the writer and answers when the replica says so.
//! Beside them work the body readers, the courier between shards, and the maintenance of the disk.
//! Read `runner.rs` first.

mod announcements;
mod bodies;
mod clock;
mod cluster;
mod config;
mod courier;
mod crashes;
mod desk;
mod door;
mod event;
mod failure;
mod failures;
mod inboxes;
mod maintenance;
mod member;
mod node;
mod outboxes;
mod port;
mod repair;
mod runner;
mod service;
mod startup;
mod status;
mod version;
mod writer;

pub use anser_broker::command::NodeState;
pub use anser_host::{LeftOut, Repaired, RepairedShard};
pub use anser_log::{MendedShard, MendedState};
pub use clock::Clock;
pub use cluster::{
    ClusterConfig, ClusterStatus, Damage, Move, NodeStatus, ReplicaPlacement, ShardPlacement,
    TlsFiles, join::form,
};
pub use config::Config;
pub use crashes::note_crashes;
pub use failure::{Failure, FailureKind};
pub use node::Node;
pub use repair::{RepairFailure, RepairMode, repair};
pub use startup::StartError;
pub use status::{CopyStatus, PeerLag, SYNC_BUCKETS_MICROS, ShardStatus, Status};
pub use version::TooOld;
