//! The version at which the cluster works, as this node's copy of the catalog says, and the highest that this
//! node can read.
//!
//! What is put into a log must be readable on every node that has or may get a copy of the shard. So a
//! command of a kind that came with a version is proposed only when the cluster works at that version, and
//! the cluster works at it only when all nodes have said that they can read it.

use std::sync::atomic::{AtomicU32, Ordering};

use anser_broker::{codec::Encoded, error::Error, version::ClusterVersion};

#[derive(Debug)]
pub struct Versions {
    active: AtomicU32,
    knows: ClusterVersion,
}

/// The cluster works at a version that this node cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this cluster works at version {active}, this program {}", knowledge(*knows))]
pub struct TooOld {
    pub active: ClusterVersion,
    pub knows: ClusterVersion,
}

fn knowledge(knows: ClusterVersion) -> String {
    if knows < ClusterVersion::LATEST {
        let latest = ClusterVersion::LATEST;
        return format!("knows {latest} and is held at {knows} by cluster.version_at_most");
    }
    format!("knows {knows}")
}

impl Versions {
    pub fn new(active: ClusterVersion, knows: ClusterVersion) -> Self {
        Self {
            active: AtomicU32::new(active.0),
            knows,
        }
    }

    /// That at which the cluster works, or one before it if this node's copy of the catalog lags behind.
    pub fn active(&self) -> ClusterVersion {
        ClusterVersion(self.active.load(Ordering::Relaxed))
    }

    /// The highest that this node can read, or may.
    pub fn knows(&self) -> ClusterVersion {
        self.knows
    }

    /// Takes over what the catalog says; fails if this node cannot go on with it.
    pub fn rise(&self, active: ClusterVersion) -> Result<(), TooOld> {
        self.active.fetch_max(active.0, Ordering::Relaxed);
        check_version(active, self.knows)
    }

    /// The gate: whether all nodes can read a command.
    pub fn permit(&self, command: &Encoded) -> Result<(), Error> {
        let since = command.since();
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("no gate for versions") {
            return Ok(());
        }
        if since > self.active() {
            return Err(Error::NeedsVersion(since));
        }
        Ok(())
    }
}

/// Whether a node that knows so much can be part of a cluster.
pub fn check_version(active: ClusterVersion, knows: ClusterVersion) -> Result<(), TooOld> {
    if active > knows {
        return Err(TooOld { active, knows });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anser_broker::{
        attributes::{Acknowledge, FilterKind, TopicAttributes},
        codec,
        command::Command,
        id::TopicId,
        time::Millis,
    };

    use super::*;

    fn put(acknowledge: Acknowledge) -> Encoded {
        codec::encode(&Command::PutTopic {
            topic: TopicId(1),
            revision: 1,
            attributes: TopicAttributes {
                body_bytes_max: 1,
                retention: Millis(1),
                filter: FilterKind::Tags,
                acknowledge,
            },
        })
    }

    #[test]
    fn a_command_waits_for_its_version() {
        let versions = Versions::new(ClusterVersion(1), ClusterVersion(2));
        let (old, new) = (put(Acknowledge::Majority), put(Acknowledge::All));
        assert_eq!(versions.permit(&old), Ok(()));
        let refused = Err(Error::NeedsVersion(ClusterVersion(2)));
        assert_eq!(versions.permit(&new), refused);
        assert_eq!(versions.rise(ClusterVersion(2)), Ok(()));
        assert_eq!(versions.permit(&new), Ok(()));
        assert_eq!(versions.rise(ClusterVersion(1)), Ok(()));
        assert_eq!(versions.permit(&new), Ok(()), "it never falls");
    }

    #[test]
    fn a_node_cannot_go_on_above_what_it_knows() {
        let versions = Versions::new(ClusterVersion(1), ClusterVersion(2));
        let error = versions.rise(ClusterVersion(3)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this cluster works at version 3, this program knows 2"
        );
        let held = check_version(ClusterVersion(2), ClusterVersion(1)).unwrap_err();
        assert_eq!(
            held.to_string(),
            "this cluster works at version 2, this program knows 2 and is held at 1 by \
             cluster.version_at_most"
        );
    }
}
