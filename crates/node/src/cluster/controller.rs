//! Where the catalog is led, has the next steps of placement taken twice a second; what they are, `anser-host` says.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use anser_broker::id::ShardId;
use anser_host::{Action, Knowledge, Order};
use tracing::info;

use super::{peers::Cluster, words::Note};
use crate::{event::Event, inboxes::Inboxes, status::Counters};

pub(crate) struct Controller {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) inboxes: Inboxes,
    pub(crate) host: anser_host::Controller,
    pub(crate) counters: Arc<Counters>,
    /// What was decided last, for whoever asks.
    pub(crate) decided: Arc<Mutex<Vec<Action>>>,
}

impl Controller {
    /// Takes a look, and the next steps.
    pub(crate) fn step(&mut self) {
        self.look();
        let given_up = &self.counters.copies_given_up;
        given_up.store(self.host.given_up() as u64, Ordering::Relaxed);
    }

    fn look(&mut self) {
        let known = Knowledge {
            now: self.cluster.reports.now(),
            shards: self.cluster.shards,
            members: &self.cluster.members.all(),
            reports: &self.cluster.reports.all(),
        };
        if !self.cluster.leaders.serves_here(ShardId::CATALOG) {
            self.host.watch(known);
            self.decided().clear();
            return;
        }
        let decided = self.host.look(known);
        for action in &decided.actions {
            if !self.decided().contains(action) {
                info!(shard = action.shard, kind = ?action.kind, why = %action.why, "placement");
            }
        }
        for (node, order) in decided.orders {
            self.give(node, order);
        }
        *self.decided() = decided.actions;
    }

    fn give(&self, node: u64, order: Order) {
        if node == self.cluster.node {
            let shard = ShardId(order.shard());
            drop(self.inboxes.of(shard).send(Event::Order(order)));
        } else {
            // An order that is lost is given again: the next look sees what is still to be done.
            self.cluster.send(node, Note::Order(order).encode());
        }
    }

    fn decided(&self) -> std::sync::MutexGuard<'_, Vec<Action>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
