//! Making sure that this node's copy of the catalog knows what was acknowledged elsewhere.
//!
//! A copy may lag behind the catalog's leader. Whoever finds something missing in it first brings it up to
//! date; whoever changes the catalog waits, for a moment, until every node that is up has heard.

use std::{sync::Arc, time::Duration};

use anser_broker::id::ShardId;
use tokio::sync::Semaphore;

use crate::port::{Known, PeerRequest, PeerResponse, Port, within};

/// How long a missing name waits for the copy to catch up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for news of a leader before asking the same one again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// How long a change waits for the others to hear of it.
const SPREAD_PATIENCE: Duration = Duration::from_millis(500);

/// Brings the copy up to date; false if that was not possible in time, or too many requests wait for leaders already.
pub async fn catch_up(port: &impl Port) -> bool {
    match port.cluster() {
        None => true,
        Some(cluster) => within(port, PATIENCE, caught_up(port, cluster))
            .await
            .unwrap_or(false),
    }
}

async fn caught_up(port: &impl Port, Known { leaders, catalog }: Known<'_>) -> bool {
    let mut waits = None;
    loop {
        let news = leaders.changes();
        if leaders.serves_here(ShardId::CATALOG) {
            leaders.found(ShardId::CATALOG);
            return true;
        }
        if let Some(leader) = leaders.of(ShardId::CATALOG)
            && let Ok(PeerResponse::CatalogIndex(index)) =
                port.ask_peer(leader, PeerRequest::CatalogIndex).await
        {
            leaders.found(ShardId::CATALOG);
            catalog.wait_for(|&applied| applied >= index).await;
            return true;
        }
        if !leaders.may_wait(port, ShardId::CATALOG, &mut waits) {
            return false;
        }
        within(port, RETRY_INTERVAL, leaders.changed_since(news)).await;
    }
}

/// Waits until the other nodes that are up know everything this node's catalog knows now.
pub(crate) async fn spread(port: &impl Port) {
    if port.cluster().is_none() {
        return;
    }
    let Some(index) = port.applied(ShardId::CATALOG).await else {
        return;
    };
    let peers = port.peers();
    let all = u32::try_from(peers.len()).expect("fewer nodes");
    let heard = Arc::new(Semaphore::new(0));
    for node in peers {
        let (task, heard) = (port.clone(), Arc::clone(&heard));
        port.spawn(async move {
            let reached = task.ask_peer(node, PeerRequest::CatalogReached { index });
            // Who does not answer in time finds out when it needs it.
            within(&task, SPREAD_PATIENCE, reached).await;
            heard.add_permits(1);
        });
    }
    drop(heard.acquire_many(all).await);
}
