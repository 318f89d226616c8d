//! What a node does with what arrives.

use std::pin::Pin;

use bytes::Bytes;

use crate::{
    config::Start,
    error::{DialError, Refusal},
};

/// A future that may move between threads, behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The node with this number, which proved that it has the cluster's secret.
    Node(u64),
    /// Somebody with the cluster's secret but no number yet.
    Joining,
}

/// A node that has proved to have the cluster's secret, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub node: u64,
    pub incarnation: [u8; 16],
    pub start: Start,
    /// Where others reach it.
    pub address: String,
    /// Drawn by its process.
    pub(crate) run: u64,
}

/// A node behind its transport. All methods, and the futures of requests, run on the transport's
/// thread: while one runs, nothing arrives and nothing leaves, so none of them may block.
pub trait Handler: Send + Sync + 'static {
    /// One message. Those of one connection come in the order in which they were sent. Nothing bounds
    /// how many come: who keeps them bounds what it keeps.
    fn message(&self, from: u64, bytes: Bytes);

    /// One request; what it gives is the answer. The future is dropped when the caller cancels or its
    /// connection ends, and is not driven while the caller does not take the answers that wait for it.
    fn request(&self, from: Caller, bytes: Bytes) -> BoxFuture<'static, Bytes>;

    /// Whether this is a node of the cluster, its present incarnation and no start that was left behind, or
    /// what else it is. Asked at every connection from it, and again when the peers change.
    fn judge(&self, visitor: &Visitor) -> Result<(), Refusal>;

    /// Whether this is the start of the node that the cluster agreed on last.
    fn is_agreed(&self, visitor: &Visitor) -> bool;

    /// A node was let in, perhaps from another address than before.
    fn arrived(&self, visitor: &Visitor);

    /// A peer that proved itself does not want this node.
    fn refused(&self, by: u64, error: &DialError);

    /// The connection dialled to a peer is there, or has gone. The calls for one peer alternate,
    /// beginning with "there".
    fn connection(&self, node: u64, up: bool);
}
