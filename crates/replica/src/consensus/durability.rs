//! What goes to the disk, and what waits until it is there.

use std::collections::VecDeque;

use raft::{
    Ready,
    eraftpb::{Message, MessageType},
};

use super::Consensus;
use crate::{entries::stored_entry, output::Append};

impl Consensus {
    /// Tells raft-rs how far the disk is, and lets go of messages that waited for it.
    pub(super) fn persist(&mut self) {
        let appended = match self.outstanding.front() {
            Some(next) => next.turn - 1,
            None => self.last_turn,
        };
        let through = match &self.installing {
            Some(installing) => appended.min(installing.turn - 1),
            None => appended,
        };
        self.node.on_persist_ready(through);
        while let Some((_, message)) = pop_through(&mut self.held, through) {
            self.outbox.push(message);
        }
        if let Some(index) = self.restored
            && self.node.raft.raft_log.persisted >= index
        {
            self.restored = None;
            self.applied(index);
        }
    }

    /// A leader's messages leave at once, others' when what they depend on is durable.
    ///
    /// A leader's depend on its term, which is durable unless it elected itself alone. The answer to a
    /// heartbeat depends on nothing else, so that a slow disk does not look like a dead replica.
    pub(super) fn sort_messages(&mut self, ready: &mut Ready) {
        let number = ready.number();
        let term = self.node.raft.term;
        for message in ready.take_messages() {
            if term <= self.durable_term {
                self.outbox.push(message);
            } else {
                self.held.push_back((number, message));
            }
        }
        for message in ready.take_persisted_messages() {
            #[cfg(feature = "sabotage")]
            if crate::sabotage::leaves_early(message.msg_type) {
                self.outbox.push(message);
                continue;
            }
            let is_alive = message.msg_type == MessageType::MsgHeartbeatResponse;
            if is_alive && message.term <= self.durable_term {
                self.outbox.push(message);
            } else {
                self.held.push_back((number, message));
            }
        }
    }

    /// Makes what is committed durable, behind all appends before it. Who restarts must know that a
    /// change of members has happened, for it may have nobody left to ask.
    pub(crate) fn commit_append(&mut self) -> Append {
        let (term, vote) = self.written;
        self.appends += 1;
        self.settling.begin(self.appends, self.membership.clone());
        Append {
            number: self.appends,
            term,
            vote,
            commit: self.node.raft.raft_log.committed,
            entries: Vec::new(),
        }
    }

    /// A changed commit index alone needs no write: it goes along with the next entries.
    pub(super) fn append_of(&mut self, ready: &mut Ready) -> Option<Append> {
        if !ready.must_sync() {
            return None;
        }
        let entries = ready.take_entries();
        let hard_state = self.node.raft.hard_state();
        let promised = (hard_state.term, hard_state.vote);
        if entries.is_empty() && promised == self.written {
            return None;
        }
        self.written = promised;
        #[cfg(feature = "sabotage")]
        let hard_state = crate::sabotage::to_be_written(hard_state);
        self.node.mut_store().append(&entries);
        let commit = match self.installing {
            // The log does not hold the snapshot yet.
            Some(_) => self.node.raft.raft_log.applied,
            None => hard_state.commit,
        };
        self.appends += 1;
        Some(Append {
            number: self.appends,
            term: hard_state.term,
            vote: hard_state.vote,
            commit,
            entries: entries.iter().map(stored_entry).collect(),
        })
    }
}

fn pop_through(held: &mut VecDeque<(u64, Message)>, through: u64) -> Option<(u64, Message)> {
    held.front()
        .is_some_and(|(turn, _)| *turn <= through)
        .then(|| held.pop_front())?
}
