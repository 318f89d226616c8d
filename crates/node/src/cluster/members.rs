//! The nodes of the cluster, as this node's copy of the catalog names them, and where they said last that
//! they are reached: a node whose address has changed says so to whom it dials, before the catalog knows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anser_broker::command::{NodeRecord, NodeStart, NodeState};
use anser_transport::Refusal;
use tokio::sync::watch;

use super::identity::KnownPeer;

#[derive(Debug)]
pub(crate) struct Members {
    known: Mutex<Known>,
    /// Those that were known at the last run, for as long as the catalog has not been heard.
    earlier: BTreeMap<u64, KnownPeer>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    records: BTreeMap<u64, NodeRecord>,
    /// The number of the start that has said it, and the address.
    said: BTreeMap<u64, (u64, String)>,
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
        self.lock().records = by_number.collect();
        self.changes.send_modify(|count| *count += 1);
    }

    /// All that were ever members, by number.
    pub(crate) fn all(&self) -> BTreeMap<u64, NodeRecord> {
        self.lock().records.clone()
    }

    /// Whom to connect to: all that are not removed.
    pub(crate) fn peers(&self) -> BTreeMap<u64, KnownPeer> {
        let known = self.lock();
        let mut peers = if known.records.is_empty() {
            self.earlier.clone()
        } else {
            let present = known.records.iter().filter(|(_, node)| is_present(node));
            let peer = |node: &NodeRecord| KnownPeer::new(node.address.clone(), node.incarnation);
            present
                .map(|(&number, node)| (number, peer(node)))
                .collect()
        };
        for (number, peer) in &mut peers {
            if let Some((start, address)) = known.said.get(number)
                && *start >= known.start_of(*number)
            {
                peer.address.clone_from(address);
            }
        }
        peers
    }

    /// Whether this is a node of the cluster, or why not.
    pub(crate) fn judge(
        &self,
        node: u64,
        incarnation: [u8; 16],
        start: NodeStart,
    ) -> Result<(), Refusal> {
        let known = self.lock();
        if known.records.is_empty() {
            return match self.earlier.get(&node) {
                Some(earlier) if earlier.incarnation() == incarnation => Ok(()),
                Some(_) => Err(Refusal::FormerIncarnation),
                None => Err(Refusal::UnknownNode),
            };
        }
        let record = known.records.get(&node).ok_or(Refusal::UnknownNode)?;
        if record.incarnation != incarnation {
            Err(Refusal::FormerIncarnation)
        } else if !is_present(record) {
            Err(Refusal::Removed)
        } else if start.is_behind(record.start) {
            Err(Refusal::FormerStart)
        } else {
            Ok(())
        }
    }

    /// Whether this is the start of the node that the catalog knows.
    pub(crate) fn is_agreed(&self, node: u64, start: NodeStart) -> bool {
        let known = self.lock();
        let record = known.records.get(&node);
        record.is_some_and(|record| record.start == start)
    }

    /// A node that was let in says where it is reached; whether that is news.
    pub(crate) fn hear(&self, node: u64, start: u64, address: &str) -> bool {
        self.move_to(node, start, address)
    }

    /// A node was found at an address; whether it is a member that was thought to be elsewhere.
    pub(crate) fn find(&self, node: u64, incarnation: [u8; 16], address: &str) -> bool {
        let peer = self.peers().remove(&node);
        let is_it = peer.is_some_and(|peer| peer.incarnation() == incarnation);
        let start = self.lock().latest_start_of(node);
        is_it && self.move_to(node, start, address)
    }

    fn move_to(&self, node: u64, start: u64, address: &str) -> bool {
        let peer = self.peers().remove(&node);
        let mut known = self.lock();
        let said = known.said.get(&node).map_or(0, |(start, _)| *start);
        if address.is_empty() || start < said {
            return false;
        }
        known.said.insert(node, (start, address.to_owned()));
        peer.is_some_and(|peer| peer.address != address)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The number of the start with which the catalog knows the node.
    fn start_of(&self, node: u64) -> u64 {
        self.records.get(&node).map_or(0, |node| node.start.number)
    }

    fn latest_start_of(&self, node: u64) -> u64 {
        let said = self.said.get(&node).map_or(0, |(start, _)| *start);
        said.max(self.start_of(node))
    }
}

fn is_present(node: &NodeRecord) -> bool {
    node.state != NodeState::Removed
}

#[cfg(test)]
mod tests {
    use anser_broker::{id::NodeId, time::Timestamp};

    use super::*;

    fn start(number: u64, mark: u8) -> NodeStart {
        let mark = [mark; 16];
        NodeStart { number, mark }
    }

    fn record(node: u64, address: &str, state: NodeState) -> NodeRecord {
        NodeRecord {
            node: NodeId(node),
            incarnation: [7; 16],
            address: address.into(),
            host: String::new(),
            zone: String::new(),
            state,
            start: start(5, 1),
            added: Timestamp(0),
        }
    }

    fn members() -> Members {
        let members = Members::new(BTreeMap::new());
        members.set(vec![
            record(1, "a:1", NodeState::Active),
            record(2, "b:1", NodeState::Removed),
        ]);
        members
    }

    fn address(members: &Members) -> String {
        members.peers()[&1].address.clone()
    }

    #[test]
    fn each_that_is_no_member_is_told_what_it_is() {
        let members = members();
        let judged = |node, incarnation, number, mark| {
            members.judge(node, [incarnation; 16], start(number, mark))
        };
        assert_eq!(judged(1, 7, 5, 1), Ok(()));
        assert_eq!(judged(1, 7, 6, 9), Ok(()));
        assert_eq!(judged(1, 7, 4, 1), Err(Refusal::FormerStart));
        assert_eq!(judged(1, 7, 5, 2), Err(Refusal::FormerStart));
        assert_eq!(judged(1, 8, 5, 1), Err(Refusal::FormerIncarnation));
        assert_eq!(judged(2, 7, 9, 9), Err(Refusal::Removed));
        assert_eq!(judged(3, 7, 5, 1), Err(Refusal::UnknownNode));
    }

    #[test]
    fn what_a_later_start_says_of_its_address_counts() {
        let members = members();
        assert!(members.hear(1, 6, "a:2"));
        assert!(!members.hear(1, 6, "a:2"), "no news");
        assert!(!members.hear(1, 5, "a:3"), "it is of before");
        assert_eq!(address(&members), "a:2");
        let mut later = record(1, "a:4", NodeState::Active);
        later.start = start(7, 1);
        members.set(vec![later]);
        assert_eq!(
            address(&members),
            "a:4",
            "the catalog has heard of a later start"
        );
        assert!(
            !members.hear(9, 1, "z:1"),
            "whom nobody knows is not dialled"
        );
    }

    #[test]
    fn who_is_found_elsewhere_is_dialled_there() {
        let members = members();
        assert!(
            !members.find(1, [8; 16], "a:2"),
            "an emptied disk is another node"
        );
        assert!(!members.find(2, [7; 16], "b:2"), "it was removed");
        assert!(members.find(1, [7; 16], "a:2"));
        assert_eq!(address(&members), "a:2");
        assert!(members.hear(1, 5, "a:3"), "what it says itself counts");
    }
}
