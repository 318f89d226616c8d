//! A replica that may have lost the end of its log (`docs/decisions/0012-suspects-vote-together.md`).
//!
//! Of what it promised it may lack entries that it acknowledged, never a term or a vote. Its vote, and
//! its candidacy, count only if every voter agrees, until its log has reached what a leader of its term
//! or a later one has committed: then it lacks nothing that it may once have acknowledged.

use raft::eraftpb::{Message, MessageType};

#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// A leader's term, and the commit index of its first message to this run.
    target: Option<(u64, u64)>,
}

impl Suspicion {
    /// Looks at a message of the current or a later term that a leader sent after it heard of this
    /// run: an older one may not know what was acknowledged and lost. A heartbeat does not count: its
    /// commit index is no more than what the leader believes to be here.
    pub(crate) fn learn(&mut self, message: &Message) {
        let committed = match message.msg_type {
            MessageType::MsgAppend => message.commit,
            MessageType::MsgSnapshot => message.get_snapshot().get_metadata().index,
            _ => return,
        };
        if self.target.is_none_or(|(term, _)| term < message.term) {
            self.target = Some((message.term, committed));
        }
    }

    /// Whether a log that is committed and durable up to this entry is complete.
    ///
    /// A new leader does not know yet how far the entries of earlier terms were committed: it does when
    /// an entry of its own term is, for all of them are before it.
    pub(crate) fn is_cleared_by(&self, index: u64, term: u64) -> bool {
        self.target
            .is_some_and(|(of, target)| target <= index && of <= term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(term: u64, commit: u64) -> Message {
        let mut append = Message {
            term,
            commit,
            ..Message::default()
        };
        append.set_msg_type(MessageType::MsgAppend);
        append
    }

    #[test]
    fn a_leader_that_has_committed_nothing_of_its_own_term_clears_nobody() {
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.is_cleared_by(9, 9));
        suspicion.learn(&append(5, 3));
        assert!(!suspicion.is_cleared_by(3, 4));
        assert!(suspicion.is_cleared_by(4, 5));
        suspicion.learn(&append(5, 8));
        assert!(suspicion.is_cleared_by(4, 5), "the first says enough");
        suspicion.learn(&append(6, 8));
        assert!(!suspicion.is_cleared_by(9, 5));
        assert!(!suspicion.is_cleared_by(7, 6));
        assert!(suspicion.is_cleared_by(9, 6));
    }
}
