//! From any node to the leader: a request goes there once, and is repeated only if it certainly did not
//! happen or does no harm twice.

use std::time::Duration;

use anser_broker::{
    codec::{self, Encoded},
    command::{Command, Placed, Reply},
    error::Error,
    id::ShardId,
    limits,
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
/// Whoever had a request for so long led the shard, and was lost only then.
const LED_FOR: Duration = Duration::from_secs(1);
/// How long the answer of a replica is waited for, besides what a receive waits for messages: a leader whose disk
/// hangs answers nobody.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How much longer the answer of another node is waited for, which waits for its replica itself.
const PEER_PATIENCE: Duration = Duration::from_secs(2);
/// How long the answer to a change of the catalog is waited for: longer than its leader waits for the home.
const CHANGE_PATIENCE: Duration = Duration::from_secs(12);
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
/// was found in time and nothing has happened, and with [`Error::Unknown`] if it may have happened: so does each
/// request that has no answer ten seconds after it was to have one. A long poll looks for a leader as long whenever it
/// has lost one, though not much longer than it waits. Other requests hold places of the node while they wait for a
/// leader: once the shard has had none for longer than one takes to hand over in order, they fail with [`Error::Busy`] if too
/// many wait, and nothing has happened. Dropped before its end, a receive
/// gives back what it got.
pub async fn ask(port: &impl Port, shard: ShardId, request: Request) -> Result<Response, Error> {
    let Some(cluster) = port.cluster() else {
        return do_here(port, shard, request).await;
    };
    let begun = port.elapsed();
    let end = begun + waiting(&request) + PATIENCE;
    let mut lost = begun;
    let mut waits = None;
    loop {
        let news = cluster.leaders.changes();
        let tried = port.elapsed();
        let asked = shortened(&request, tried.saturating_sub(begun));
        let again = match attempt(port, cluster.leaders, shard, asked).await {
            Ok(result) => {
                cluster.leaders.found(shard);
                return result;
            }
            Err(again) => again,
        };
        if matches!(again, Again::Unknown) && matches!(request, Request::Propose(_)) {
            return Err(Error::Unknown);
        }
        let now = port.elapsed();
        if now.saturating_sub(tried) >= LED_FOR {
            lost = now;
        }
        if now.saturating_sub(lost) >= PATIENCE || now >= end {
            return Err(Error::Unavailable);
        }
        if !matches!(request, Request::Receive(_))
            && !cluster.leaders.may_wait(port, shard, &mut waits)
        {
            return Err(Error::Busy);
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
    let patience = ANSWER_PATIENCE + waiting(&request);
    let answered = async {
        if let Request::Receive(receive) = request {
            return Receiving::begin(port, shard, receive)?.end().await;
        }
        let (_, answered) = port.submit(shard, request)?;
        answered.await.unwrap_or(Err(Error::Unknown))
    };
    let answered = within(port, patience, answered).await;
    answered.unwrap_or(Err(Error::Unknown))
}

/// How long a receive may wait for messages.
fn waiting(request: &Request) -> Duration {
    match request {
        Request::Receive(receive) => {
            let wait = receive
                .wait
                .unwrap_or(limits::WAIT_MAX)
                .min(limits::WAIT_MAX);
            Duration::from_millis(wait.0)
        }
        Request::Propose(_) | Request::Read(_) => Duration::ZERO,
    }
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
    let patience = ANSWER_PATIENCE + PEER_PATIENCE + waiting(&request);
    let asked = port.ask_peer(leader, PeerRequest::Shard { shard, request });
    let told = within(port, patience, asked).await;
    match told.unwrap_or(Err(PeerError::Lost)) {
        Ok(PeerResponse::Shard(response)) => Ok(Ok(response)),
        Ok(PeerResponse::Refused(error)) => Ok(Err(error)),
        Ok(_) | Err(PeerError::NotSent) => Err(Again::NotDone),
        Err(PeerError::Lost) => Err(Again::Unknown),
    }
}

/// Has a change of the catalog carried through by its leader, so that it holds when this returns. Fails as [`ask`] does
/// without a leader.
pub async fn change(port: &impl Port, command: &Command) -> Result<Placed, Error> {
    let Some(cluster) = port.cluster() else {
        return port.change_here(command.clone()).await;
    };
    let leaders = cluster.leaders;
    let begun = port.elapsed();
    let encoded = codec::encode(command);
    port.permit(&Request::Propose(encoded.clone()))?;
    let mut waits = None;
    loop {
        let news = leaders.changes();
        if let Some(changed) = attempt_change(port, leaders, command, &encoded).await {
            leaders.found(ShardId::CATALOG);
            return changed;
        }
        if port.elapsed().saturating_sub(begun) >= PATIENCE {
            return Err(Error::Unavailable);
        }
        if !leaders.may_wait(port, ShardId::CATALOG, &mut waits) {
            return Err(Error::Busy);
        }
        within(port, RETRY_INTERVAL, leaders.changed_since(news)).await;
    }
}

/// `None` if who leads the catalog was not found, and nothing has happened.
async fn attempt_change(
    port: &impl Port,
    leaders: &Leaders,
    command: &Command,
    encoded: &Encoded,
) -> Option<Result<Placed, Error>> {
    if leaders.serves_here(ShardId::CATALOG) {
        // Another leads by now, if it is not available.
        let changed = port.change_here(command.clone()).await;
        return (!matches!(changed, Err(Error::Unavailable))).then_some(changed);
    }
    let leader = leaders.of(ShardId::CATALOG)?;
    let command = encoded.bytes.clone();
    let asked = port.ask_peer(leader, PeerRequest::Change { command });
    let told = within(port, CHANGE_PATIENCE, asked).await;
    match told.unwrap_or(Err(PeerError::Lost)) {
        Ok(PeerResponse::Change(placed)) => Some(Ok(placed)),
        Ok(PeerResponse::Refused(error)) => Some(Err(error)),
        Ok(_) | Err(PeerError::NotSent) => None,
        Err(PeerError::Lost) => Some(Err(Error::Unknown)),
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

/// As [`propose`], but only if the shard is led here: otherwise it fails with [`Error::Unavailable`], and nothing has
/// happened.
pub(crate) async fn propose_here(
    port: &impl Port,
    shard: ShardId,
    command: &Command,
) -> Result<Reply, Error> {
    let proposed = ask_here(port, shard, Request::Propose(codec::encode(command))).await;
    proposed.unwrap_or(Err(Error::Unavailable)).map(reply_of)
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
        let answered = within(port, ANSWER_PATIENCE, answered).await;
        answered
            .and_then(Result::ok)
            .unwrap_or(Err(Error::Unknown))?;
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
