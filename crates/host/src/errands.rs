//! What one shard has for another, carried by tasks of the node that leads it.
//!
//! Everything carried is safe to carry twice: messages are numbered by their source, and settings have
//! a revision. It is repeated until the other side has it, so a crash in between delays it and does no more.

use std::time::Duration;

mod lines;
mod reconcile;
mod transfer;

pub use reconcile::Reconciler;
pub use transfer::Transfers;

/// How long what could not be done is left alone.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
