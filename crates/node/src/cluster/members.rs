//! The nodes of the cluster, as this node's copy of the catalog names them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anser_broker::command::{NodeRecord, NodeState};
use tokio::sync::watch;

use super::identity::KnownPeer;

/// Before the catalog has been heard, those that were known at the last run.
#[derive(Debug)]
pub(crate) struct Members {
    known: Mutex<BTreeMap<u64, NodeRecord>>,
    earlier: BTreeMap<u64, KnownPeer>,
    changes: watch::Sender<u64>,
}

impl Members {
    pub(crate) fn new(earlier: BTreeMap<u64, KnownPeer>) -> Self {
        Self {
            known: Mutex::default(),
            earlier,
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn set(&self, nodes: Vec<NodeRecord>) {
        let by_number = nodes.into_iter().map(|node| (node.node.0, node));
        *self.lock() = by_number.collect();
        self.changes.send_modify(|count| *count += 1);
    }

    /// All that were ever members, by number.
    pub(crate) fn all(&self) -> BTreeMap<u64, NodeRecord> {
        self.lock().clone()
    }

    /// Whom to connect to: all that are not removed.
    pub(crate) fn peers(&self) -> BTreeMap<u64, KnownPeer> {
        let known = self.lock();
        if known.is_empty() {
            return self.earlier.clone();
        }
        let present = known.iter().filter(|(_, node)| is_present(node));
        present
            .map(|(&number, node)| {
                (
                    number,
                    KnownPeer::new(node.address.clone(), node.incarnation),
                )
            })
            .collect()
    }

    pub(crate) fn knows(&self, node: u64, incarnation: [u8; 16]) -> bool {
        let known = self.lock();
        match known.get(&node) {
            Some(node) => is_present(node) && node.incarnation == incarnation,
            None if known.is_empty() => {
                let earlier = self.earlier.get(&node);
                earlier.is_some_and(|earlier| earlier.incarnation() == incarnation)
            }
            None => false,
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, NodeRecord>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_present(node: &NodeRecord) -> bool {
    node.state != NodeState::Removed
}
