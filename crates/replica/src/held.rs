//! Replies that wait until every voter has what they answer for, not only a majority.

use std::collections::VecDeque;

use anser_broker::{
    command::Reply,
    time::{Millis, Timestamp},
};

use crate::Ticket;

/// How long a reply waits before its caller is told that nobody knows.
pub(crate) const PATIENCE: Millis = Millis(10_000);

#[derive(Debug, Default)]
pub(crate) struct Held(VecDeque<HeldReply>);

#[derive(Debug)]
struct HeldReply {
    index: u64,
    until: Timestamp,
    ticket: Ticket,
    reply: Reply,
}

impl Held {
    /// Holds a reply until every voter has the entry at `index`. Indexes never fall.
    pub(crate) fn hold(&mut self, index: u64, now: Timestamp, ticket: Ticket, reply: Reply) {
        self.0.push_back(HeldReply {
            index,
            until: now + PATIENCE,
            ticket,
            reply,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next reply that may leave, now that every voter has the log up to `everywhere`.
    pub(crate) fn release(&mut self, everywhere: u64) -> Option<(Ticket, Reply)> {
        if self.0.front()?.index > everywhere {
            return None;
        }
        let held = self.0.pop_front()?;
        Some((held.ticket, held.reply))
    }

    /// The next whose time is up.
    pub(crate) fn expired(&mut self, now: Timestamp) -> Option<Ticket> {
        if self.0.front()?.until > now {
            return None;
        }
        self.0.pop_front().map(|held| held.ticket)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.0.front().map(|held| held.until)
    }

    /// Gives all of them up.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Ticket> {
        self.0.drain(..).map(|held| held.ticket)
    }
}
