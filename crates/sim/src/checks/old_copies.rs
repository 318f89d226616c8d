//! An old copy of a node's disk is let in by nobody who knows of a later start, and a node is refused by its start only
//! if it is one.

use anser_broker::command::NodeStart;

use super::Checks;

impl Checks {
    /// A node goes on with an old copy of its disk. What had been durable counts as it was for as long as somebody may
    /// rely on it, like that of a lost disk; nothing counts any more that the copy writes or says.
    pub(crate) fn put_back(&mut self, node: u64, last: NodeStart) {
        self.old_copies.insert(node, last);
    }

    pub(crate) fn is_old_copy(&self, node: u64) -> bool {
        self.old_copies.contains_key(&node)
    }

    /// A node has let another in, of which it knows this start.
    pub(crate) fn let_in(&mut self, node: u64, other: u64, known: Option<NodeStart>) {
        let last = self.old_copies.get(&other);
        if last.is_some_and(|last| known == Some(*last)) {
            self.fail(format!(
                "node {node} lets in an old copy of node {other}, whose last start it knows"
            ));
        }
    }

    /// A node hears that its start is one of before.
    pub(crate) fn refused_by_start(&mut self, node: u64) {
        if !self.is_old_copy(node) {
            self.fail(format!("node {node} is taken for an old copy of itself"));
        }
    }
}
