//! Deleted messages that are kept for rewinding, and the two commands that end or revive many
//! messages at once.

use crate::{
    command::{Effect, Reply},
    error::Error,
    id::Sequence,
    list::{MessageList, Waiting},
    queue::{History, Queue, delayed::Delayed, late::Late, leases::Leases},
    sorted::SortedMap,
    time::{Millis, Timestamp},
    turn::Turn,
};

impl Queue {
    /// Keeps a deleted message while it can still be had back.
    pub(super) fn retire(&mut self, message: Waiting, turn: &mut Turn<'_>) {
        if turn.now < message.sent + self.attributes.rewind {
            self.retired.insert(message);
        } else {
            turn.blocks.remove(message.sequence);
        }
    }

    /// Forgets the deleted messages that can no longer be had back.
    pub(super) fn drop_old_retired(&mut self, turn: &mut Turn<'_>) {
        let rewind = self.attributes.rewind;
        if let Some(longest) = turn.now.0.checked_sub(rewind.0) {
            let old = self.retired.drop_sent_before(Timestamp(longest + 1));
            turn.blocks
                .remove_all(old.iter().map(|message| message.sequence));
        }
    }

    /// Ends every message but those that are on their way to another queue: these have left.
    pub(crate) fn clear(&mut self, turn: &mut Turn<'_>) -> Reply {
        self.totals.cleared += self.ready_len() + self.leases.len() + self.delayed.len();
        #[cfg(feature = "sabotage")]
        let leases = std::mem::take(&mut self.leases);
        turn.blocks.remove_all(self.kept());
        self.ready = MessageList::default();
        self.late = Late::default();
        self.histories = SortedMap::<Sequence, History>::default();
        self.delayed = Delayed::default();
        self.leases = Leases::default();
        self.retired = MessageList::default();
        #[cfg(feature = "sabotage")]
        self.purge_leases(leases, turn);
        Reply::Done
    }

    /// Ends leases in a purge, unless they are left by a planted bug.
    #[cfg(feature = "sabotage")]
    fn purge_leases(&mut self, leases: Leases, turn: &mut Turn<'_>) {
        if crate::sabotage::is_planted("purge leaves leases") {
            self.leases = leases;
        } else {
            let leased = leases.iter().map(|(_, lease)| lease.message.sequence);
            turn.blocks.remove_all(leased);
        }
    }

    /// Takes the messages out of the shard's blocks before the queue ends.
    pub(crate) fn end(&self, turn: &mut Turn<'_>) {
        turn.blocks.remove_all(self.messages());
        turn.effect(Effect::QueueGone { queue: self.id });
    }

    /// Makes the deleted messages ready again that were sent in the second of `to` or later.
    pub(crate) fn rewind(&mut self, to: Timestamp, turn: &mut Turn<'_>) -> Reply {
        if self.attributes.rewind == Millis(0) {
            return Reply::Refused(Error::NotRewindable);
        }
        let wall = |time| turn.wall.wall(time).seconds();
        let newest = self.oldest().unwrap_or(turn.now);
        let oldest = wall(turn.now).saturating_sub(self.attributes.rewind.seconds());
        if !(oldest..=wall(newest)).contains(&to.seconds()) {
            return Reply::Refused(Error::RewindOutOfRange);
        }
        self.drop_old_retired(turn);
        let second = Timestamp(to.seconds() * 1000);
        #[cfg(feature = "sabotage")]
        let second = if crate::sabotage::is_planted("rewind passes some over") {
            second + Millis(3_000)
        } else {
            second
        };
        let revived = self.retired.split_sent_from(turn.wall.own(second));
        let messages = revived.len();
        if messages > 0 {
            self.ready.absorb(revived);
            self.totals.rewound += messages;
            self.ready_grew(turn);
        }
        Reply::Rewound { messages }
    }
}
