//! How far every voter's log reaches: who leads knows it from what the others answer, and says it with each heartbeat, so
//! that one that has led before can answer those who wait for it.

use super::Consensus;
use crate::message::Beat;

/// What the last heartbeat said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// How far the sender took the log for committed.
    pub(super) commit: u64,
    pub(super) beat: Beat,
}

impl Consensus {
    /// How far every voter's log reaches, those that are leaving too, as far as is known here.
    pub(crate) fn everywhere(&self) -> u64 {
        if self.leads() {
            return self.matched_by_all();
        }
        let Heard { commit, beat } = self.heard;
        // It was said of the voters that this replica knows if both have applied the same changes of members.
        let is_of_these_members = commit <= self.node.raft.raft_log.applied
            && commit >= self.node.store().membership_index();
        if is_of_these_members {
            beat.everywhere
        } else {
            0
        }
    }

    /// What a leader says of it with this commit index; nothing, which is 0, while it is not sure that whoever has applied
    /// as much knows the same voters.
    pub(super) fn everywhere_at(&self, commit: u64) -> u64 {
        let is_of_these_members =
            !self.node.raft.has_pending_conf() && commit >= self.node.store().membership_index();
        if self.leads() && is_of_these_members {
            self.matched_by_all()
        } else {
            0
        }
    }

    fn matched_by_all(&self) -> u64 {
        let tracker = self.node.raft.prs();
        let voters = tracker.conf().voters().ids();
        let matched = voters.iter().map(|node| {
            let progress = tracker.get(node);
            progress.map_or(0, |progress| progress.matched)
        });
        matched.min().unwrap_or(0)
    }
}
