//! From any node to the leader: a request goes there once, and is repeated only if it certainly did not
//! happen or does no harm twice.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_broker::{
    codec,
    command::{Command, Placed},
    error::Error,
    id::{ShardId, SubscriptionId},
    op::DeliveryFailure,
    time::Millis,
};
use anser_replica::ReceiveRequest;
use anser_transport::RequestError;

use super::{
    peers::Cluster,
    words::{Ask, Forwarded, Told},
};
use crate::{
    desk::Desk,
    event::{Request, Response},
    node::Node,
};

/// How long a request waits for a leader: some elections.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long to wait for news of a leader before asking the same one again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// How long a description waits for failures, which it can do without.
const FAILURES_PATIENCE: Duration = Duration::from_secs(1);

/// What an attempt came to, if it did not come to an end.
enum Again {
    /// It certainly did not happen.
    NotDone,
    /// It was sent, and nobody knows.
    Unknown,
}

/// Has a request done by the shard's leader, wherever that is. Fails with [`Error::Unavailable`] if none
/// was found in time and nothing has happened, and with [`Error::Unknown`] if it may have happened.
pub(crate) async fn ask(
    desk: &Desk,
    cluster: &Arc<Cluster>,
    shard: ShardId,
    request: Request,
) -> Result<Response, Error> {
    let begun = Instant::now();
    let mut changes = cluster.leaders.changes();
    loop {
        changes.borrow_and_update();
        let again = match attempt(desk, cluster, shard, shortened(&request, begun)).await {
            Ok(result) => return result,
            Err(again) => again,
        };
        if matches!(again, Again::Unknown) && matches!(request, Request::Propose(_)) {
            return Err(Error::Unknown);
        }
        if begun.elapsed() >= PATIENCE {
            return Err(Error::Unavailable);
        }
        tokio::select! {
            // The leaders' table lives as long as the node.
            _ = changes.changed() => {}
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
        }
    }
}

/// As [`ask`], but whoever asks will come again and does not wait for a leader.
pub(crate) async fn ask_now(
    desk: &Desk,
    cluster: &Arc<Cluster>,
    shard: ShardId,
    request: Request,
) -> Result<Response, Error> {
    match attempt(desk, cluster, shard, request).await {
        Ok(result) => result,
        Err(Again::NotDone) => Err(Error::Unavailable),
        Err(Again::Unknown) => Err(Error::Unknown),
    }
}

async fn attempt(
    desk: &Desk,
    cluster: &Arc<Cluster>,
    shard: ShardId,
    request: Request,
) -> Result<Result<Response, Error>, Again> {
    let leader = cluster.leaders.of(shard).ok_or(Again::NotDone)?;
    if leader == cluster.node {
        return desk.ask_here(shard, request).await.ok_or(Again::NotDone);
    }
    // Who leads may not be able to read it, and then could not say why it does not do it.
    if let Err(error) = desk.permit(&request) {
        return Ok(Err(error));
    }
    let ask = Ask::Shard {
        shard: shard.0,
        request: Forwarded::from(&request),
    };
    match cluster.ask(leader, &ask).await {
        Ok(Told::Reply(reply)) => Ok(Ok(Response::Reply(reply))),
        Ok(Told::Answer(answer)) => Ok(Ok(Response::Answer(answer))),
        Ok(Told::Messages(messages)) => Ok(Ok(Response::Messages(messages))),
        Ok(Told::Refused(error)) => Ok(Err(error)),
        Ok(_) | Err(RequestError::NotSent) => Err(Again::NotDone),
        Err(RequestError::Lost) => Err(Again::Unknown),
    }
}

/// Has a change of the catalog carried through by its leader.
pub(crate) async fn change(
    node: &Node,
    cluster: &Arc<Cluster>,
    command: &Command,
) -> Result<Placed, Error> {
    let begun = Instant::now();
    let mut changes = cluster.leaders.changes();
    let encoded = codec::encode(command);
    node.desk().versions.permit(&encoded)?;
    let ask = Ask::Change {
        command: encoded.bytes,
    };
    loop {
        changes.borrow_and_update();
        let catalog = ShardId::CATALOG;
        if cluster.leaders.serves_here(catalog) {
            return node.place_here(command.clone()).await;
        }
        if let Some(leader) = cluster.leaders.of(catalog) {
            match cluster.ask(leader, &ask).await {
                Ok(Told::Placed(placed)) => return Ok(placed),
                Ok(Told::Refused(error)) => return Err(error),
                Ok(_) | Err(RequestError::NotSent) => {}
                Err(RequestError::Lost) => return Err(Error::Unknown),
            }
        }
        if begun.elapsed() >= PATIENCE {
            return Err(Error::Unavailable);
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
        }
    }
}

/// The last failed pushes of a subscription, from the node that pushes for it: the one that leads its shard.
/// None if that node does not answer, as after its restart.
pub(crate) async fn failures(
    node: &Node,
    cluster: &Cluster,
    shard: ShardId,
    subscription: SubscriptionId,
) -> Vec<DeliveryFailure> {
    match cluster.leaders.of(shard) {
        None => Vec::new(),
        Some(leader) if leader == cluster.node => node.failures().of(subscription),
        Some(leader) => {
            let ask = Ask::Failures { subscription };
            let asked = cluster.ask(leader, &ask);
            match tokio::time::timeout(FAILURES_PATIENCE, asked).await {
                Ok(Ok(Told::Failures(failures))) => failures,
                _ => Vec::new(),
            }
        }
    }
}

/// A long poll that begins again waits only for what is left of its time.
fn shortened(request: &Request, begun: Instant) -> Request {
    match request {
        &Request::Receive(receive) => {
            let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let wait = receive
                .wait
                .map(|wait| Millis(wait.0.saturating_sub(passed)));
            Request::Receive(ReceiveRequest { wait, ..receive })
        }
        other => other.clone(),
    }
}
