//! The cluster's nodes as the catalog knows them.

use serde::{Deserialize, Serialize};

use crate::{id::NodeId, time::Timestamp};

/// A node that has or had a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub node: NodeId,
    /// Names the node's data directory: a disk that was emptied or replaced makes another one.
    pub incarnation: [u8; 16],
    /// Where other nodes reach it; at most [`crate::limits::NODE_ADDRESS_BYTES_MAX`] bytes.
    pub address: String,
    /// The machine it runs on; at most [`crate::limits::NODE_PLACE_BYTES_MAX`] bytes, like the next.
    pub host: String,
    /// What fails together: replicas of a shard are spread over zones.
    pub zone: String,
    pub state: NodeState,
    /// When it got its number, by the wall clock.
    pub added: Timestamp,
}

/// What may be put on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    Active,
    /// No more replicas; those it has move elsewhere.
    Draining,
    /// It is not part of the cluster any more, and never will be again.
    Removed,
}
