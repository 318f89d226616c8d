//! Long polls: receivers that wait until their queue has something, in order of arrival.
//!
//! A waiter is parked here or has a receive in the log, never both. What receives in the log may
//! take is claimed, so that one new message wakes one waiter and not all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anser_broker::{id::QueueId, time::Timestamp};

use crate::input::{ReceiveRequest, Ticket};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) request: ReceiveRequest,
    /// When the wait ends, by the shard's time.
    pub(crate) until: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_queue: BTreeMap<QueueId, VecDeque<Waiter>>,
    by_deadline: BTreeSet<(Timestamp, Ticket)>,
    queue_of: BTreeMap<Ticket, QueueId>,
    claims: BTreeMap<QueueId, u64>,
}

impl Waiters {
    pub(crate) fn park(&mut self, waiter: Waiter) {
        self.index(waiter);
        self.by_queue
            .entry(waiter.request.queue)
            .or_default()
            .push_back(waiter);
    }

    /// Parks one that had its turn and found nothing: it stays ahead of those who came later.
    pub(crate) fn park_first(&mut self, waiter: Waiter) {
        self.index(waiter);
        self.by_queue
            .entry(waiter.request.queue)
            .or_default()
            .push_front(waiter);
    }

    pub(crate) fn has(&self, queue: QueueId) -> bool {
        self.by_queue.contains_key(&queue)
    }

    /// Takes the one who waits longest.
    pub(crate) fn next(&mut self, queue: QueueId) -> Option<Waiter> {
        let waiter = self.by_queue.get_mut(&queue)?.pop_front()?;
        self.forget(waiter);
        Some(waiter)
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let queue = *self.queue_of.get(&ticket)?;
        let line = self
            .by_queue
            .get_mut(&queue)
            .expect("an indexed waiter stands in a line");
        let position = line.iter().position(|waiter| waiter.ticket == ticket);
        let waiter = line.remove(position.expect("an indexed waiter stands in its line"))?;
        self.forget(waiter);
        Some(waiter)
    }

    /// Takes one whose wait has ended.
    pub(crate) fn expired(&mut self, now: Timestamp) -> Option<Waiter> {
        let &(until, ticket) = self.by_deadline.first()?;
        if now < until {
            None
        } else {
            self.remove(ticket)
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.first().map(|&(until, _)| until)
    }

    /// Takes all of a queue, or all there are.
    pub(crate) fn drain(&mut self, queue: Option<QueueId>) -> Vec<Waiter> {
        let queues = match queue {
            Some(queue) => vec![queue],
            None => self.by_queue.keys().copied().collect(),
        };
        let mut drained = Vec::new();
        for queue in queues {
            while let Some(waiter) = self.next(queue) {
                drained.push(waiter);
            }
        }
        drained
    }

    /// How many messages receives in the log may still take from the queue.
    pub(crate) fn claimed(&self, queue: QueueId) -> u64 {
        self.claims.get(&queue).copied().unwrap_or(0)
    }

    pub(crate) fn claim(&mut self, queue: QueueId, messages: u64) {
        *self.claims.entry(queue).or_default() += messages;
    }

    pub(crate) fn release(&mut self, queue: QueueId, messages: u64) {
        let claimed = self
            .claims
            .get_mut(&queue)
            .expect("only what was claimed is released");
        *claimed = claimed
            .checked_sub(messages)
            .expect("only what was claimed is released");
        if *claimed == 0 {
            self.claims.remove(&queue);
        }
    }

    fn index(&mut self, waiter: Waiter) {
        self.by_deadline.insert((waiter.until, waiter.ticket));
        let previous = self.queue_of.insert(waiter.ticket, waiter.request.queue);
        assert!(previous.is_none(), "a ticket was parked twice");
    }

    fn forget(&mut self, waiter: Waiter) {
        self.by_deadline.remove(&(waiter.until, waiter.ticket));
        self.queue_of.remove(&waiter.ticket);
        if self
            .by_queue
            .get(&waiter.request.queue)
            .is_some_and(VecDeque::is_empty)
        {
            self.by_queue.remove(&waiter.request.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(ticket: u64, until: u64) -> Waiter {
        let request = ReceiveRequest {
            queue: QueueId(1),
            max: 1,
            visibility: None,
            wait: None,
        };
        Waiter {
            ticket: Ticket(ticket),
            request,
            until: Timestamp(until),
        }
    }

    #[test]
    fn waiters_are_served_in_order_and_leave_when_their_time_is_up() {
        let mut waiters = Waiters::default();
        for (ticket, until) in [(1, 30), (2, 10), (3, 20)] {
            waiters.park(waiter(ticket, until));
        }
        assert_eq!(waiters.next_deadline(), Some(Timestamp(10)));
        assert_eq!(waiters.expired(Timestamp(9)), None);
        assert_eq!(waiters.expired(Timestamp(10)), Some(waiter(2, 10)));
        assert_eq!(waiters.next(QueueId(1)), Some(waiter(1, 30)));
        waiters.park_first(waiter(1, 30));
        assert_eq!(waiters.remove(Ticket(3)), Some(waiter(3, 20)));
        assert_eq!(waiters.drain(None), [waiter(1, 30)]);
        assert_eq!(waiters.next_deadline(), None);
    }
}
