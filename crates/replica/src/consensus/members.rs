//! Changes of the membership, and who leads because of them.

use raft::StateRole;

use super::{Consensus, NOBODY};
use crate::{Membership, MembershipChange, MembershipStep, message::Memory};

impl Consensus {
    /// Gives a change of the membership to the log, if this replica leads, no other is under way and
    /// the change means something. Only who has state and does not doubt it becomes a voter, and only voters of whom most answer just now are
    /// changed to: whoever ordered it may know less than this replica does. What no replica could read from its
    /// log is not written, whoever ordered it: it would stop all of them, for ever.
    pub(crate) fn propose_change(&mut self, change: &MembershipChange) {
        let bytes = change.encode();
        if !self.leads()
            || MembershipChange::decode(&bytes).is_err()
            || self.node.raft.has_pending_conf()
            || self.membership.is_joint()
            || change.steps.is_empty()
            || self.membership.after(change).is_none()
            || !self.is_of_these_members(change)
            || !self.may_all_vote(change)
            || !self.could_decide_after(change)
        {
            return;
        }
        // It is dropped while the leadership is being handed over.
        self.node
            .propose_conf_change(bytes.to_vec(), change.to_raft())
            .ok();
    }

    /// Whether each step changes something. A change of which a part has happened was decided for other members than
    /// these: the rest of it might let go of one too many.
    fn is_of_these_members(&self, change: &MembershipChange) -> bool {
        let members = &self.membership;
        change.steps.iter().all(|step| match step {
            MembershipStep::AddVoter(node) => !members.voters.contains(node),
            MembershipStep::AddLearner(node) => !members.learners.contains(node),
            MembershipStep::Remove(node) => members.contains(*node),
        })
    }

    fn may_all_vote(&self, change: &MembershipChange) -> bool {
        let tracker = self.node.raft.prs();
        change.steps.iter().all(|step| match step {
            MembershipStep::AddVoter(node) => {
                // A suspect gives no vote of its own, so those that are left may need it in vain. One whose log ends before
                // the entry that took it in may still be taken off its disk, as what earlier members have let go of.
                let named = self.node.store().membership_index();
                let has_state = tracker
                    .get(*node)
                    .is_some_and(|known| known.matched >= named);
                has_state && self.doubts.memory(*node) == Memory::Whole
            }
            MembershipStep::AddLearner(_) | MembershipStep::Remove(_) => true,
        })
    }

    /// Whether most of the voters that a change leads to answer this leader.
    fn could_decide_after(&self, change: &MembershipChange) -> bool {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("change without a majority") {
            return true;
        }
        let Some(after) = self.membership.after(change) else {
            return false;
        };
        let (leader, tracker) = (self.node.raft.id, self.node.raft.prs());
        let answers = |node: &&u64| {
            **node == leader || tracker.get(**node).is_some_and(|known| known.recent_active)
        };
        after.voters.iter().filter(answers).count() > after.voters.len() / 2
    }

    /// Applies a change; whether it changed anything.
    ///
    /// # Panics
    /// If raft-rs and our own words disagree about it: then a restart would lead elsewhere.
    pub(crate) fn apply_change(&mut self, index: u64, change: &MembershipChange) -> bool {
        let expected = self.membership.after(change);
        #[cfg(feature = "sabotage")]
        if let Some(expected) = crate::sabotage::apply_at_once(&mut self.node, change) {
            self.membership = expected;
            self.node.mut_store().membership_changed(index, true);
            self.resign_if_removed();
            return true;
        }
        let found = self.node.apply_conf_change(&change.to_raft()).ok();
        let found = found.as_ref().map(Membership::from_raft);
        assert_eq!(
            found, expected,
            "raft-rs and we disagree about a membership"
        );
        let Some(membership) = expected else {
            return false;
        };
        let names_newcomer = self.welcome(&membership);
        self.membership = membership;
        self.node
            .mut_store()
            .membership_changed(index, names_newcomer);
        self.resign_if_removed();
        true
    }

    /// Nothing that a new member may have answered to before counts: it may have been one already. Whether there is
    /// one.
    fn welcome(&mut self, membership: &Membership) -> bool {
        let voters = membership.voters.iter().chain(&membership.voters_outgoing);
        let named = voters.chain(&membership.learners).copied();
        let newcomers: Vec<u64> = named
            .filter(|&node| !self.membership.contains(node))
            .collect();
        if self.leads() {
            for &node in &newcomers {
                self.lives.begin(node, 0);
            }
        }
        !newcomers.is_empty()
    }

    pub(crate) fn transfer_leadership(&mut self, to: u64) {
        if self.leads() && self.membership.voters.contains(&to) {
            self.node.transfer_leader(to);
        }
    }

    /// The node ends soon.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        self.give_away();
    }

    /// The state cannot be trusted.
    pub(crate) fn differ(&mut self) {
        self.differs = true;
        self.give_away();
    }

    /// While the leadership is being handed over nothing can be proposed.
    pub(crate) fn hands_over(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    pub(super) fn leads_no_more(&self) -> bool {
        self.leaving || self.differs
    }

    /// Hands the leadership, if it is here, to one of those voters that have most and answer. An attempt that is under
    /// way goes on until an election's time is over.
    pub(super) fn give_away(&mut self) {
        let raft = &self.node.raft;
        if !self.leads() || raft.lead_transferee.is_some() {
            return;
        }
        let others = raft.prs().iter().filter(|&(&node, progress)| {
            node != raft.id
                && progress.recent_active
                && self.membership.voters.contains(&node)
                && self.doubts.memory(node) == Memory::Whole
        });
        let others: Vec<(u64, u64)> = others
            .map(|(&node, progress)| (progress.matched, node))
            .collect();
        let most = others.iter().map(|(matched, _)| *matched).max();
        let mut heirs: Vec<u64> = others
            .into_iter()
            .filter(|(matched, _)| Some(*matched) == most)
            .map(|(_, node)| node)
            .collect();
        heirs.sort_unstable();
        // Replicas of one node begin with different runs, so that not all its shards go to one heir.
        let count = heirs.len() as u64;
        let choice = self
            .run
            .checked_rem(count)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(&heir) = choice.and_then(|at| heirs.get(at)) {
            self.node.transfer_leader(heir);
        }
    }

    /// raft-rs lets a leader that is no voter any more go on, and then fails to find itself.
    pub(super) fn resign_if_removed(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader || raft.promotable() {
            return;
        }
        let successor = raft
            .prs()
            .iter()
            .filter(|(node, _)| self.membership.voters.contains(node))
            .max_by_key(|(node, progress)| (progress.matched, std::cmp::Reverse(**node)));
        if let Some((&successor, _)) = successor {
            raft.send_timeout_now(successor);
        }
        let term = raft.term;
        raft.become_follower(term, NOBODY);
        self.elections.settle(raft);
    }
}
