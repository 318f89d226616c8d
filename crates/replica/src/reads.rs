//! Reads that wait for proof that this replica still led when they came.

use std::collections::{BTreeMap, VecDeque};

use anser_broker::command::Query;

use crate::{Ticket, waiters::Waiter};

#[derive(Debug)]
pub(crate) enum PendingRead {
    Query {
        ticket: Ticket,
        query: Query,
    },
    /// A receive that got nothing here and does not wait.
    Receive(Waiter),
}

impl PendingRead {
    fn ticket(&self) -> Ticket {
        match self {
            Self::Query { ticket, .. } => *ticket,
            Self::Receive(waiter) => waiter.ticket,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Those of this turn, which are asked for together.
    new: Vec<PendingRead>,
    asked: BTreeMap<u64, Vec<PendingRead>>,
    /// With the index that must be applied first; indexes never go back.
    confirmed: VecDeque<(u64, PendingRead)>,
    last_context: u64,
}

impl Reads {
    pub(crate) fn push(&mut self, read: PendingRead) {
        self.new.push(read);
    }

    /// The context under which consensus will confirm the new reads, if there are any.
    pub(crate) fn ask(&mut self) -> Option<u64> {
        if self.new.is_empty() {
            return None;
        }
        self.last_context += 1;
        let reads = std::mem::take(&mut self.new);
        self.asked.insert(self.last_context, reads);
        Some(self.last_context)
    }

    pub(crate) fn confirm(&mut self, context: u64, index: u64) {
        let reads = self.asked.remove(&context).unwrap_or_default();
        self.confirmed
            .extend(reads.into_iter().map(|read| (index, read)));
    }

    /// The next read that may be answered by a state that has applied this index.
    pub(crate) fn answerable(&mut self, applied: u64) -> Option<PendingRead> {
        if self.confirmed.front()?.0 > applied {
            return None;
        }
        self.confirmed.pop_front().map(|(_, read)| read)
    }

    /// Forgets a read; whether there was one.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let is_other = |read: &PendingRead| read.ticket() != ticket;
        let before = self.count();
        self.new.retain(is_other);
        for reads in self.asked.values_mut() {
            reads.retain(is_other);
        }
        self.confirmed.retain(|(_, read)| is_other(read));
        self.count() < before
    }

    pub(crate) fn abandon(&mut self) -> Vec<Ticket> {
        let asked = std::mem::take(&mut self.asked).into_values().flatten();
        let confirmed = self.confirmed.drain(..).map(|(_, read)| read);
        let all = asked.chain(confirmed).chain(self.new.drain(..));
        all.map(|read| read.ticket()).collect()
    }

    fn count(&self) -> usize {
        let asked: usize = self.asked.values().map(Vec::len).sum();
        self.new.len() + asked + self.confirmed.len()
    }
}
