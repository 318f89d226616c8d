//! The first reason for a node to end by itself, for whoever must end the process.

use std::sync::Arc;

use tokio::sync::watch;

/// Why a node ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    pub kind: FailureKind,
    /// For people.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The storage failed, or what it holds cannot be served: nothing is acknowledged any more.
    Storage,
    /// Another process of this node is connected to its peers.
    PlaceTaken,
    /// The data folder is an old copy, or the second of two that were started.
    FormerStart,
    /// The cluster has let go of the node for ever.
    Removed,
}

impl Failure {
    pub(crate) fn former_start(node: u64) -> Self {
        Self {
            kind: FailureKind::FormerStart,
            reason: format!(
                "the data folder is an old copy of that of node {node}, which has been started since: it may \
                 lack what the node has promised, so it is never let in again. Do not start it. If node \
                 {node} is lost, remove it with `anser cluster remove {node}`; to use this machine, empty \
                 the data folder and let it join as a new node"
            ),
        }
    }

    pub(crate) fn removed(node: u64) -> Self {
        Self {
            kind: FailureKind::Removed,
            reason: format!(
                "node {node} was removed from the cluster: its data folder can be deleted; to use this \
                 machine again, empty the data folder and let it join as a new node"
            ),
        }
    }

    pub(crate) fn place_taken(node: u64, by: u64, holder: &str) -> Self {
        Self {
            kind: FailureKind::PlaceTaken,
            reason: format!(
                "another process of node {node} is connected to node {by}; it is reached at {holder}. One of \
                 the two runs with a copy of the data folder: end that one and delete its folder"
            ),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Failed(Arc<watch::Sender<Option<Failure>>>);

impl Failed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// The storage failed. Keeps the first reason.
    pub(crate) fn set(&self, reason: String) {
        let kind = FailureKind::Storage;
        self.end(Failure { kind, reason });
    }

    /// Keeps the first reason.
    pub(crate) fn end(&self, failure: Failure) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(failure);
            }
            first
        });
    }

    pub(crate) fn get(&self) -> Option<Failure> {
        self.0.borrow().clone()
    }

    /// Waits until there is a reason.
    pub(crate) async fn wait(&self) -> Failure {
        let mut receiver = self.0.subscribe();
        let reason = receiver.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        reason.expect("the sender is here, and waited for is a reason")
    }
}
