//! Connections that came from other nodes: one of each, and of one process of each.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, rc::Rc, time::Duration};

use tokio::sync::oneshot;

use crate::{error::Refusal, handler::Visitor, pulse::Pulse, welcome::Rejection};

#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    by_node: RefCell<BTreeMap<u64, Arrival>>,
}

#[derive(Debug)]
struct Arrival {
    visitor: Visitor,
    from: SocketAddr,
    connection: u64,
    pulse: Rc<Pulse>,
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
    /// Whether the process that has come may take its node's place. While another one that answers has it,
    /// it may not: two processes with one number would each have a vote. One that does not answer is dead,
    /// though its connection looks open, or it will find out itself that it has lost its place.
    ///
    /// A copy of a node's folder may be here before the node, at a peer that has just started: its start is newer, and
    /// nobody has agreed on it. The start that was agreed on takes its place back.
    pub(crate) async fn may_come(
        &self,
        visitor: &Visitor,
        patience: Duration,
        is_agreed: impl Fn(&Visitor) -> bool,
    ) -> Result<(), Rejection> {
        let Some((holder, pulse, connection)) = self.other_process(visitor) else {
            return Ok(());
        };
        if visitor.start.number < holder.start.number && is_agreed(visitor) && !is_agreed(&holder) {
            return Ok(());
        }
        let answers = pulse.is_alive(patience).await;
        let by_node = self.by_node.borrow();
        let holder = by_node.get(&visitor.node);
        match holder.filter(|holder| answers && holder.connection == connection) {
            Some(holder) => Err(Rejection {
                refusal: Refusal::PlaceTaken,
                text: format!(
                    "{} (connected from {})",
                    holder.visitor.address, holder.from
                ),
            }),
            None => Ok(()),
        }
    }

    /// The connection of another process of the same node.
    fn other_process(&self, visitor: &Visitor) -> Option<(Visitor, Rc<Pulse>, u64)> {
        let by_node = self.by_node.borrow();
        let holder = by_node.get(&visitor.node);
        let holder = holder.filter(|holder| holder.visitor.run != visitor.run)?;
        let pulse = Rc::clone(&holder.pulse);
        Some((holder.visitor.clone(), pulse, holder.connection))
    }

    /// Takes a connection in, by its own number. The one before it from the same node ends: the node
    /// has given it up. The receiver resolves when this one shall end.
    pub(crate) fn arrive(
        &self,
        visitor: Visitor,
        from: SocketAddr,
        connection: u64,
        pulse: Rc<Pulse>,
    ) -> (Arrived<'_>, oneshot::Receiver<()>) {
        let (life, end) = oneshot::channel();
        let node = visitor.node;
        let arrival = Arrival {
            visitor,
            from,
            connection,
            pulse,
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
    pub(crate) fn keep(&self, is_wanted: impl Fn(&Visitor) -> bool) {
        let mut by_node = self.by_node.borrow_mut();
        by_node.retain(|_, arrival| is_wanted(&arrival.visitor));
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
