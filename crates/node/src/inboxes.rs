//! The runners' inboxes: a shard's is the one at its number modulo their count.

use std::sync::{Arc, mpsc};

use anser_broker::id::ShardId;

use crate::event::Event;

#[derive(Debug, Clone)]
pub(crate) struct Inboxes(Arc<[mpsc::Sender<Event>]>);

impl Inboxes {
    pub(crate) fn new(inboxes: Vec<mpsc::Sender<Event>>) -> Self {
        Self(inboxes.into())
    }

    pub(crate) fn of(&self, shard: ShardId) -> &mpsc::Sender<Event> {
        &self.0[self.number_of(shard)]
    }

    pub(crate) fn number_of(&self, shard: ShardId) -> usize {
        usize::from(shard.0) % self.0.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &mpsc::Sender<Event>> {
        self.0.iter()
    }
}
