//! What this replica and others may have forgotten, and whose words count because of that
//! (`docs/decisions/0012-suspects-vote-together.md`).

use raft::eraftpb::{Message, MessageType};

use super::{Consensus, is_vote};
use crate::{
    PeerMessage, Tombstone,
    lives::{Life, Verdict},
    message::Memory,
};

impl Consensus {
    pub(super) fn memory(&self) -> Memory {
        if self.membership.is_empty() {
            Memory::Empty
        } else if self.suspicion.is_some() {
            Memory::Suspect
        } else {
            Memory::Whole
        }
    }

    /// A replica without state has acknowledged nothing, but one that was here before it may have: it
    /// gives no vote, and takes no state that may lack what was acknowledged then. A suspect is not
    /// handed the leadership, nor is one whose node ends soon or whose state differs.
    ///
    /// Without the floor: 1. voter 3 of {1, 2, 3} lags, and leader 2 begins to send it a copy of entry 12.
    /// 2. Leader 1 brings voter 3 up to date, swaps it for node 4, and entry 20 is committed by {1, 4}. Node 3
    /// lets go of its replica. 3. The copy ends: node 3 has entry 12, and members {1, 2, 3}. 4. Node 1 dies. Node 2,
    /// which was cut off, asks node 3 for its vote, gets it, and leads without entry 20.
    pub(super) fn may_take(&self, message: &PeerMessage) -> bool {
        let memory = self.memory();
        match message.message.msg_type {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => memory != Memory::Empty,
            MessageType::MsgTimeoutNow => memory == Memory::Whole && !self.leads_no_more(),
            MessageType::MsgSnapshot if memory == Memory::Empty => message
                .snapshot()
                .is_some_and(|place| place.index >= self.floor),
            _ => true,
        }
    }

    pub(crate) fn tombstone(&self, decided: u64) -> Tombstone {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("no tombstones") {
            return Tombstone::default();
        }
        let raft = &self.node.raft;
        Tombstone {
            term: raft.term,
            vote: raft.vote,
            // A replica without state has acknowledged nothing since the floor was laid.
            floor: match self.memory() {
                Memory::Empty => self.floor,
                _ => decided,
            },
        }
    }

    /// The messages that count now that this one has come: a vote may have to wait for others.
    pub(super) fn counted(&mut self, message: Message, memory: Memory) -> Vec<Message> {
        if !is_vote(&message) || message.reject {
            return vec![message];
        }
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("suspects vote") {
            return vec![message];
        }
        let alone = !memory.is_forgetful() && !self.memory().is_forgetful();
        let id = self.node.raft.id;
        self.ballots.granted(message, alone, id, &self.membership)
    }

    /// Keeps answers from an earlier life apart from those of this; whether the message counts.
    ///
    /// A follower that has lost entries says so: what it acknowledged before counts no longer. raft-rs
    /// alone would never take an acknowledgement back, and never begin anew.
    pub(super) fn heed_lives(&mut self, message: &PeerMessage) -> bool {
        let (kind, term) = (message.message.msg_type, self.node.raft.term);
        match kind {
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => {
                if message.message.term >= term {
                    let (run, number) = (message.run, message.life);
                    let life = Life { run, number };
                    if !self.lives.hear(message.message.term, life) {
                        return false;
                    }
                    if let Some(suspicion) = &mut self.suspicion
                        && run == self.run
                    {
                        suspicion.learn(&message.message);
                    }
                }
                true
            }
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => {
                if !self.leads() || message.message.term != term {
                    return true;
                }
                let from = message.message.from;
                let is_present = self.lives.is_present(message);
                if message.memory == Memory::Empty && self.is_voter(from) {
                    if is_present && self.doubts.is_to_be_asked(from) {
                        self.lives.begin(from, message.run);
                        self.begin_anew(from);
                    }
                    return false;
                }
                self.doubts.heard(from, message.memory, is_present);
                match self.lives.judge(message) {
                    Verdict::Counts => true,
                    Verdict::Ignored => false,
                    Verdict::Begins => {
                        self.begin_anew(from);
                        // What it acknowledges here may be what it has lost by now.
                        kind == MessageType::MsgHeartbeatResponse
                    }
                }
            }
            _ => true,
        }
    }

    /// A voter had state when it became one. If it has none now, others have let go of it since, and
    /// this leader is an old one: it must not win a majority back with somebody who knows nothing.
    ///
    /// The floor ([`Self::may_take`]) says the same from the other side: a copy that is not from before the decision is of a
    /// leader that has applied it, and takes that voter for none.
    fn is_voter(&self, node: u64) -> bool {
        let members = &self.membership;
        members.voters.contains(&node) || members.voters_outgoing.contains(&node)
    }

    fn begin_anew(&mut self, node: u64) {
        let raft = &mut self.node.raft;
        let last = raft.raft_log.last_index();
        if let Some(progress) = raft.mut_prs().get_mut(node) {
            progress.become_probe();
            progress.matched = 0;
            progress.next_idx = last + 1;
            raft.send_append(node);
        }
    }

    /// A suspect that seems to have everything hears how far the log is committed, so that it finds out
    /// what it lacks even if nothing new is written.
    pub(super) fn probe(&mut self, node: u64) {
        if !self.leads() {
            return;
        }
        let raft = &mut self.node.raft;
        let last = raft.raft_log.last_index();
        let has_all = |progress: &raft::Progress| progress.matched >= last;
        if raft.prs().get(node).is_some_and(has_all) {
            raft.send_append(node);
        }
    }

    pub(super) fn settle_suspicion(&mut self) {
        let Some(suspicion) = &self.suspicion else {
            return;
        };
        let log = &self.node.raft.raft_log;
        let complete = log.committed.min(log.persisted);
        let term = log.term(complete).unwrap_or(0);
        // A suspect leads only if nobody had an entry that it lacks.
        if !suspicion.is_cleared_by(complete, term) && !self.leads() {
            return;
        }
        self.suspicion = None;
        self.cleared = true;
        // Votes that were given by a suspect must not leave as those of somebody else.
        self.held.retain(|(_, message)| !is_vote(message));
        self.outbox.retain(|message| !is_vote(message));
    }
}
