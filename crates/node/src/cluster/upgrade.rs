//! Raises the cluster's version where the catalog is led, when `anser-host` says that it is time.

use std::{sync::Arc, time::Duration};

use anser_broker::id::ShardId;
use anser_host::{Agreement, Knowledge};
use tracing::{info, warn};

use super::peers::Cluster;
use crate::desk::Desk;

const INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(crate) async fn run(cluster: Arc<Cluster>, desk: Desk) {
    let mut agreement = Agreement::default();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !cluster.leaders.serves_here(ShardId::CATALOG) {
            agreement = Agreement::default();
            continue;
        }
        let members = cluster.members.all();
        let known = Knowledge {
            now: cluster.reports.now(),
            shards: cluster.shards,
            members: &members,
            reports: &cluster.reports.all(),
        };
        let Some(version) = agreement.version(known, cluster.versions.active()) else {
            continue;
        };
        match desk.raise_version(version, members.len() as u64).await {
            Ok(()) => info!(%version, "the cluster's version rises: every node can read it"),
            Err(error) => warn!(%version, %error, "the cluster's version does not rise yet"),
        }
    }
}
