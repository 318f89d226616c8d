//! How a node is, as it tells every other twice a second: its disk and its replicas. Nodes send it to each other, so a
//! field is its place in the bytes.

use std::collections::BTreeSet;

use anser_broker::{id::ShardId, version::ClusterVersion};
use anser_replica::{Memory, Replica, ReplicaStatus};
use serde::{Deserialize, Serialize};

use crate::fitness::Unfit;

/// One node at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    pub node: u64,
    /// Its disk is nearly full: sends to the shards that it votes in are refused, for it has to write them too.
    pub full: bool,
    pub free_bytes: u64,
    pub data_bytes: u64,
    /// Mean duration of its recent syncs.
    pub sync_micros: u64,
    pub replicas: Vec<ReplicaReport>,
    /// The highest version of the cluster that the node can read. It follows the other fields in the bytes:
    /// programs from before there were versions leave it out and do not read it.
    #[serde(skip)]
    pub knows: ClusterVersion,
    /// It ends soon, and is to be handed no leadership. It follows too.
    #[serde(skip)]
    pub leaves: bool,
    /// The shards of which its disk has something damaged, and what: their replicas here are to be replaced. It
    /// follows too.
    #[serde(skip)]
    pub damaged: Vec<(u16, String)>,
    /// Why it should not lead, as it judges itself by [`Fitness`](crate::Fitness). It follows too.
    #[serde(skip)]
    pub unfit: Option<Unfit>,
}

impl NodeReport {
    pub fn has_damaged(&self, shard: u16) -> bool {
        self.damaged.iter().any(|(damaged, _)| *damaged == shard)
    }

    /// Why the node is to be handed no leadership.
    pub fn unfit_to_lead(&self) -> Option<Unfit> {
        self.leaves.then_some(Unfit::Leaving).or(self.unfit)
    }
}

/// One of its replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    pub shard: u16,
    pub term: u64,
    /// The leader it follows, or itself.
    pub leader: Option<u64>,
    /// The last entry that is part of its state, or an earlier one as long as a restart might not know the members of that.
    pub applied: u64,
    /// On its disk, with what has come of a copy.
    pub bytes: u64,
    /// What only a leader that serves can say.
    pub led: Option<Led>,
    /// Of its state, to be compared with others'. They follow all else of the report in the bytes, replica by replica.
    #[serde(skip)]
    pub marks: Vec<Mark>,
}

/// A shard's fingerprint after an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub index: u64,
    pub fingerprint: u64,
}

impl From<anser_replica::Mark> for Mark {
    fn from(mark: anser_replica::Mark) -> Self {
        let anser_replica::Mark { index, fingerprint } = mark;
        Self { index, fingerprint }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Led {
    pub last: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// Whoever has applied this entry knows these members too.
    pub settled_at: u64,
    /// A change of voters is under way, or not yet known for good.
    pub joint: bool,
    pub peers: Vec<PeerReport>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    pub node: u64,
    /// How far its log is known to be the leader's; nothing of one that may lack what it acknowledged.
    pub matched: u64,
    pub active: bool,
    /// It is being sent a snapshot.
    pub copying: bool,
    /// It votes, and says that it has lost its state.
    pub is_blank: bool,
}

impl ReplicaReport {
    /// Of a shard that could not be opened: it is on the disk, and nothing is known of it.
    pub fn closed(shard: ShardId) -> Self {
        Self {
            shard: shard.0,
            ..Self::default()
        }
    }

    /// The members that a leader reports are those that it would know of after a restart: others act on them.
    pub fn of(shard: ShardId, replica: &Replica) -> Self {
        let status = replica.status();
        let peers = status.peers.iter().map(|peer| PeerReport {
            node: peer.node,
            matched: match peer.memory {
                Memory::Suspect => 0,
                Memory::Whole | Memory::Empty => peer.matched,
            },
            active: peer.active,
            copying: peer.snapshot,
            is_blank: peer.memory == Memory::Empty,
        });
        let led = replica.serves().then(|| Led {
            last: status.last,
            voters: status.settled.voters.clone(),
            learners: learners(&status),
            settled_at: status.settled_at,
            joint: is_changing(&status),
            peers: peers.collect(),
        });
        Self {
            shard: shard.0,
            term: status.term,
            leader: status.leader,
            applied: known_through(&status),
            bytes: 0,
            led,
            marks: replica.marks().map(Mark::from).collect(),
        }
    }
}

/// Whether the voters whom a leader reports are not, or not for long, those of its applied entries.
fn is_changing(status: &ReplicaStatus) -> bool {
    let (applied, settled) = (&status.membership, &status.settled);
    applied.is_joint() || settled.is_joint() || applied.voters != settled.voters
}

/// Those that were learners before a change that a restart may forget, and those that are after it: nobody may take a copy
/// off its disk on the ground of either.
///
/// Otherwise: 1. Leader A adds the learner C in entry 25, which others acknowledge first. 2. A reports that it has applied
/// 26, and the members it would know of after a restart, without C. 3. Placement has C taken off its disk, as one that was
/// let go of by 26. 4. C becomes a voter beside A, without a state, and A stops: nobody can be elected.
fn learners(status: &ReplicaStatus) -> Vec<u64> {
    let (applied, settled) = (&status.membership, &status.settled);
    let both = applied.learners.iter().chain(&settled.learners);
    let learners = both.filter(|learner| !settled.voters.contains(learner));
    let learners: BTreeSet<u64> = learners.copied().collect();
    learners.into_iter().collect()
}

/// Up to where a replica would know after a restart who the members are.
///
/// Otherwise: 1. Leader A of {A, B, X} applies a change to {A, B, Z}, and so does B, which has not synced that it is
/// committed. 2. B reports the entry as applied, X is let go of, and all machines stop; A's does not come back. 3. B
/// counts {A, B, X}, of whom X knows nothing any more: nobody can be elected.
fn known_through(status: &ReplicaStatus) -> u64 {
    if status.membership == status.settled {
        status.applied
    } else {
        status.applied.min(status.settled_at)
    }
}

/// The syncs of a disk between two reports.
#[derive(Debug, Default)]
pub struct SyncTimes {
    /// How many there were, and the microseconds they took, at the last report.
    seen: (u64, u64),
}

impl SyncTimes {
    /// The mean of the last syncs, or the age of one that does not end, in microseconds.
    pub fn mean(&mut self, syncs: u64, micros: u64, under_way: u64) -> u64 {
        let since = (syncs - self.seen.0, micros - self.seen.1);
        self.seen = (syncs, micros);
        let mean = since.1.checked_div(since.0).unwrap_or(0);
        mean.max(under_way)
    }
}

#[cfg(test)]
mod tests {
    use anser_replica::{Membership, Role};

    use super::*;

    fn members(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> Membership {
        Membership {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            voters_outgoing: outgoing.to_vec(),
            ..Membership::default()
        }
    }

    fn status(membership: Membership, settled: Membership) -> ReplicaStatus {
        ReplicaStatus {
            role: Role::Leader,
            term: 3,
            leader: Some(1),
            commit: 26,
            last: 26,
            applied: 26,
            membership,
            settled,
            settled_at: 24,
            peers: Vec::new(),
            suspect: false,
        }
    }

    #[test]
    fn voters_change_until_a_restart_would_not_forget_it() {
        let cases = [
            (
                members(&[1, 2], &[], &[]),
                members(&[1, 2], &[], &[]),
                false,
            ),
            (
                members(&[1, 2], &[4], &[]),
                members(&[1, 2], &[], &[]),
                false,
            ),
            (
                members(&[1, 4], &[], &[]),
                members(&[1, 2], &[4], &[]),
                true,
            ),
            (
                members(&[1, 4], &[], &[1, 2]),
                members(&[1, 4], &[], &[1, 2]),
                true,
            ),
            (
                members(&[1, 4], &[], &[]),
                members(&[1, 4], &[], &[1, 2]),
                true,
            ),
        ];
        for (applied, settled, changes) in cases {
            let status = status(applied, settled);
            assert_eq!(is_changing(&status), changes, "{status:?}");
        }
    }

    /// Seed 1803011051.
    #[test]
    fn a_learner_is_one_before_a_restart_would_know_it_and_until_a_restart_would_not() {
        let cases: [(&[u64], &[u64], &[u64]); 4] = [
            (&[], &[], &[]),
            (&[4], &[], &[4]),
            (&[], &[4], &[4]),
            (&[2, 4], &[5], &[4, 5]),
        ];
        for (applied, settled, told) in cases {
            let status = status(members(&[1], applied, &[]), members(&[1, 2], settled, &[]));
            assert_eq!(learners(&status), told, "{status:?}");
        }
    }

    #[test]
    fn what_a_restart_would_forget_of_the_members_is_not_reported_as_applied() {
        let now = || members(&[1, 2], &[4], &[]);
        assert_eq!(known_through(&status(now(), now())), 26);
        let before = members(&[1, 2, 3], &[], &[]);
        assert_eq!(known_through(&status(now(), before)), 24);
    }
}
