//! The nodes of the cluster, as a node's copy of the catalog names them, and where they said last that they are
//! reached: a node whose address has changed says so to whom it dials, before the catalog knows.
//!
//! A node that has only just got its place has no copy of the catalog yet, and may have been told of nobody who is
//! still there. One whose copy is old may know nobody who still leads the catalog. So whoever has the cluster's token and a
//! number that was given out later than all that are known is taken for a member until it is known better.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::command::{NodeRecord, NodeStart, NodeState};

/// Where a node is reached, and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub address: String,
    pub incarnation: [u8; 16],
}

/// What a node says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub node: u64,
    pub incarnation: [u8; 16],
    pub start: NodeStart,
    pub address: String,
}

/// Why a node is no member, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    Unknown,
    FormerIncarnation,
    FormerStart,
    Removed,
}

#[derive(Debug, Default)]
pub struct Members {
    records: BTreeMap<u64, NodeRecord>,
    /// Those that were known at the last run, or have come since; they count while the catalog says nothing of their numbers.
    heard: BTreeMap<u64, Peer>,
    /// The number of the start that has said it, and the address.
    said: BTreeMap<u64, (u64, String)>,
}

impl Members {
    pub fn new(heard: BTreeMap<u64, Peer>) -> Self {
        Self {
            heard,
            ..Self::default()
        }
    }

    pub fn set(&mut self, nodes: Vec<NodeRecord>) {
        let by_number = nodes.into_iter().map(|node| (node.node.0, node));
        self.records = by_number.collect();
    }

    /// All that were ever members, by number.
    pub fn all(&self) -> &BTreeMap<u64, NodeRecord> {
        &self.records
    }

    /// Those that were removed.
    pub fn removed(&self) -> BTreeSet<u64> {
        let removed = self.records.iter().filter(|(_, node)| !is_present(node));
        removed.map(|(&number, _)| number).collect()
    }

    /// Whom to connect to: all that are not removed.
    pub fn peers(&self) -> BTreeMap<u64, Peer> {
        let newer = self
            .heard
            .iter()
            .filter(|(node, _)| self.may_be_new(**node));
        let newer = newer.map(|(&number, peer)| (number, peer.clone()));
        let present = self.records.iter().filter(|(_, node)| is_present(node));
        let peer = |node: &NodeRecord| Peer {
            address: node.address.clone(),
            incarnation: node.incarnation,
        };
        let present = present.map(|(&number, node)| (number, peer(node)));
        let mut peers: BTreeMap<u64, Peer> = newer.chain(present).collect();
        for (number, peer) in &mut peers {
            if let Some((start, address)) = self.said.get(number)
                && *start >= self.start_of(*number)
            {
                peer.address.clone_from(address);
            }
        }
        peers
    }

    /// Whether this is a node of the cluster, or why not.
    pub fn judge(
        &self,
        node: u64,
        incarnation: [u8; 16],
        start: NodeStart,
    ) -> Result<(), Stranger> {
        let Some(record) = self.records.get(&node) else {
            let heard = self.heard.get(&node);
            return match heard {
                _ if !self.may_be_new(node) => Err(Stranger::Unknown),
                Some(heard) if heard.incarnation != incarnation => Err(Stranger::FormerIncarnation),
                _ => Ok(()),
            };
        };
        if record.incarnation != incarnation {
            Err(Stranger::FormerIncarnation)
        } else if !is_present(record) {
            Err(Stranger::Removed)
        } else if is_behind(start, record.start) {
            Err(Stranger::FormerStart)
        } else {
            Ok(())
        }
    }

    /// Whether a number may have been given out since the catalog was heard.
    fn may_be_new(&self, node: u64) -> bool {
        let last = self.records.last_key_value();
        last.is_none_or(|(&last, _)| node > last)
    }

    /// A node that was let in says where it is reached; whether that is news.
    pub fn hear(&mut self, visitor: &Visitor) -> bool {
        let Visitor { node, address, .. } = visitor;
        if self.may_be_new(*node) && !self.heard.contains_key(node) && !address.is_empty() {
            let peer = Peer {
                address: address.clone(),
                incarnation: visitor.incarnation,
            };
            self.heard.insert(*node, peer);
            return true;
        }
        self.move_to(*node, visitor.start.number, address)
    }

    /// A node was found at an address; whether it is a member that was thought to be elsewhere.
    pub fn find(&mut self, node: u64, incarnation: [u8; 16], address: &str) -> bool {
        let peer = self.peers().remove(&node);
        let is_it = peer.is_some_and(|peer| peer.incarnation == incarnation);
        is_it && self.move_to(node, self.latest_start_of(node), address)
    }

    fn move_to(&mut self, node: u64, start: u64, address: &str) -> bool {
        let peer = self.peers().remove(&node);
        let said = self.said.get(&node).map_or(0, |(start, _)| *start);
        if address.is_empty() || start < said {
            return false;
        }
        self.said.insert(node, (start, address.to_owned()));
        peer.is_some_and(|peer| peer.address != address)
    }

    /// The number of the start with which the catalog knows the node.
    fn start_of(&self, node: u64) -> u64 {
        self.records.get(&node).map_or(0, |node| node.start.number)
    }

    fn latest_start_of(&self, node: u64) -> u64 {
        let said = self.said.get(&node).map_or(0, |(start, _)| *start);
        said.max(self.start_of(node))
    }
}

/// Whether a start was left behind by the one that the catalog knows.
fn is_behind(start: NodeStart, known: NodeStart) -> bool {
    #[cfg(feature = "sabotage")]
    if anser_broker::sabotage::is_planted("starts are not told apart") {
        return false;
    }
    start.is_behind(known)
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

    fn visitor(node: u64, start: u64, address: &str) -> Visitor {
        Visitor {
            node,
            incarnation: [7; 16],
            start: self::start(start, 1),
            address: address.into(),
        }
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
        let mut members = Members::default();
        members.set(vec![
            record(1, "a:1", NodeState::Active),
            record(2, "b:1", NodeState::Removed),
            record(4, "d:1", NodeState::Active),
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
        assert_eq!(judged(1, 7, 4, 1), Err(Stranger::FormerStart));
        assert_eq!(judged(1, 7, 5, 2), Err(Stranger::FormerStart));
        assert_eq!(judged(1, 8, 5, 1), Err(Stranger::FormerIncarnation));
        assert_eq!(judged(2, 7, 9, 9), Err(Stranger::Removed));
        assert_eq!(judged(3, 7, 5, 1), Err(Stranger::Unknown));
        assert_eq!(judged(5, 7, 1, 1), Ok(()), "it may have come since");
    }

    #[test]
    fn what_a_later_start_says_of_its_address_counts() {
        let mut members = members();
        assert!(members.hear(&visitor(1, 6, "a:2")));
        assert!(!members.hear(&visitor(1, 6, "a:2")), "no news");
        assert!(!members.hear(&visitor(1, 5, "a:3")), "it is of before");
        assert_eq!(address(&members), "a:2");
        let mut later = record(1, "a:4", NodeState::Active);
        later.start = start(7, 1);
        members.set(vec![later]);
        assert_eq!(
            address(&members),
            "a:4",
            "the catalog has heard of a later start"
        );
    }

    #[test]
    fn who_is_found_elsewhere_is_dialled_there() {
        let mut members = members();
        assert!(
            !members.find(1, [8; 16], "a:2"),
            "an emptied disk is another node"
        );
        assert!(!members.find(2, [7; 16], "b:2"), "it was removed");
        assert!(members.find(1, [7; 16], "a:2"));
        assert_eq!(address(&members), "a:2");
        assert!(
            members.hear(&visitor(1, 5, "a:3")),
            "what it says itself counts"
        );
    }

    /// Whoever told it of the others may be gone by the time that the catalog's leader is one that came later.
    #[test]
    fn a_node_without_the_catalog_takes_who_comes_for_a_member_and_dials_it() {
        let one = Peer {
            address: "a:1".into(),
            incarnation: [7; 16],
        };
        let mut members = Members::new(BTreeMap::from([(1, one)]));
        let judged = |members: &Members, node, incarnation| {
            members.judge(node, [incarnation; 16], start(1, 1))
        };
        assert_eq!(judged(&members, 1, 8), Err(Stranger::FormerIncarnation));
        assert_eq!(judged(&members, 3, 7), Ok(()));
        assert!(members.hear(&visitor(3, 1, "c:1")));
        assert_eq!(members.peers()[&3].address, "c:1");
        let known = |node| record(node, "x:1", NodeState::Active);
        members.set(vec![known(1), known(4)]);
        assert_eq!(judged(&members, 3, 7), Err(Stranger::Unknown));
        assert!(!members.peers().contains_key(&3));
    }

    /// Its copy of the catalog is from before all nodes that have one now.
    #[test]
    fn a_node_with_an_old_catalog_takes_whoever_came_later_for_a_member_and_dials_it() {
        let mut members = members();
        assert!(members.hear(&visitor(7, 1, "g:1")));
        assert_eq!(members.peers()[&7].address, "g:1");
        assert!(!members.hear(&visitor(3, 1, "c:1")), "it is of before");
    }
}
