//! What happens to messages by the passing of time.
//!
//! Each thing happens as of the moment at which it fell due, whenever it is settled, so that it does
//! not matter how time is cut into entries. Moving messages no longer age.

use crate::{
    attributes::DeadLetterAfter,
    queue::{Passing, Queue, lanes::Moving},
    time::{Millis, Timestamp},
    turn::Turn,
};

/// What falls due; at the same moment in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    LeaseWakes,
    DelayEnds,
    ReadyEnds,
    LateEnds,
    RetiredEnds,
    TokenEnds,
}

impl Queue {
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.next_due().map(|(deadline, _)| deadline)
    }

    pub(crate) fn next_due(&self) -> Option<(Timestamp, Due)> {
        let retired = self.retired.first();
        let retired = retired.map(|message| message.sent + self.attributes.rewind);
        let ready = self.ready.first();
        let candidates = [
            (self.leases.first_wake(), Due::LeaseWakes),
            (self.delayed.first_due(), Due::DelayEnds),
            (
                ready.map(|message| self.ready_ends(message.sent, message.sent)),
                Due::ReadyEnds,
            ),
            (self.late_ends(), Due::LateEnds),
            (retired, Due::RetiredEnds),
            (self.tokens.first_end(), Due::TokenEnds),
        ];
        let candidates = candidates.into_iter();
        candidates
            .filter_map(|(deadline, due)| Some((deadline?, due)))
            .min()
    }

    /// Does what fell due at this moment; one message or token.
    pub(crate) fn settle(&mut self, deadline: Timestamp, due: Due, turn: &mut Turn<'_>) {
        match due {
            Due::LeaseWakes => self.wake_lease(deadline, turn),
            Due::DelayEnds => self.end_delay(deadline, turn),
            Due::ReadyEnds => {
                let message = self.ready.pop_first().expect("a ready message is due");
                let since = message.sent;
                self.end_ready(Moving { message, since }, turn);
            }
            Due::LateEnds => {
                let ended = match self.dead_letter_age() {
                    Some(_) => self.late.pop_first(),
                    None => self.late.pop_first_since(),
                };
                let (message, since) = ended.expect("a late message is due");
                self.end_ready(Moving { message, since }, turn);
            }
            Due::RetiredEnds => {
                let message = self.retired.pop_first().expect("a retired message is due");
                turn.blocks.remove(message.sequence);
            }
            Due::TokenEnds => self.tokens.forget_first(),
        }
    }

    /// Settles due messages from the front of the ready ones; false if there is none to be had then.
    pub(super) fn skip_due(&mut self, turn: &mut Turn<'_>) -> bool {
        while let Some((message, since)) = self.first_ready() {
            if turn.now < self.ready_ends(message.sent, since) {
                return true;
            }
            if turn.skips == 0 {
                return false;
            }
            turn.skips -= 1;
            let ended = self.take_first_ready().expect("there is a first one");
            let Passing { message, since, .. } = ended;
            self.end_ready(Moving { message, since }, turn);
        }
        false
    }

    /// Whether a receive at this moment would be given something.
    pub(crate) fn has_receivable(&self, now: Timestamp) -> bool {
        let newest = self
            .ready
            .last()
            .map(|message| (message.sent, message.sent));
        let late = self
            .late
            .iter()
            .map(|(message, since)| (message.sent, since));
        newest
            .into_iter()
            .chain(late)
            .any(|(sent, since)| now < self.ready_ends(sent, since))
    }

    /// Whether a lease has ended at this moment, so that there is room for another.
    pub(crate) fn has_ended_lease(&self, now: Timestamp) -> bool {
        self.leases.first_wake().is_some_and(|wake| wake <= now)
    }

    /// When a ready message expires or gives up. With a policy by age the latter comes first, as the
    /// age is shorter than the retention.
    fn ready_ends(&self, sent: Timestamp, since: Timestamp) -> Timestamp {
        match self.dead_letter_age() {
            Some(age) => sent + age,
            None => since + self.attributes.retention,
        }
    }

    fn late_ends(&self) -> Option<Timestamp> {
        if let Some(age) = self.dead_letter_age() {
            return self.late.first().map(|(message, _)| message.sent + age);
        }
        let since = self.late.first_since()?;
        Some(since + self.attributes.retention)
    }

    /// Whether it is time at a moment to give a message up by its age.
    pub(super) fn gives_up_by_age(&self, sent: Timestamp, at: Timestamp) -> bool {
        self.dead_letter_age().is_some_and(|age| sent + age <= at)
    }

    fn dead_letter_age(&self) -> Option<Millis> {
        match self.dead_letter_after() {
            Some(DeadLetterAfter::Age(age)) => Some(age),
            _ => None,
        }
    }

    /// The end of a message that was ready and stands in no list any more.
    fn end_ready(&mut self, ended: Moving, turn: &mut Turn<'_>) {
        self.take_history(ended.message.sequence);
        if self.dead_letter_age().is_some() {
            self.start_move(ended, turn);
        } else {
            turn.blocks.remove(ended.message.sequence);
            self.totals.expired += 1;
        }
    }

    fn wake_lease(&mut self, at: Timestamp, turn: &mut Turn<'_>) {
        let lease = self.leases.end_first().expect("a lease is due");
        if lease.since + self.attributes.retention <= at {
            turn.blocks.remove(lease.message.sequence);
            self.totals.expired += 1;
        } else {
            self.return_lease(&lease, at, turn);
        }
        // There is room for another lease, whatever became of this message.
        self.announce_to_pusher(turn);
    }

    fn end_delay(&mut self, at: Timestamp, turn: &mut Turn<'_>) {
        let retention = self.delayed_retention();
        let delayed = self.delayed.pop_first(retention).expect("a delay is due");
        let message = delayed.message;
        if retention.is_some_and(|retention| message.sent + retention <= at) {
            turn.blocks.remove(message.sequence);
            self.totals.expired += 1;
            return;
        }
        let since = if retention.is_some() {
            message.sent
        } else {
            delayed.wake
        };
        if self.gives_up_by_age(message.sent, at) {
            self.start_move(Moving { message, since }, turn);
            return;
        }
        self.make_ready(
            Passing {
                message,
                since,
                history: None,
            },
            turn,
        );
    }
}
