//! From any node to the leader: a request goes there once, and is repeated only if it certainly did not
//! happen or does no harm twice.

use std::time::Duration;

use anser_broker::{
    codec,
    command::{Command, Placed, Reply},
    error::Error,
    id::ShardId,
    time::Millis,
};
use anser_replica::ReceiveRequest;

use super::{Leaders, receiving::Receiving};
use crate::{
    event::{Request, Response},
    port::{PeerError, PeerRequest, PeerResponse, Port, within},
};

/// How long a request waits for a leader: some elections.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long to wait for news of a leader before asking the same one again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// What an attempt came to, if it did not come to an end.
enum Again {
    /// It certainly did not happen.
    NotDone,
    /// It was sent, and nobody knows.
    Unknown,
}

/// Has a request done by whoever leads the shard, wherever that is. Fails with [`Error::Unavailable`] if none
/// was found in time and nothing has happened, and with [`Error::Unknown`] if it may have happened. Dropped before
/// its end, a receive gives back what it got.
pub async fn ask(port: &impl Port, shard: ShardId, request: Request) -> Result<Response, Error> {
    let Some(cluster) = port.cluster() else {
        return do_here(port, shard, request).await;
    };
    let begun = port.elapsed();
    loop {
        let news = cluster.leaders.changes();
        let asked = shortened(&request, port.elapsed().saturating_sub(begun));
        let again = match attempt(port, cluster.leaders, shard, asked).await {
            Ok(result) => return result,
            Err(again) => again,
        };
        if matches!(again, Again::Unknown) && matches!(request, Request::Propose(_)) {
            return Err(Error::Unknown);
        }
        if port.elapsed().saturating_sub(begun) >= PATIENCE {
            return Err(Error::Unavailable);
        }
        within(port, RETRY_INTERVAL, cluster.leaders.changed_since(news)).await;
    }
}

/// As [`ask`], but whoever asks will come again and does not wait for a leader: without one it fails with
/// [`Error::Unavailable`], and nothing has happened.
pub async fn ask_now(
    port: &impl Port,
    shard: ShardId,
    request: Request,
) -> Result<Response, Error> {
    let Some(cluster) = port.cluster() else {
        return do_here(port, shard, request).await;
    };
    match attempt(port, cluster.leaders, shard, request).await {
        Ok(result) => result,
        Err(Again::NotDone) => Err(Error::Unavailable),
        Err(Again::Unknown) => Err(Error::Unknown),
    }
}

/// Has a request done here; `None` if this node does not lead the shard or is about to stop leading
/// it, and nothing has happened.
pub async fn ask_here(
    port: &impl Port,
    shard: ShardId,
    request: Request,
) -> Option<Result<Response, Error>> {
    let Some(cluster) = port.cluster() else {
        return Some(do_here(port, shard, request).await);
    };
    if !cluster.leaders.serves_here(shard) {
        return None;
    }
    let result = do_here(port, shard, request).await;
    let not_done = matches!(result, Err(Error::Unavailable));
    (!not_done).then_some(result)
}

async fn do_here(port: &impl Port, shard: ShardId, request: Request) -> Result<Response, Error> {
    if let Request::Receive(receive) = request {
        return Receiving::begin(port, shard, receive)?.end().await;
    }
    let (_, answered) = port.submit(shard, request)?;
    answered.await.unwrap_or(Err(Error::Unknown))
}

async fn attempt(
    port: &impl Port,
    leaders: &Leaders,
    shard: ShardId,
    request: Request,
) -> Result<Result<Response, Error>, Again> {
    let leader = leaders.of(shard).ok_or(Again::NotDone)?;
    if leader == leaders.node() {
        return ask_here(port, shard, request).await.ok_or(Again::NotDone);
    }
    // Who leads may not be able to read it, and then could not say why it does not do it.
    if let Err(error) = port.permit(&request) {
        return Ok(Err(error));
    }
    let request = PeerRequest::Shard { shard, request };
    match port.ask_peer(leader, request).await {
        Ok(PeerResponse::Shard(response)) => Ok(Ok(response)),
        Ok(PeerResponse::Refused(error)) => Ok(Err(error)),
        Ok(_) | Err(PeerError::NotSent) => Err(Again::NotDone),
        Err(PeerError::Lost) => Err(Again::Unknown),
    }
}

/// Has a change of the catalog carried through by its leader, so that it holds when this returns.
pub async fn change(port: &impl Port, command: &Command) -> Result<Placed, Error> {
    let Some(cluster) = port.cluster() else {
        return port.change_here(command.clone()).await;
    };
    let begun = port.elapsed();
    let encoded = codec::encode(command);
    port.permit(&Request::Propose(encoded.clone()))?;
    loop {
        let news = cluster.leaders.changes();
        let catalog = ShardId::CATALOG;
        if cluster.leaders.serves_here(catalog) {
            return port.change_here(command.clone()).await;
        }
        if let Some(leader) = cluster.leaders.of(catalog) {
            let command = encoded.bytes.clone();
            match port.ask_peer(leader, PeerRequest::Change { command }).await {
                Ok(PeerResponse::Change(placed)) => return Ok(placed),
                Ok(PeerResponse::Refused(error)) => return Err(error),
                Ok(_) | Err(PeerError::NotSent) => {}
                Err(PeerError::Lost) => return Err(Error::Unknown),
            }
        }
        if port.elapsed().saturating_sub(begun) >= PATIENCE {
            return Err(Error::Unavailable);
        }
        within(port, RETRY_INTERVAL, cluster.leaders.changed_since(news)).await;
    }
}

/// Proposes a command and waits for its reply; a refusal is an error.
pub async fn propose(port: &impl Port, shard: ShardId, command: &Command) -> Result<Reply, Error> {
    let proposed = ask(port, shard, Request::Propose(codec::encode(command)));
    Ok(reply_of(proposed.await?))
}

/// As [`propose`], but does not wait for a leader.
pub async fn propose_now(
    port: &impl Port,
    shard: ShardId,
    command: &Command,
) -> Result<Reply, Error> {
    let proposed = ask_now(port, shard, Request::Propose(codec::encode(command)));
    Ok(reply_of(proposed.await?))
}

/// Proposes commands to a shard that is led here, in this order, and waits for all of them; a refusal
/// is an error.
pub(crate) async fn propose_all(
    port: &impl Port,
    shard: ShardId,
    commands: impl Iterator<Item = Command>,
) -> Result<(), Error> {
    let mut under_way = Vec::new();
    for command in commands {
        let (_, answered) = port.submit(shard, Request::Propose(codec::encode(&command)))?;
        under_way.push(answered);
    }
    for answered in under_way {
        answered.await.unwrap_or(Err(Error::Unknown))?;
    }
    Ok(())
}

fn reply_of(response: Response) -> Reply {
    match response {
        Response::Reply(reply) => reply,
        other => unreachable!("a proposal is answered with a reply, not {other:?}"),
    }
}

/// A long poll that begins again waits only for what is left of its time.
fn shortened(request: &Request, passed: Duration) -> Request {
    match request {
        &Request::Receive(receive) => {
            let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            let wait = receive
                .wait
                .map(|wait| Millis(wait.0.saturating_sub(passed)));
            Request::Receive(ReceiveRequest { wait, ..receive })
        }
        other => other.clone(),
    }
}
