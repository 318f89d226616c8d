//! What came with a version of the cluster stands in no log before the cluster works at it, and is applied by nobody
//! whose program cannot read it.

use anser_broker::{
    codec::{self, Batch},
    command::Command,
    version::ClusterVersion,
};
use anser_replica::{StoredEntry, StoredKind};

use super::Checks;
use crate::coverage::sometimes;

impl Checks {
    /// Somebody's copy of the catalog says so.
    pub(crate) fn works_at(&mut self, version: ClusterVersion) {
        if version > self.version {
            sometimes("a cluster's version rose");
            self.version = version;
        }
    }

    /// Whether some log has an entry that makes the cluster work at more than a program can read. A node may find it
    /// committed when it opens its log, before anybody has applied it: a sole voter has only itself to ask.
    pub(crate) fn may_be_too_old(&self, knows: ClusterVersion) -> bool {
        self.version.max(self.version_written) > knows
    }

    /// A replica of a node wants these entries in its log; the first that its program cannot read.
    pub(crate) fn appended_by(
        &mut self,
        (node, knows): (u64, ClusterVersion),
        shard: u16,
        entries: &[StoredEntry],
    ) -> Option<u64> {
        let everybody_can = self.version.min(knows) >= ClusterVersion::LATEST;
        if everybody_can {
            return None;
        }
        let mut unreadable = None;
        for entry in entries {
            let brought = brought(entry);
            self.version_written = self.version_written.max(brought);
            let since = since(entry);
            if since > self.version {
                self.fail(format!(
                    "node {node}, shard {shard}: entry {} needs version {since}, the cluster works at {}",
                    entry.index, self.version
                ));
            }
            if since > knows {
                unreadable.get_or_insert(entry.index);
            }
        }
        unreadable
    }
}

/// The version that all nodes must be able to read before this is in a log. The command that brings a version is of
/// the version itself, and is the last that older programs get.
fn since(entry: &StoredEntry) -> ClusterVersion {
    let commands = commands(entry).into_iter();
    let gated = commands.filter(|command| !matches!(command, Command::SetClusterVersion { .. }));
    let since = gated.map(|command| codec::encode(&command).since());
    since.max().unwrap_or_default()
}

/// The highest version that this makes the cluster work at.
fn brought(entry: &StoredEntry) -> ClusterVersion {
    let commands = commands(entry).into_iter();
    let brought = commands.filter_map(|command| match command {
        Command::SetClusterVersion { version, .. } => Some(version),
        _ => None,
    });
    brought.max().unwrap_or_default()
}

fn commands(entry: &StoredEntry) -> Vec<Command> {
    if entry.kind == StoredKind::Membership || entry.data.is_empty() {
        return Vec::new();
    }
    let Ok(batch) = Batch::decode(&entry.data) else {
        return Vec::new();
    };
    let views = batch.commands.iter();
    views.map(|view| view.to_command(&entry.data)).collect()
}
