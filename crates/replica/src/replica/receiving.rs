//! Receives: proposed when there is something to lease, parked while there is not, and confirmed by a read
//! before anybody hears that there is nothing.

use anser_broker::{
    codec,
    command::{Command, Reply},
    error::Error,
    id::QueueId,
    shard::Receivable,
    time::Millis,
};

use super::Replica;
use crate::{
    Output, ReceiveRequest, Ticket, proposals::Caller, reads::PendingRead, waiters::Waiter,
};

impl Replica {
    pub(super) fn receive(&mut self, ticket: Ticket, request: ReceiveRequest) {
        let default_wait = self
            .shard
            .attributes(request.queue)
            .map(|attributes| attributes.wait);
        let wait = request.wait.or(default_wait).unwrap_or(Millis(0));
        let waiter = Waiter {
            ticket,
            request,
            until: self.now + wait,
        };
        // Another may lead by now and know of something: what this one knows is confirmed first.
        if self.refusal_of(waiter).is_some() {
            self.reads.push(PendingRead::Receive(waiter));
        }
    }

    /// Proposes a receive or lets it wait; otherwise what it is told, if this replica leads.
    pub(super) fn refusal_of(&mut self, waiter: Waiter) -> Option<Reply> {
        let queue = waiter.request.queue;
        let receivable = self.shard.receivable(queue, self.now);
        let overdue = self.is_overdue();
        #[cfg(feature = "sabotage")]
        let overdue = overdue && !crate::sabotage::hides(&receivable);
        match receivable {
            Receivable::NoSuchQueue => return Some(Reply::Refused(Error::NoSuchQueue)),
            Receivable::InFlightFull => return Some(Reply::Refused(Error::TooManyInFlight)),
            Receivable::Ready(ready) if ready > self.waiters.claimed(queue) => {
                self.propose_receive(waiter);
            }
            // What fell due may be what is asked for, and what was claimed before it did is not: an entry settles it
            // first.
            Receivable::Ready(_) | Receivable::Empty if overdue => {
                self.propose_receive(waiter);
            }
            Receivable::Ready(_) | Receivable::Empty if waiter.until > self.now => {
                self.waiters.park(waiter);
            }
            Receivable::Ready(_) | Receivable::Empty => return Some(nothing_received()),
        }
        None
    }

    fn propose_receive(&mut self, waiter: Waiter) {
        let ReceiveRequest {
            queue,
            max,
            visibility,
            ..
        } = waiter.request;
        self.waiters.claim(queue, u64::from(max));
        let command = codec::encode(&Command::ReceiveMessages {
            queue,
            max,
            visibility,
        });
        self.proposals.push(Caller::Receiver(waiter), command);
    }

    pub(super) fn end_waits(&mut self, outputs: &mut Vec<Output>) {
        while let Some(waiter) = self.waiters.expired(self.now) {
            outputs.push(Output::Reply {
                ticket: waiter.ticket,
                reply: nothing_received(),
            });
        }
    }

    /// Lets waiters of a queue have what nobody has claimed.
    pub(super) fn serve(&mut self, queue: QueueId) {
        if !self.serving {
            return;
        }
        while self.waiters.has(queue) {
            match self.shard.receivable(queue, self.now) {
                Receivable::Ready(ready) if ready > self.waiters.claimed(queue) => {
                    let waiter = self.waiters.next(queue).expect("one was just seen");
                    self.propose_receive(waiter);
                }
                Receivable::InFlightFull => {
                    self.crowded.insert(queue);
                    return;
                }
                _ => return,
            }
        }
    }

    /// Answers a receive, or lets it wait on if it found nothing; the queue that others may be served from now.
    pub(super) fn received(
        &mut self,
        waiter: Waiter,
        reply: Reply,
        outputs: &mut Vec<Output>,
    ) -> QueueId {
        let ReceiveRequest { queue, max, .. } = waiter.request;
        self.waiters.release(queue, u64::from(max));
        let nothing = matches!(&reply, Reply::Received { deliveries } if deliveries.is_empty());
        if nothing && !self.serving {
            // Whoever asked goes on waiting at the next leader.
            let (ticket, error) = (waiter.ticket, Error::Unavailable);
            outputs.push(Output::Refuse { ticket, error });
        } else if nothing && waiter.until > self.now {
            self.waiters.park_first(waiter);
        } else {
            outputs.push(Output::Reply {
                ticket: waiter.ticket,
                reply,
            });
        }
        queue
    }
}

fn nothing_received() -> Reply {
    Reply::Received {
        deliveries: Vec::new(),
    }
}
