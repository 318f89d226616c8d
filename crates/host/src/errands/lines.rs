//! Where errands wait for their turn: a line for each shard, so that a shard without a leader or with a slow disk
//! holds up only its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anser_broker::id::ShardId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(super) struct Lines {
    /// Of one shard at once.
    most: usize,
    lines: Mutex<BTreeMap<ShardId, Arc<Semaphore>>>,
}

impl Lines {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            lines: Mutex::default(),
        }
    }

    /// Waits for a turn of a shard, which ends when what is returned is dropped.
    pub(super) async fn turn(&self, shard: ShardId) -> OwnedSemaphorePermit {
        let turn = self.of(shard).acquire_owned().await;
        turn.expect("a line is never closed")
    }

    fn of(&self, shard: ShardId) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(shard);
        Arc::clone(line.or_insert_with(|| Arc::new(Semaphore::new(self.most))))
    }
}
