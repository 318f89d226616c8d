//! When the leased and delayed messages were sent, as those stand in another order: how many at each
//! moment, so that the oldest is known without a look at any message.

use crate::{moment::Moment, sorted::SortedMap, time::Timestamp};

#[derive(Debug, Clone, Default)]
pub(super) struct Sends(SortedMap<Moment, u32>);

impl Sends {
    pub(super) fn add(&mut self, sent: Timestamp) {
        *self.0.entry(&sent.into()) += 1;
    }

    pub(super) fn remove(&mut self, sent: Timestamp) {
        let moment = sent.into();
        let messages = self.0.get_mut(&moment);
        let messages = messages.expect("only what was added is removed");
        *messages -= 1;
        if *messages == 0 {
            self.0.remove(&moment);
        }
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.0.first().map(|(moment, _)| Timestamp::from(*moment))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
