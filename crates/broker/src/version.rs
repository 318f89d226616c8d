//! What all nodes of a cluster can read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version at which a cluster works: what needs more is not put into any log, nor sent to any node. It
/// begins at 1, what programs could read before there was a choice, and only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterVersion(pub u32);

impl ClusterVersion {
    pub const FIRST: Self = Self(1);
    /// The highest that this program can read.
    pub const LATEST: Self = Self(2);
    /// Of what this program cannot read.
    pub(crate) const UNREADABLE: Self = Self(u32::MAX);
}

impl Default for ClusterVersion {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
