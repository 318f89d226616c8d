//! Which life of another replica an answer comes from (`docs/formats/peer-messages.md`).
//!
//! A replica that lost entries, or was taken off its disk and made again, is another one under the same
//! number: what it acknowledged before counts no more, and messages may overtake each other. So a leader
//! numbers the lives that it hears of, the replica repeats the number, and an answer counts only with the
//! number of the present life.

use std::collections::BTreeMap;

use raft::eraftpb::MessageType;

use crate::message::{Memory, PeerMessage};

/// Another replica's life, as the leader knows it. The first that the leader of a term knows of each
/// replica has the number 0 and no run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// What the replica called itself, if it was forgetful.
    pub(crate) run: u64,
    /// What the leader calls it. No two lives of a term have the same.
    pub(crate) number: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// As a leader: by node.
    known: BTreeMap<u64, Life>,
    last_number: u64,
    /// As a follower: the term, and the life that its leader last called this replica's.
    heard: (u64, Life),
}

/// What a leader makes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Counts,
    /// The answer is of another life than the leader knew of, which begins here.
    Begins,
    Ignored,
}

impl Lives {
    /// What this replica puts into a message.
    pub(crate) fn to_send(&self, to: u64, term: u64, run: u64, memory: Memory) -> Life {
        if let Some(&life) = self.known.get(&to) {
            return life;
        }
        let heard = (self.heard.0 == term).then_some(self.heard.1);
        Life {
            run: if memory.is_forgetful() { run } else { 0 },
            number: heard.map_or(0, |life| life.number),
        }
    }

    /// A leader of this term spoke; whether to this life of the replica. What it said to an earlier one, say that
    /// entries are there, is not true of this.
    pub(crate) fn hear(&mut self, term: u64, life: Life) -> bool {
        if self.heard.0 == term && life.number < self.heard.1.number {
            return false;
        }
        self.heard = (term, life);
        true
    }

    /// An answer came to the leader of its term.
    pub(crate) fn judge(&mut self, answer: &PeerMessage) -> Verdict {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("answers of any life") {
            return Verdict::Counts;
        }
        let node = answer.message.from;
        let known = self.known.get(&node).copied().unwrap_or_default();
        if answer.memory.is_forgetful() && answer.run != known.run {
            self.begin(node, answer.run);
            return Verdict::Begins;
        }
        // The answer to a heartbeat says only that somebody is there.
        let is_alive = answer.message.msg_type == MessageType::MsgHeartbeatResponse;
        if self.is_present(answer) || is_alive {
            Verdict::Counts
        } else {
            Verdict::Ignored
        }
    }

    /// Whether an answer is of the present life as the leader knows it.
    pub(crate) fn is_present(&self, answer: &PeerMessage) -> bool {
        let known = self.known.get(&answer.message.from);
        answer.life == known.map_or(0, |life| life.number)
    }

    /// Whatever a node answers to what it was sent so far counts no more.
    pub(crate) fn begin(&mut self, node: u64, run: u64) {
        self.last_number += 1;
        let number = self.last_number;
        self.known.insert(node, Life { run, number });
    }

    /// The leadership is over, and its term too.
    pub(crate) fn end_leadership(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Message;

    use super::*;
    use crate::message::Beat;

    fn answer(memory: Memory, run: u64, life: u64) -> PeerMessage {
        let mut message = Message {
            from: 2,
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgAppendResponse);
        PeerMessage {
            message,
            memory,
            run,
            life,
            beat: Beat::default(),
        }
    }

    #[test]
    fn who_was_taken_in_again_is_another_one() {
        let mut lives = Lives::default();
        let old = answer(Memory::Whole, 0, 0);
        assert_eq!(lives.judge(&old), Verdict::Counts);
        lives.begin(2, 0);
        assert_eq!(lives.judge(&old), Verdict::Ignored);
        assert_eq!(lives.judge(&answer(Memory::Whole, 0, 1)), Verdict::Counts);
    }

    #[test]
    fn answers_of_two_lost_lives_in_any_order_never_count() {
        let mut lives = Lives::default();
        let first = answer(Memory::Suspect, 7, 0);
        assert_eq!(lives.judge(&first), Verdict::Begins);
        let named = lives.to_send(2, 5, 99, Memory::Whole);
        assert_eq!((named.run, named.number), (7, 1));
        let known = answer(Memory::Whole, 0, named.number);
        assert_eq!(lives.judge(&known), Verdict::Counts);
        assert_eq!(lives.judge(&answer(Memory::Suspect, 8, 1)), Verdict::Begins);
        // What the first life said comes late: it may begin a life, and still nothing of it counts.
        assert_eq!(lives.judge(&known), Verdict::Ignored);
        assert_eq!(lives.judge(&first), Verdict::Begins);
        assert_eq!(lives.judge(&first), Verdict::Ignored);
        assert_eq!(lives.judge(&known), Verdict::Ignored);
    }

    #[test]
    fn what_was_said_to_an_earlier_life_is_not_heard() {
        let mut lives = Lives::default();
        let said = |number| Life { run: 0, number };
        assert!(lives.hear(5, said(0)) && lives.hear(5, said(2)));
        assert!(!lives.hear(5, said(1)), "it comes late");
        assert!(lives.hear(5, said(2)));
        assert!(lives.hear(6, said(0)), "another leader counts anew");
    }

    #[test]
    fn a_number_is_repeated_in_its_term_only() {
        let mut lives = Lives::default();
        lives.hear(5, Life { run: 7, number: 3 });
        let of = |life: Life| (life.run, life.number);
        assert_eq!(of(lives.to_send(1, 5, 7, Memory::Suspect)), (7, 3));
        assert_eq!(of(lives.to_send(1, 5, 7, Memory::Whole)), (0, 3));
        assert_eq!(of(lives.to_send(1, 6, 7, Memory::Whole)), (0, 0));
    }
}
