//! What can go wrong between two nodes.

use std::io;

/// Why a message was not taken. It was certainly not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("there is no connection to the node")]
    NotConnected,
    #[error("too much waits for the node already")]
    Full,
    #[error("a message has {0} bytes, which is beyond the limit")]
    TooLong(usize),
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It certainly did not happen: no byte of it was sent, or the peer refused it.
    #[error("the request was not sent, or the node refused it")]
    NotSent,
    /// It was sent, perhaps in part, and nobody knows what became of it.
    #[error("the request was sent and its answer is lost")]
    Lost,
}

/// Why a node does not want a connection. The numbers are in `docs/formats/transport.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    #[error("the two have no version of the protocol in common")]
    WrongVersion,
    #[error("it belongs to another cluster")]
    ForeignCluster,
    #[error("another node was meant")]
    AnotherNode,
    #[error("the secrets differ")]
    WrongSecret,
    #[error("it does not know the node")]
    UnknownNode,
    #[error("it knows a later incarnation of the node")]
    FormerIncarnation,
    #[error("too many nodes are joining")]
    Busy,
    #[error("it knows a later start of the node: the data directory is an old copy")]
    FormerStart,
    #[error("another process of the node is connected")]
    PlaceTaken,
    #[error("the node was removed from the cluster")]
    Removed,
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the address cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// The message has the cause: a certificate that is not believed is told apart here.
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("the connection ended before it was agreed upon: {0}")]
    Broken(io::Error),
    #[error("no connection within {0} ms")]
    TimedOut(u128),
    #[error("what answers does not speak this protocol")]
    NotANode,
    #[error("the node refused the connection: {0}")]
    Refused(Refusal),
    /// It has asked the other process, which answered.
    #[error(
        "the node refused the connection: another process of this node is connected, at {holder}"
    )]
    PlaceTaken { holder: String },
    #[error("what answers did not prove that it has the cluster's secret")]
    Impostor,
    /// It has the secret, but another number or incarnation.
    #[error("the node that answers is {0}, in an incarnation that may differ")]
    AnotherNode(u64),
}

/// Why [`crate::ask`] has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The request was not sent.
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("a request has {0} bytes, which is beyond the limit")]
    TooLong(usize),
    /// The node did not take the request.
    #[error("the node did not take the request")]
    NotHandled,
    /// The request was sent, and nobody knows what became of it.
    #[error("the request was sent and its answer is lost: {0}")]
    Lost(io::Error),
}
