//! What a naive subscription has still to deliver.

use std::collections::BTreeSet;

use anser_broker::{attributes::Endpoint, id::Sequence, time::Timestamp};

use super::{Message, Number, Outbox, State};

impl Outbox {
    pub(crate) fn is_pushed(&self) -> bool {
        matches!(self.attributes.endpoint, Endpoint::Http { .. })
    }

    pub(crate) fn target(&self) -> Option<Number> {
        match self.attributes.endpoint {
            Endpoint::Queue { queue, .. } => queue.map(|queue| queue.0),
            Endpoint::Http { .. } => None,
        }
    }

    pub(crate) fn dead_letter(&self) -> Option<Number> {
        self.attributes.dead_letter.map(|queue| queue.0)
    }

    pub(crate) fn ready_for_pusher(&self) -> BTreeSet<Sequence> {
        let messages = self.messages.iter();
        let ready = messages.filter(|message| message.state == State::Ready && self.is_pushed());
        ready.map(|message| message.sequence).collect()
    }

    pub(crate) fn moves_started(&self) -> u64 {
        self.numbered.values().map(|lane| lane.len() as u64).sum()
    }

    pub(crate) fn has_moves(&self) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| matches!(message.state, State::Moving { .. }))
    }

    pub(crate) fn has_moves_to(&self, target: Option<Number>) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| matches!(message.state, State::Moving { target: to, .. } if Some(to) == target))
    }

    /// All but the dead letters.
    pub(super) fn undelivered(&self) -> impl Iterator<Item = Sequence> {
        let is_dead = |message: &&Message| matches!(message.state, State::Moving { target, .. } if self.target() != Some(target));
        let messages = self.messages.iter();
        let undelivered = messages.filter(move |message| !is_dead(message));
        undelivered.map(|message| message.sequence)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.undelivered().count() as u64
    }

    pub(super) fn add(&mut self, sequence: Sequence, sent: Timestamp) {
        self.totals.matched += 1;
        self.messages.push(Message {
            sequence,
            sent,
            state: State::Ready,
            deliveries: 0,
            first_received: Timestamp(0),
        });
        self.make_ready(self.messages.len() - 1);
    }

    pub(super) fn make_ready(&mut self, place: usize) {
        self.messages[place].state = State::Ready;
        if let Some(target) = self.target() {
            self.start_move(place, target);
        }
    }

    pub(super) fn give_up(&mut self, place: usize) {
        let target = self.dead_letter().unwrap();
        self.start_move(place, target);
    }

    fn start_move(&mut self, place: usize, target: Number) {
        let lane = self.numbered.entry(target).or_default();
        lane.push(self.messages[place].sequence);
        let number = lane.len() as u64;
        self.messages[place].deliveries = 0;
        self.messages[place].state = State::Moving { target, number };
    }
}
