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
    /// A receive that would not wait and found nothing.
    Empty(Waiter),
}

impl PendingRead {
    fn ticket(&self) -> Ticket {
        match self {
            Self::Query { ticket, .. } => *ticket,
            Self::Empty(waiter) => waiter.ticket,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reads {
    asked: BTreeMap<u64, PendingRead>,
    /// With the index that must be applied first; indexes never go back.
    confirmed: VecDeque<(u64, PendingRead)>,
    last_context: u64,
}

impl Reads {
    /// Keeps a read; the context under which consensus will confirm it.
    pub(crate) fn ask(&mut self, read: PendingRead) -> u64 {
        self.last_context += 1;
        self.asked.insert(self.last_context, read);
        self.last_context
    }

    pub(crate) fn confirm(&mut self, context: u64, index: u64) {
        if let Some(read) = self.asked.remove(&context) {
            self.confirmed.push_back((index, read));
        }
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
        let before = self.asked.len() + self.confirmed.len();
        self.asked.retain(|_, read| read.ticket() != ticket);
        self.confirmed.retain(|(_, read)| read.ticket() != ticket);
        self.asked.len() + self.confirmed.len() < before
    }

    pub(crate) fn abandon(&mut self) -> Vec<Ticket> {
        let asked = std::mem::take(&mut self.asked).into_values();
        let confirmed = self.confirmed.drain(..).map(|(_, read)| read);
        asked.chain(confirmed).map(|read| read.ticket()).collect()
    }
}
