//! What a leader makes of what the others say of their own memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::message::Memory;

/// What the leader of the present term knows of each other replica.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    suspects: BTreeSet<u64>,
    blank: BTreeMap<u64, Blank>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blank {
    /// It said so, perhaps before it had its state: it was asked again.
    Asked,
    /// It said so when it was asked again.
    Certain,
}

impl Doubts {
    /// A voter says, in its present life, that it has no state. True if it has to be asked again, in another life: the
    /// answer may be from before it had one, and late.
    pub(crate) fn is_to_be_asked(&mut self, voter: u64) -> bool {
        let known = self.blank.get(&voter).copied();
        let next = match known {
            None => Blank::Asked,
            Some(Blank::Asked | Blank::Certain) => Blank::Certain,
        };
        #[cfg(feature = "sabotage")]
        let next = if anser_broker::sabotage::is_planted("blank at its word") {
            Blank::Certain
        } else {
            next
        };
        self.blank.insert(voter, next);
        known.is_none()
    }

    /// Somebody with a state spoke, in its present life or an earlier one.
    pub(crate) fn heard(&mut self, node: u64, memory: Memory, is_present: bool) {
        if is_present {
            self.blank.remove(&node);
        }
        if memory.is_forgetful() {
            self.suspects.insert(node);
        } else {
            self.suspects.remove(&node);
        }
    }

    /// What a node is known to have; Empty only for a voter that said so when it was asked again.
    pub(crate) fn memory(&self, node: u64) -> Memory {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("suspects become voters") {
            return Memory::Whole;
        }
        if self.blank.get(&node) == Some(&Blank::Certain) {
            Memory::Empty
        } else if self.suspects.contains(&node) {
            Memory::Suspect
        } else {
            Memory::Whole
        }
    }
}
