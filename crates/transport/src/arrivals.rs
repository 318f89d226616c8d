//! Connections that came from other nodes: one of each.

use std::{cell::RefCell, collections::BTreeMap};

use tokio::sync::oneshot;

#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    by_node: RefCell<BTreeMap<u64, Arrival>>,
}

#[derive(Debug)]
struct Arrival {
    incarnation: [u8; 16],
    connection: u64,
    /// Dropped, the connection ends.
    _life: oneshot::Sender<()>,
}

/// One connection that came, until dropped.
#[derive(Debug)]
pub(crate) struct Arrived<'arrivals> {
    arrivals: &'arrivals Arrivals,
    node: u64,
    connection: u64,
}

impl Arrivals {
    /// Takes a connection in, by its own number. The one before it from the same node ends: the node
    /// has given it up. The receiver resolves when this one shall end.
    pub(crate) fn arrive(
        &self,
        node: u64,
        incarnation: [u8; 16],
        connection: u64,
    ) -> (Arrived<'_>, oneshot::Receiver<()>) {
        let (life, end) = oneshot::channel();
        let arrival = Arrival {
            incarnation,
            connection,
            _life: life,
        };
        self.by_node.borrow_mut().insert(node, arrival);
        let arrived = Arrived {
            arrivals: self,
            node,
            connection,
        };
        (arrived, end)
    }

    /// Ends the connections from nodes that are not wanted any more.
    pub(crate) fn keep(&self, is_wanted: impl Fn(u64, [u8; 16]) -> bool) {
        let nodes: Vec<_> = self
            .by_node
            .borrow()
            .iter()
            .map(|(node, arrival)| (*node, arrival.incarnation))
            .collect();
        for (node, incarnation) in nodes {
            if !is_wanted(node, incarnation) {
                self.by_node.borrow_mut().remove(&node);
            }
        }
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        let mut by_node = self.arrivals.by_node.borrow_mut();
        if by_node
            .get(&self.node)
            .is_some_and(|arrival| arrival.connection == self.connection)
        {
            by_node.remove(&self.node);
        }
    }
}
