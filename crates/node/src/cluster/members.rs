//! The nodes of the cluster, as `anser-host` knows them, for all threads of this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anser_broker::command::{NodeRecord, NodeStart};
use anser_host::{Peer, Stranger, Visitor};
use anser_transport::Refusal;
use tokio::sync::watch;

use super::identity::KnownPeer;

#[derive(Debug)]
pub(crate) struct Members {
    known: Mutex<anser_host::Members>,
    changes: watch::Sender<u64>,
}

impl Members {
    /// Those that were known at the last run count for as long as the catalog has not been heard.
    pub(crate) fn new(earlier: &BTreeMap<u64, KnownPeer>) -> Self {
        let peer = |known: &KnownPeer| Peer {
            address: known.address.clone(),
            incarnation: known.incarnation(),
        };
        let earlier = earlier.iter().map(|(&number, known)| (number, peer(known)));
        Self {
            known: Mutex::new(anser_host::Members::new(earlier.collect())),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn set(&self, nodes: Vec<NodeRecord>) {
        self.lock().set(nodes);
        self.changes.send_modify(|count| *count += 1);
    }

    /// All that were ever members, by number.
    pub(crate) fn all(&self) -> BTreeMap<u64, NodeRecord> {
        self.lock().all().clone()
    }

    /// Those that were removed.
    pub(crate) fn removed(&self) -> BTreeSet<u64> {
        self.lock().removed()
    }

    /// Whom to connect to: all that are not removed.
    pub(crate) fn peers(&self) -> BTreeMap<u64, Peer> {
        self.lock().peers()
    }

    /// Those that are not removed, besides this node.
    pub(crate) fn others(&self, node: u64) -> BTreeSet<u64> {
        let members = self.peers().into_keys();
        members.filter(|&member| member != node).collect()
    }

    /// Whether this is a node of the cluster, or why not.
    pub(crate) fn judge(
        &self,
        node: u64,
        incarnation: [u8; 16],
        start: NodeStart,
    ) -> Result<(), Refusal> {
        let judged = self.lock().judge(node, incarnation, start);
        judged.map_err(|stranger| match stranger {
            Stranger::Unknown => Refusal::UnknownNode,
            Stranger::FormerIncarnation => Refusal::FormerIncarnation,
            Stranger::FormerStart => Refusal::FormerStart,
            Stranger::Removed => Refusal::Removed,
        })
    }

    /// Whether this is the start of the node that the catalog knows.
    pub(crate) fn is_agreed(&self, node: u64, start: NodeStart) -> bool {
        let known = self.lock();
        let record = known.all().get(&node);
        record.is_some_and(|record| record.start == start)
    }

    /// A node that was let in says where it is reached; whether that is news.
    pub(crate) fn hear(&self, visitor: &Visitor) -> bool {
        self.lock().hear(visitor)
    }

    /// A node was found at an address; whether it is a member that was thought to be elsewhere.
    pub(crate) fn find(&self, node: u64, incarnation: [u8; 16], address: &str) -> bool {
        self.lock().find(node, incarnation, address)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, anser_host::Members> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its copy of the catalog may be gone or closed.
    #[test]
    fn the_others_of_the_last_run_are_there_before_the_catalog_is_heard() {
        assert!(Members::new(&BTreeMap::new()).others(1).is_empty());
        let peer = KnownPeer::new("a:1".into(), [2; 16]);
        let members = Members::new(&BTreeMap::from([(2, peer)]));
        assert_eq!(members.others(1), BTreeSet::from([2]));
        assert!(members.others(2).is_empty());
    }
}
