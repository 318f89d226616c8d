//! Applying what is committed, and answering those who waited for it.

use anser_broker::{
    command::{Effect, Query, Reply},
    error::Error,
    id::QueueId,
};
use bytes::Bytes;

use super::{Failure, Replica, refuse};
use crate::{
    MembershipChange, Output,
    entries::{Committed, Content},
    proposals::Caller,
    reads::PendingRead,
    tail::Place,
};

impl Replica {
    pub(super) fn apply_committed(&mut self, entry: Committed, outputs: &mut Vec<Output>) {
        let place = entry.place;
        match entry.content {
            Content::Batch(payload) => self.apply(place, payload, outputs),
            Content::Membership(Ok(change)) => self.apply_change(place, &change, outputs),
            Content::Membership(Err(error)) => {
                let (index, reason) = (place.index, error.to_string());
                self.fail(Failure::UnreadableEntry { index, reason }, outputs);
            }
        }
    }

    fn apply_change(&mut self, place: Place, change: &MembershipChange, outputs: &mut Vec<Output>) {
        let mut lost = Vec::new();
        self.proposals.applied(place, &mut lost);
        self.give_up(lost, Error::Unknown, outputs);
        self.applied = place;
        self.mark();
        outputs.push(Output::Applied {
            index: place.index,
            payload: Bytes::new(),
        });
        if self.consensus.apply_change(place.index, change) {
            outputs.push(Output::Append(self.consensus.commit_append(place.index)));
            let membership = self.consensus.membership().clone();
            outputs.push(Output::MembershipChanged(membership));
        }
    }

    fn apply(&mut self, place: Place, payload: Bytes, outputs: &mut Vec<Output>) {
        let mut lost = Vec::new();
        let callers = self.proposals.applied(place, &mut lost);
        self.give_up(lost, Error::Unknown, outputs);
        let (mut replies, mut effects) = (Vec::with_capacity(callers.len()), Vec::new());
        #[cfg(feature = "sabotage")]
        crate::sabotage::spoil(&mut self.shard, self.consensus.id(), place.index);
        let shard = &mut self.shard;
        if !payload.is_empty()
            && let Err(error) = shard.apply(place.index, &payload, &mut replies, &mut effects)
        {
            let (index, reason) = (place.index, error.to_string());
            return self.fail(Failure::UnreadableEntry { index, reason }, outputs);
        }
        self.applied = place;
        self.mark();
        outputs.push(Output::Applied {
            index: place.index,
            payload,
        });
        let touched = self.heed(effects, outputs);
        assert!(
            callers.is_empty() || callers.len() == replies.len(),
            "each command of an entry has one reply"
        );
        let mut served = touched;
        for (caller, reply) in callers.into_iter().zip(replies) {
            served.extend(self.reply(caller, reply, outputs));
        }
        if !self.serving && self.consensus.leads() && place.term == self.consensus.term() {
            self.serving = true;
            // This turn's time is what the shell took for that of others. Until it knows what they made of it, which has
            // just been applied, nothing may fall due by it.
            self.now = self.shard.now().now;
            // What it had proposed as an earlier leader is applied by now, or never.
            self.give_up_in_flight(Some(place.term), outputs);
            outputs.push(Output::LeadershipChanged { leads: true });
        }
        served.extend(std::mem::take(&mut self.crowded));
        served.sort_unstable();
        served.dedup();
        for queue in served {
            self.serve(queue);
        }
    }

    /// Passes effects on; the queues whose waiters may be served now.
    fn heed(&mut self, effects: Vec<Effect>, outputs: &mut Vec<Output>) -> Vec<QueueId> {
        let mut ready = Vec::new();
        for effect in effects {
            match effect {
                Effect::QueueReady { queue } => ready.push(queue),
                Effect::QueueGone { queue } => {
                    for waiter in self.waiters.drain(Some(queue)) {
                        refuse(waiter.ticket, Error::NoSuchQueue, outputs);
                    }
                }
                Effect::RouteChanged(_) | Effect::NodesChanged => {
                    outputs.push(Output::Effect(effect));
                }
                Effect::Unsettled(_) | Effect::MovesPending { .. } | Effect::OutboxReady { .. } => {
                    if self.serving {
                        outputs.push(Output::Effect(effect));
                    }
                }
            }
        }
        ready
    }

    /// Answers a caller; the queue that other waiters may be served from now, if this was a receive.
    fn reply(
        &mut self,
        caller: Caller,
        reply: Reply,
        outputs: &mut Vec<Output>,
    ) -> Option<QueueId> {
        match caller {
            Caller::Nobody => None,
            Caller::Ticket(ticket) => {
                outputs.push(Output::Reply { ticket, reply });
                None
            }
            Caller::Everywhere(ticket) => {
                let index = self.applied.index;
                self.held.hold(index, self.now, ticket, reply);
                None
            }
            Caller::Receiver(waiter) => Some(self.received(waiter, reply, outputs)),
        }
    }

    pub(super) fn answer(&mut self, read: PendingRead, outputs: &mut Vec<Output>) {
        match read {
            PendingRead::Query { ticket, query } => {
                outputs.push(Output::Answer {
                    ticket,
                    answer: self.query(&query),
                });
            }
            PendingRead::Receive(waiter) => {
                if let Some(reply) = self.refusal_of(waiter) {
                    let ticket = waiter.ticket;
                    outputs.push(Output::Reply { ticket, reply });
                }
            }
        }
    }

    fn query(&self, query: &Query) -> anser_broker::command::Answer {
        self.shard.query(query)
    }
}
