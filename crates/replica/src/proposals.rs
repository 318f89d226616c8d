//! Commands on their way: waiting to be packed into an entry, or in an entry that is not applied.

use std::collections::VecDeque;

use anser_broker::{
    codec::{BatchBuilder, Encoded},
    id::QueueId,
    limits,
    time::{Stamp, Timestamp},
};
use bytes::Bytes;

use crate::{
    input::{ReceiveRequest, Ticket},
    tail::Place,
    waiters::Waiter,
};

/// Who waits for a command's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Nobody,
    Ticket(Ticket),
    /// The reply waits until every voter has the command.
    Everywhere(Ticket),
    /// A receive, which goes back to waiting if it finds nothing.
    Receiver(Waiter),
}

impl Caller {
    pub(crate) fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Nobody => None,
            Self::Ticket(ticket) | Self::Everywhere(ticket) => Some(ticket),
            Self::Receiver(waiter) => Some(waiter.ticket),
        }
    }

    /// The queue a receive leases from, and at most how many messages.
    pub(crate) fn claim(self) -> Option<(QueueId, u64)> {
        match self {
            Self::Receiver(Waiter {
                request: ReceiveRequest { queue, max, .. },
                ..
            }) => Some((queue, u64::from(max))),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Proposals {
    waiting: VecDeque<(Caller, Encoded)>,
    in_flight: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    place: Place,
    callers: Vec<Caller>,
}

impl Proposals {
    pub(crate) fn push(&mut self, caller: Caller, command: Encoded) {
        self.waiting.push_back((caller, command));
    }

    pub(crate) fn nothing_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn entries_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes as many waiting commands as one entry holds, in order: by its bytes, and by the copies of
    /// messages that they are expected to make. One that makes more than an entry should goes alone.
    pub(crate) fn pack(
        &mut self,
        stamp: Stamp,
        copies_of: impl Fn(&Encoded) -> u64,
    ) -> (Bytes, Vec<Caller>) {
        let mut batch = BatchBuilder::new(stamp);
        let mut callers = Vec::new();
        let mut copies = 0;
        while let Some((caller, command)) = self.waiting.pop_front() {
            copies += copies_of(&command);
            let is_full = copies > limits::ENTRY_COPIES && !batch.is_empty();
            if is_full || !batch.fits(&command) {
                self.waiting.push_front((caller, command));
                break;
            }
            batch.push(&command);
            callers.push(caller);
        }
        (batch.finish(), callers)
    }

    pub(crate) fn proposed(&mut self, place: Place, callers: Vec<Caller>) {
        self.in_flight.push_back(InFlight { place, callers });
    }

    /// The callers of the entry that is being applied; none if another leader wrote it. Callers of
    /// entries that it replaced are in `lost`.
    pub(crate) fn applied(&mut self, place: Place, lost: &mut Vec<Caller>) -> Vec<Caller> {
        while self
            .in_flight
            .front()
            .is_some_and(|entry| entry.place.index <= place.index)
        {
            let entry = self.in_flight.pop_front().expect("the front was just seen");
            if entry.place == place {
                return entry.callers;
            }
            lost.extend(entry.callers);
        }
        Vec::new()
    }

    /// Forgets a command that is not packed yet; whether there was one.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<Caller> {
        let found = self
            .waiting
            .iter()
            .position(|(caller, _)| caller.ticket() == Some(ticket))?;
        self.waiting.remove(found).map(|(caller, _)| caller)
    }

    /// Lets a receive that is in an entry be answered by it, whatever it finds.
    pub(crate) fn end_wait(&mut self, ticket: Ticket) {
        let callers = self
            .in_flight
            .iter_mut()
            .flat_map(|entry| &mut entry.callers);
        for caller in callers {
            if let Caller::Receiver(waiter) = caller
                && waiter.ticket == ticket
            {
                waiter.until = Timestamp::default();
            }
        }
    }

    /// Gives up those that were never in an entry.
    pub(crate) fn abandon_waiting(&mut self) -> Vec<Caller> {
        self.waiting.drain(..).map(|(caller, _)| caller).collect()
    }

    /// Gives up those in an entry, whose outcome nobody will know: of all terms, or of those before one.
    pub(crate) fn abandon_in_flight(&mut self, before: Option<u64>) -> Vec<Caller> {
        let is_over = |entry: &InFlight| before.is_none_or(|term| entry.place.term < term);
        let all = std::mem::take(&mut self.in_flight).into_iter();
        let (over, rest): (VecDeque<InFlight>, _) = all.partition(is_over);
        self.in_flight = rest;
        over.into_iter().flat_map(|entry| entry.callers).collect()
    }
}
