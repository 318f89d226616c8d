//! A replica that may have lost the end of its log (`docs/reliability.md`).
//!
//! It neither stands nor votes until its log has reached what a leader knew to be committed: then it
//! lacks nothing that it may once have acknowledged.

use raft::eraftpb::{Message, MessageType};

#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// The commit index of the first such message from a leader.
    target: Option<u64>,
}

impl Suspicion {
    /// Looks at a message of the current or a later term that a leader sent after it heard of this
    /// run: an older one may not know what was acknowledged and lost. A heartbeat does not count: its commit index
    /// is no more than what the leader believes to be here.
    pub(crate) fn learn(&mut self, message: &Message) {
        let committed = match message.msg_type {
            MessageType::MsgAppend => message.commit,
            MessageType::MsgSnapshot => message.get_snapshot().get_metadata().index,
            _ => return,
        };
        self.target.get_or_insert(committed);
    }

    /// Whether a log that is committed and durable up to this index is complete.
    pub(crate) fn is_cleared_by(&self, index: u64) -> bool {
        self.target.is_some_and(|target| target <= index)
    }

    /// A suspect grants nothing and stands for nothing.
    pub(crate) fn refuses(kind: MessageType) -> bool {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("suspects vote") {
            return false;
        }
        matches!(
            kind,
            MessageType::MsgRequestVote
                | MessageType::MsgRequestPreVote
                | MessageType::MsgTimeoutNow
        )
    }
}
