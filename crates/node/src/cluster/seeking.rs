//! Finds peers again that are no longer where they were: whoever cannot be reached is looked for at the
//! addresses of `cluster.join`. So a cluster whose nodes have all got other addresses meets again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anser_transport::{JoinConfig, identify};
use tracing::{debug, info};

use super::{ClusterConfig, join, peers::Cluster};

/// How long to wait before the first look; as long again, doubled, while nobody is found.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(16);
const DEADLINE: Duration = Duration::from_secs(2);

/// Looks for ever.
pub(crate) async fn run(cluster: Arc<Cluster>, config: ClusterConfig, own_address: String) {
    let (Ok(secret), Ok(tls)) = (join::secret(&config), join::tls(&config)) else {
        return; // The transport was started with the same.
    };
    let asked = JoinConfig {
        secret,
        tls,
        deadline: DEADLINE,
        frame_bytes: 0,
    };
    let mut wait = FIRST;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MOST);
        let (reached, missing): (Vec<_>, Vec<_>) = (cluster.members.peers().into_iter())
            .filter(|(node, _)| *node != cluster.node)
            .partition(|(node, _)| cluster.is_connected(*node));
        if missing.is_empty() {
            wait = FIRST;
            continue;
        }
        let mut taken: BTreeSet<String> = (reached.into_iter())
            .map(|(_, peer)| peer.address)
            .collect();
        taken.insert(own_address.clone());
        let missing: BTreeSet<u64> = missing.into_iter().map(|(node, _)| node).collect();
        for address in config
            .join
            .iter()
            .filter(|address| !taken.contains(*address))
        {
            if ask(&cluster, &asked, address, &missing).await {
                wait = FIRST;
            }
        }
    }
}

/// Asks who is at an address; whether it is one of those that are missing.
async fn ask(
    cluster: &Cluster,
    asked: &JoinConfig,
    address: &str,
    missing: &BTreeSet<u64>,
) -> bool {
    let found = match identify(address, asked).await {
        Ok(found) => found,
        Err(error) => {
            debug!(address, %error, "nobody is found there");
            return false;
        }
    };
    let moved = missing.contains(&found.node)
        && (cluster.members).find(found.node, found.incarnation, address);
    if moved {
        info!(
            node = found.node,
            address, "a node is found at another address"
        );
        cluster.follow_members();
    }
    moved
}
