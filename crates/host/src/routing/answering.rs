//! What a node answers another.

use anser_broker::{codec, command::Query, error::Error, id::ShardId};
use bytes::Bytes;

use super::router;
use crate::{
    event::Request,
    port::{PeerRequest, PeerResponse, Port},
};

/// Dropped before its end, a receive gives back what it got.
pub async fn answer(port: &impl Port, request: PeerRequest) -> PeerResponse {
    match request {
        PeerRequest::Shard { shard, request } => {
            match router::ask_here(port, shard, request).await {
                Some(Ok(response)) => PeerResponse::Shard(response),
                Some(Err(error)) => PeerResponse::Refused(error),
                None => PeerResponse::NotDone,
            }
        }
        PeerRequest::Change { command } => change(port, &command).await,
        PeerRequest::CatalogIndex => catalog_index(port)
            .await
            .map_or(PeerResponse::NotDone, PeerResponse::CatalogIndex),
        PeerRequest::CatalogReached { index } => {
            if let Some(cluster) = port.cluster() {
                cluster.catalog.wait_for(|&applied| applied >= index).await;
            }
            PeerResponse::CatalogReached
        }
    }
}

async fn change(port: &impl Port, command: &Bytes) -> PeerResponse {
    match codec::decode(command) {
        Ok(command) if leads_catalog(port) => match port.change_here(command).await {
            Ok(placed) => PeerResponse::Change(placed),
            Err(Error::Unavailable) => PeerResponse::NotDone,
            Err(error) => PeerResponse::Refused(error),
        },
        Ok(_) | Err(_) => PeerResponse::NotDone,
    }
}

fn leads_catalog(port: &impl Port) -> bool {
    let cluster = port.cluster();
    cluster.is_none_or(|cluster| cluster.leaders.serves_here(ShardId::CATALOG))
}

/// A read that the leader has confirmed comes before the index that is answered.
async fn catalog_index(port: &impl Port) -> Option<u64> {
    let query = Request::Read(Query::Nodes);
    router::ask_here(port, ShardId::CATALOG, query)
        .await?
        .ok()?;
    port.applied(ShardId::CATALOG).await
}
