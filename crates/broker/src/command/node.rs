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
    /// The last start that the catalog was told of.
    pub start: NodeStart,
    /// When it got its number, by the wall clock.
    pub added: Timestamp,
}

/// One start of a node. Its number is above that of every start before it that the catalog heard of, and
/// the mark is drawn with it: two copies of one data directory draw different ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStart {
    pub number: u64,
    pub mark: [u8; 16],
}

impl NodeStart {
    /// The start of the next process with the same data directory, and a mark that was drawn for it. One that the
    /// catalog has not heard of keeps its number, so that an old copy does not climb by being started again and again.
    #[must_use]
    pub fn next(self, is_known: bool, mark: [u8; 16]) -> Self {
        if !is_known {
            return self;
        }
        let number = self.number + 1;
        Self { number, mark }
    }

    /// Whether a data directory with this start has been left behind by the one that is known: it is an
    /// old copy, or one of two that were started.
    pub fn is_behind(self, known: Self) -> bool {
        self.number < known.number || self.number == known.number && self.mark != known.mark
    }
}

/// What may be put on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    #[default]
    Active,
    /// No more replicas; those it has move elsewhere.
    Draining,
    /// It is not part of the cluster any more, and never will be again.
    Removed,
}
