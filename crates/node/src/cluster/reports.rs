//! The newest report of each node, for all threads of this one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anser_broker::id::ShardId;
use anser_host::{Difference, Fitness, NodeReport, Unfit};
use tokio::sync::Notify;

use crate::clock::Clock;

#[derive(Debug)]
pub(crate) struct Reports {
    heard: Mutex<anser_host::Reports>,
    clock: Clock,
    urgent: Notify,
}

impl Reports {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            heard: Mutex::default(),
            clock,
            urgent: Notify::new(),
        }
    }

    /// What the clock by which reports are dated shows now.
    pub(crate) fn now(&self) -> std::time::Duration {
        self.clock.now().beat
    }

    pub(crate) fn put(&self, report: NodeReport) {
        let now = self.now();
        self.lock().put(report, now);
    }

    /// What this node thinks of itself, beside the others.
    pub(crate) fn judge(&self, fitness: &mut Fitness, own: &NodeReport) -> Option<Unfit> {
        let now = self.now();
        fitness.judge(own, &self.lock(), now)
    }

    /// Others should not have to wait to hear how this node is: it leads a shard now, or somebody has come
    /// who knows nothing yet. A node without a copy of a shard hears only so whom to ask.
    pub(crate) fn hurry(&self) {
        self.urgent.notify_one();
    }

    /// Waits until there is something that others should not have to wait for.
    pub(crate) async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// Whether the disk of a node that has a copy of the shard is nearly full.
    pub(crate) fn is_full(&self, shard: ShardId) -> bool {
        let now = self.now();
        self.lock().is_full(shard, now)
    }

    /// Whether a node leads a shard of which another voter is up and stays.
    pub(crate) fn can_hand_over(&self, node: u64) -> bool {
        let now = self.now();
        self.lock().can_hand_over(node, now)
    }

    /// The shards of which replicas have made different states of one log.
    pub(crate) fn differences(&self) -> BTreeMap<u16, Difference> {
        let now = self.now();
        anser_host::differences(&self.lock(), now)
    }

    pub(crate) fn all(&self) -> anser_host::Reports {
        self.lock().clone()
    }

    pub(crate) fn forget(&self, node: u64) {
        self.lock().forget(node);
    }

    fn lock(&self) -> MutexGuard<'_, anser_host::Reports> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
