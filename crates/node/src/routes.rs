//! This node's copy of where each queue lives, kept by what the catalog's shard says.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use anser_broker::{
    command::Placed,
    id::{AccountId, QueueId, ShardId},
    name::QueueName,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) queue: QueueId,
    pub(crate) shard: ShardId,
}

#[derive(Debug, Default)]
pub(crate) struct Routes(RwLock<Maps>);

#[derive(Debug, Default)]
struct Maps {
    by_name: HashMap<(AccountId, String), Route>,
    by_queue: HashMap<QueueId, ShardId>,
}

impl Routes {
    pub(crate) fn find(&self, account: AccountId, name: &QueueName) -> Option<Route> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_name.get(&(account, name.folded())).copied()
    }

    pub(crate) fn shard_of(&self, queue: QueueId) -> Option<ShardId> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_queue.get(&queue).copied()
    }

    pub(crate) fn change(&self, placed: &Placed) {
        let key = (placed.account, placed.name.folded());
        let route = Route {
            queue: placed.queue,
            shard: placed.shard,
        };
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if placed.attributes.is_some() {
            maps.by_name.insert(key, route);
            maps.by_queue.insert(placed.queue, placed.shard);
        } else {
            if maps.by_name.get(&key) == Some(&route) {
                maps.by_name.remove(&key);
            }
            maps.by_queue.remove(&placed.queue);
        }
    }
}
