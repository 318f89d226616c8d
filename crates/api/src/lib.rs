//! Requests in: HTTP, signatures and dialects over the broker's operations.
//!
//! [`start`] opens the port. A request comes from `http` to `tongues`, which has `dialect` recognise whose it is and
//! hands it to that dialect. A dialect is a table: an action's name, the fields it reads, the [`anser_broker::op`]
//! operation it means, and the words of the answer. The only way from there to the
//! [`anser_broker::service::Service`] is `front`, the same for all. `http` knows no dialect, and no dialect knows `http`
//! or another one. Read `tongues`, then `cmq/table`, then `front`.

mod auth;
mod clock;
pub mod cmq;
mod codec;
mod dialect;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod key;
mod limits;
mod memory;
mod metrics;
mod not_yet;
mod numbers;
mod permutation;
mod presence;
mod rates;
mod receipt;
mod record;
mod server;
mod stop;
#[cfg(test)]
mod testing;
mod tongues;

pub use auth::{
    host::{Host, NoHost},
    signature::sign_v1,
    strict::{Accounts, NoAccount},
};
pub use clock::WallClock;
pub use cmq::resource_id::subscription_of;
pub use codec::form::encode as encode_form;
pub use http::Server;
pub use key::{AccessKey, Algorithm, KeyStore};
pub use limits::Limits;
pub use metrics::{HttpMetrics, LatencyBucket, RequestCount};
pub use rates::Rates;
pub use receipt::ReceiptCipher;
pub use server::{ServerConfig, start};
