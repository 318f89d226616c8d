//! The version of the cluster as this process sees it, and its rise where the catalog is led.

use anser_broker::{codec, command::Command, id::ShardId, version::ClusterVersion};
use anser_host::{Knowledge, Port as _, Request, check_version};

use super::Process;
use crate::world::Common;

impl Process {
    /// The version at which the cluster works, as far as this node has heard.
    pub(crate) fn version(&self) -> ClusterVersion {
        self.port.versions().active()
    }

    /// The highest that its program can read.
    pub(crate) fn knows(&self) -> ClusterVersion {
        self.port.versions().knows()
    }

    /// The cluster works at what its program cannot read.
    pub(crate) fn is_too_old(&self) -> bool {
        check_version(self.version(), self.knows()).is_err()
    }

    /// Its copy of the catalog says so. Who cannot read what the others may write from now on stops before it comes.
    pub(super) fn rise(&mut self, version: ClusterVersion, common: &mut Common) {
        common.checks.works_at(version);
        if let Err(error) = self.port.versions().rise(version) {
            self.fail(error.to_string());
        }
    }

    /// Raises the cluster's version when it is time; the gate is not asked for the command that does so.
    pub(super) fn raise(&mut self, common: &Common) {
        let cluster = &mut self.cluster;
        let members = cluster.members.all();
        let known = Knowledge {
            now: self.clock.now(common.now).beat,
            shards: common.plan.shards,
            members,
            reports: &cluster.reports,
        };
        let nodes = members.len() as u64;
        let active = self.port.versions().active();
        if let Some(version) = cluster.agreement.version(known, active) {
            let command = codec::encode(&Command::SetClusterVersion { version, nodes });
            // Whether it was done the catalog says.
            drop(
                self.port
                    .submit(ShardId::CATALOG, Request::Propose(command)),
            );
        }
    }
}
