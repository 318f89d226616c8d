//! Requests in: HTTP, signatures and dialects over the broker's operations.
//!
//! [`start`] opens the port and hands every request to a dialect. A dialect is a table: an action's
//! name, the fields it reads, the [`anser_broker::op`] operation it means, and the words of the
//! answer. Nothing here knows how an operation is carried out; whoever holds an
//! [`anser_broker::service::Service`] can be served. Read `http` first, then `cmq/table`.

mod auth;
pub mod cmq;
mod codec;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod key;
mod limits;
mod memory;
mod metrics;
#[cfg(test)]
mod testing;

pub use auth::{
    host::{Host, NoHost},
    signature::{Algorithm, sign_v1},
    strict::{Accounts, NoAccount},
};
pub use cmq::{receipt::ReceiptCipher, resource_id::subscription_of};
pub use codec::form::encode as encode_form;
pub use http::{Server, ServerConfig, WallClock, start};
pub use key::{AccessKey, KeyStore};
pub use limits::Limits;
pub use metrics::{HttpMetrics, LatencyBucket, RequestCount};
