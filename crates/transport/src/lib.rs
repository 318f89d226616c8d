//! Frames of opaque bytes between the nodes of a cluster.
//!
//! A node dials one connection to each peer. Its messages and requests, and the peer's answers, go
//! over the connection it dialled. What the bytes mean is the business of the [`Handler`] and of who
//! calls [`Transport::send`] and [`Transport::request`].
//!
//! Read `transport` first, then `dialling` for the connections to peers, `listening` for those from
//! them, `session` for what goes on over an open one, and `docs/formats/transport.md` for every byte.

mod arrivals;
mod ask;
mod backoff;
mod batch;
mod config;
mod counters;
mod dial;
mod dialling;
mod error;
mod frame;
mod handler;
mod handshake;
mod hello;
mod lane;
mod link;
mod listening;
mod places;
mod pulse;
mod reader;
mod secret;
mod serving;
mod session;
mod tls;
mod transport;
mod welcome;

pub use ask::{ask, identify};
pub use config::{Config, Identity, JoinConfig, Limits, Peer, Start};
pub use counters::{PeerStatistics, Statistics};
pub use error::{AskError, DialError, Refusal, RequestError, SendError};
pub use handler::{BoxFuture, Caller, Handler, Visitor};
pub use secret::{Secret, ShortSecret};
pub use tls::{TlsConfig, TlsError};
pub use transport::Transport;
pub use welcome::Found;
