//! The version at which the cluster works, and the highest that this node can read: `anser-host` says what follows.

pub use anser_host::TooOld;
pub(crate) use anser_host::{Versions, check_version as check};
