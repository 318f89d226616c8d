//! `/cluster`: what this node knows of its cluster, for anybody; and what an operator decides about a
//! node, for who proves to have the cluster's token.

use std::time::{Duration, Instant};

use anser_broker::error::Error;
use anser_node::{ClusterStatus, NodeState};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::{Sources, gate::Gate, text};
use crate::cluster::proof::{Change, SCHEME};

const PATHS: [&str; 2] = ["/cluster", "/cluster/challenge"];
const BODY_BYTES_MAX: usize = 4096;
const BODY_PATIENCE: Duration = Duration::from_secs(5);
/// A change is agreed on by the nodes, or refused.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// What is below `/cluster`; `path` begins so.
pub(super) async fn answer(
    request: Request<Incoming>,
    path: &str,
    sources: &Sources,
) -> Response<Full<Bytes>> {
    let node = path.strip_prefix("/cluster/nodes/");
    match (request.method(), node) {
        (&Method::GET | &Method::HEAD, None) if path == "/cluster" => {
            status(&sources.node.cluster_status())
        }
        (&Method::GET, None) if path == "/cluster/challenge" => {
            let challenge = gate(sources).map(|gate| gate.challenge(Instant::now()));
            challenge.map_or_else(Refusal::response, |challenge| {
                text(StatusCode::OK, challenge)
            })
        }
        (&Method::POST, Some(node)) => {
            let changed = change(request, path, node, sources).await;
            changed.map_or_else(Refusal::response, |()| {
                text(StatusCode::OK, "done\n".into())
            })
        }
        (_, None) if !PATHS.contains(&path) => text(
            StatusCode::NOT_FOUND,
            "see /cluster, /cluster/challenge and /cluster/nodes/NUMBER\n".into(),
        ),
        _ => text(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET works for /cluster and /cluster/challenge, POST for /cluster/nodes/NUMBER\n"
                .into(),
        ),
    }
}

fn status(status: &ClusterStatus) -> Response<Full<Bytes>> {
    match serde_json::to_string(status) {
        Ok(json) => {
            let mut response = text(StatusCode::OK, json);
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Why a change is not made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("this node is in no cluster")]
    NoCluster,
    #[error(
        "prove that you have the cluster's token, over a new /cluster/challenge: anser cluster does, \
         and docs/cluster.md says how"
    )]
    NoProof,
    #[error("there is no node {0} in this cluster")]
    NoSuchNode(String),
    #[error("write {{\"state\": \"active\"}}, \"draining\" or \"removed\"")]
    Body,
    #[error(
        "not now: each shard with a copy on node {0} must have a leader and more than half of its voters up without \
         the node. Look at /cluster or `anser cluster status`: start what is down, or wait until copies that are being \
         made are there, and repeat; a node that still works is drained first"
    )]
    NodeNeeded(u64),
    #[error("{0}")]
    Node(Error),
    #[error("the nodes did not agree in time: look at /cluster whether it happened")]
    TimeIsUp,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoCluster | Self::NoSuchNode(_) => StatusCode::NOT_FOUND,
            Self::NoProof => StatusCode::UNAUTHORIZED,
            Self::Body => StatusCode::BAD_REQUEST,
            Self::Node(Error::Unavailable | Error::Busy | Error::Unknown) | Self::TimeIsUp => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NodeNeeded(_) | Self::Node(_) => StatusCode::CONFLICT,
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = text(self.status(), format!("{self}\n"));
        if self == Self::NoProof {
            let scheme = HeaderValue::from_static(SCHEME);
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

fn gate(sources: &Sources) -> Result<&Gate, Refusal> {
    sources.gate.as_deref().ok_or(Refusal::NoCluster)
}

async fn change(
    request: Request<Incoming>,
    path: &str,
    node: &str,
    sources: &Sources,
) -> Result<(), Refusal> {
    let gate = gate(sources)?;
    let (head, body) = request.into_parts();
    let proof = head.headers.get(AUTHORIZATION).ok_or(Refusal::NoProof)?;
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = tokio::time::timeout(BODY_PATIENCE, body).await;
    let body = body.map_err(|_| Refusal::Body)?;
    let body = body.map_err(|_| Refusal::Body)?.to_bytes();
    let change = Change {
        method: head.method.as_str(),
        path,
        body: &body,
    };
    if !gate.admits(proof.as_bytes(), change, Instant::now()) {
        return Err(Refusal::NoProof);
    }
    let number = known(node, &sources.node.cluster_status())?;
    let state = wanted(&body)?;
    let change = sources.node.set_node_state(number, state);
    match tokio::time::timeout(CHANGE_PATIENCE, change).await {
        Ok(Err(Error::NodeNeeded | Error::OtherNodes)) => return Err(Refusal::NodeNeeded(number)),
        Ok(changed) => changed.map_err(Refusal::Node)?,
        Err(_) => return Err(Refusal::TimeIsUp),
    }
    tracing::info!(node = number, ?state, "an operator changed a node's state");
    Ok(())
}

fn known(node: &str, status: &ClusterStatus) -> Result<u64, Refusal> {
    let number = node.parse().ok();
    let number = number.filter(|number| status.nodes.iter().any(|node| node.node == *number));
    number.ok_or_else(|| Refusal::NoSuchNode(node.to_owned()))
}

fn wanted(body: &[u8]) -> Result<NodeState, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        state: String,
    }
    let wanted: Wanted = serde_json::from_slice(body).map_err(|_| Refusal::Body)?;
    match wanted.state.as_str() {
        "active" => Ok(NodeState::Active),
        "draining" => Ok(NodeState::Draining),
        "removed" => Ok(NodeState::Removed),
        _ => Err(Refusal::Body),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::view::tests::status;

    #[test]
    fn only_nodes_of_the_cluster_are_known() {
        assert_eq!(known("3", &status()), Ok(3));
        for unknown in ["4", "0", "", "x", "3/"] {
            let refusal = known(unknown, &status()).unwrap_err();
            assert_eq!(refusal.status(), StatusCode::NOT_FOUND, "{unknown}");
        }
    }

    #[test]
    fn three_states_can_be_asked_for() {
        assert_eq!(wanted(br#"{"state": "active"}"#), Ok(NodeState::Active));
        assert_eq!(wanted(br#"{"state": "draining"}"#), Ok(NodeState::Draining));
        assert_eq!(wanted(br#"{"state": "removed"}"#), Ok(NodeState::Removed));
        for wrong in [
            "",
            "{}",
            r#"{"state": "gone"}"#,
            r#"{"state": "active", "x": 1}"#,
        ] {
            assert_eq!(wanted(wrong.as_bytes()), Err(Refusal::Body), "{wrong}");
        }
    }

    fn refusals() -> [(Refusal, u16, &'static str); 10] {
        [
            (Refusal::NoCluster, 404, "no cluster"),
            (Refusal::NoProof, 401, "/cluster/challenge"),
            (Refusal::NoSuchNode("9".into()), 404, "no node 9"),
            (Refusal::Body, 400, "{\"state\": \"active\"}"),
            (Refusal::Node(Error::Unavailable), 503, "not available"),
            (Refusal::Node(Error::AttributeOutOfRange), 409, "range"),
            (Refusal::Node(Error::NodeRemoved), 409, "removed"),
            (Refusal::NodeNeeded(3), 409, "without the node"),
            (Refusal::NodeNeeded(3), 409, "and repeat"),
            (Refusal::TimeIsUp, 503, "/cluster"),
        ]
    }

    #[test]
    fn each_refusal_has_a_status_and_words() {
        for (refusal, status, words) in refusals() {
            assert!(refusal.to_string().contains(words), "{refusal}");
            assert_eq!(refusal.response().status().as_u16(), status);
        }
    }

    #[test]
    fn the_page_about_clusters_lists_every_status() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cluster.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, table) = page.split_once("| answer | means |\n").unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let listed = rows.filter_map(|row| row.split('|').nth(1)?.trim().parse().ok());
        // What is no refusal of a change: done, a push, another method.
        let others = [200, 403, 405];
        let statuses = refusals().map(|(_, status, _)| status);
        let expected: BTreeSet<u16> = statuses.into_iter().chain(others).collect();
        assert_eq!(listed.collect::<BTreeSet<u16>>(), expected);
    }
}
