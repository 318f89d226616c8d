//! Making sure that this node's copy of the catalog knows what was acknowledged elsewhere.
//!
//! A copy may lag behind the catalog's leader. Whoever finds something missing in it first brings it up to
//! date; whoever changes the catalog waits, for a moment, until every node that is up has heard.

use std::{sync::Arc, time::Duration};

use anser_broker::id::ShardId;
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    peers::Cluster,
    words::{Ask, Told},
};
use crate::{
    desk::Desk,
    event::{Event, Look},
};

/// How long a missing name waits for the copy to catch up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a change waits for the others to hear of it.
const SPREAD_PATIENCE: Duration = Duration::from_millis(500);

/// Brings the copy up to date; false if that was not possible in time.
pub(crate) async fn catch_up(cluster: &Cluster) -> bool {
    let refreshed = async {
        let mut changes = cluster.leaders.changes();
        loop {
            changes.borrow_and_update();
            let leader = cluster.leaders.of(ShardId::CATALOG);
            if cluster.leaders.serves_here(ShardId::CATALOG) {
                return true;
            }
            if let Some(leader) = leader
                && let Ok(Told::CatalogIndex(index)) = cluster.ask(leader, &Ask::CatalogIndex).await
            {
                let mut applied = cluster.catalog.subscribe();
                return applied.wait_for(|&applied| applied >= index).await.is_ok();
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, refreshed)
        .await
        .unwrap_or(false)
}

/// Waits until the other nodes that are up know everything this node's catalog knows now.
pub(crate) async fn spread(cluster: &Arc<Cluster>, desk: &Desk) {
    let (sender, receiver) = oneshot::channel();
    let shard = ShardId::CATALOG;
    let look = Look::Applied(sender);
    if desk.send(shard, Event::Look { shard, look }).is_err() {
        return;
    }
    let Ok(index) = receiver.await else { return };
    let mut told = JoinSet::new();
    for node in cluster.connected() {
        let cluster = Arc::clone(cluster);
        told.spawn_local(async move {
            let ask = Ask::CatalogReached { index };
            let reached = cluster.ask(node, &ask);
            // Who does not answer in time finds out when it needs it.
            tokio::time::timeout(SPREAD_PATIENCE, reached).await.ok();
        });
    }
    while told.join_next().await.is_some() {}
}
