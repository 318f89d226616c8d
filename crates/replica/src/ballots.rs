//! Votes that count only together (`docs/decisions/0012-suspects-vote-together.md`).
//!
//! A suspect may lack entries that it acknowledged. Its vote, or its own candidacy, proves nothing about
//! what a majority has; but if every voter grants, then nobody has an entry that the candidate lacks.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{Message, MessageType};

use crate::Membership;

/// The grants of one election that are not given to raft-rs yet.
#[derive(Debug, Default)]
pub(crate) struct Ballots {
    election: Option<(MessageType, u64)>,
    granted: BTreeSet<u64>,
    withheld: BTreeMap<u64, Message>,
}

impl Ballots {
    /// Takes in a grant; the grants that count now.
    ///
    /// `alone` says that it counts without all others: neither who gives it nor who stands is suspect.
    pub(crate) fn granted(
        &mut self,
        grant: Message,
        alone: bool,
        candidate: u64,
        membership: &Membership,
    ) -> Vec<Message> {
        let election = Some((grant.msg_type, grant.term));
        if self.election != election {
            *self = Self {
                election,
                ..Self::default()
            };
        }
        self.granted.insert(grant.from);
        let mut counted = Vec::new();
        if alone {
            counted.push(grant);
        } else {
            self.withheld.insert(grant.from, grant);
        }
        let voters = membership.voters.iter().chain(&membership.voters_outgoing);
        let mut others = voters.filter(|&&voter| voter != candidate);
        if others.all(|voter| self.granted.contains(voter)) {
            counted.extend(std::mem::take(&mut self.withheld).into_values());
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(from: u64, term: u64) -> Message {
        let mut grant = Message::default();
        grant.set_msg_type(MessageType::MsgRequestVoteResponse);
        (grant.from, grant.term) = (from, term);
        grant
    }

    fn members(voters: &[u64], voters_outgoing: &[u64]) -> Membership {
        Membership {
            voters: voters.to_vec(),
            voters_outgoing: voters_outgoing.to_vec(),
            ..Membership::default()
        }
    }

    #[test]
    fn a_suspects_vote_counts_when_all_have_voted() {
        let members = members(&[1, 2, 3], &[]);
        let mut ballots = Ballots::default();
        assert!(ballots.granted(grant(2, 7), false, 1, &members).is_empty());
        assert_eq!(ballots.granted(grant(3, 7), true, 1, &members).len(), 2);
    }

    #[test]
    fn those_who_leave_are_asked_too_and_others_do_not_matter() {
        let members = members(&[1, 2, 3], &[1, 2, 4]);
        let mut ballots = Ballots::default();
        for voter in [2, 3, 5] {
            assert!(
                ballots
                    .granted(grant(voter, 7), false, 1, &members)
                    .is_empty()
            );
        }
        assert_eq!(ballots.granted(grant(4, 7), false, 1, &members).len(), 4);
    }

    #[test]
    fn votes_of_an_earlier_term_do_not_count() {
        let members = members(&[1, 2, 3], &[]);
        let mut ballots = Ballots::default();
        assert!(ballots.granted(grant(2, 7), false, 1, &members).is_empty());
        assert!(ballots.granted(grant(3, 8), false, 1, &members).is_empty());
        assert_eq!(ballots.granted(grant(2, 8), false, 1, &members).len(), 2);
    }
}
