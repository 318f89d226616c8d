//! The courier: a thread of its own that carries what one shard has for another.
//!
//! Everything carried is safe to carry twice: messages are numbered by their source, and settings have
//! a revision. An errand is repeated until the other side has it, so a crash in
//! between delays it and does no more.

use std::{sync::Arc, time::Duration};

use anser_broker::{
    command::{Command, Placed},
    error::Error,
    id::{QueueId, ShardId},
};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use crate::{desk::Desk, status::Counters};

mod reconcile;
mod transfer;

pub(crate) use transfer::MOVES_AT_ONCE;

/// How long an errand that could not be done is left alone.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) enum Errand {
    /// The queue has messages to be carried.
    Moves { shard: ShardId, queue: QueueId },
    /// A home may not have what the catalog says.
    Place(Placed),
    /// A change of the catalog and of a home. It is done here and not by whoever asked, who
    /// may leave in the middle.
    Change {
        command: Command,
        done: oneshot::Sender<Result<Placed, Error>>,
    },
}

/// Does errands until nobody can give any more.
pub(crate) async fn run(
    desk: Desk,
    counters: Arc<Counters>,
    mut errands: UnboundedReceiver<Errand>,
) {
    let reconciler = reconcile::Reconciler::new(desk.clone());
    let carrier = transfer::Carrier::new(desk, counters);
    while let Some(errand) = errands.recv().await {
        match errand {
            Errand::Moves { shard, queue } => carrier.carry(shard, queue),
            Errand::Place(placed) => reconciler.place(placed),
            Errand::Change { command, done } => reconciler.change(command, done),
        }
    }
}
