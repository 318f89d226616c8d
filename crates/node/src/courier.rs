//! The courier: a thread of its own on which the node carries what one shard has for another, and tells homes what the
//! catalog says of them.

use anser_broker::{
    command::{Command, Placed},
    error::Error,
    id::{QueueId, ShardId},
};
use anser_host::{Reconciler, Transfers};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use crate::desk::Desk;

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
pub(crate) async fn run(desk: Desk, mut errands: UnboundedReceiver<Errand>) {
    let reconciler = Reconciler::new(desk.clone());
    let transfers = Transfers::new(desk);
    while let Some(errand) = errands.recv().await {
        match errand {
            Errand::Moves { shard, queue } => transfers.carry(shard, queue),
            Errand::Place(placed) => reconciler.place(&placed),
            Errand::Change { command, done } => reconciler.change(command, done),
        }
    }
}
