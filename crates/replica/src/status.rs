//! What a replica tells about itself.

use crate::{Membership, message::Memory};

/// A replica's part in its shard at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    pub role: Role,
    pub term: u64,
    /// The node that leads, as far as this replica knows.
    pub leader: Option<u64>,
    /// The last index that a majority is known to have.
    pub commit: u64,
    /// The last index of the log.
    pub last: u64,
    pub applied: u64,
    /// The one that is applied.
    pub membership: Membership,
    /// The last one that this replica will know even if its machine stops now. Whoever acts for good on a
    /// change of members acts on this one.
    pub settled: Membership,
    /// Whoever has applied this entry knows the settled members too.
    pub settled_at: u64,
    /// The others, by node number; only a leader knows them.
    pub peers: Vec<PeerProgress>,
    /// Whether it may have lost acknowledged entries and does not vote.
    pub suspect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Also a learner, and a replica that waits for its first snapshot.
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// How far another replica is, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProgress {
    pub node: u64,
    /// Its log is durable and the same as the leader's up to this index.
    pub matched: u64,
    /// Whether it was heard of since the last check of the quorum, at most an election timeout ago.
    pub active: bool,
    /// Whether a snapshot is on its way to it.
    pub snapshot: bool,
    /// What it says of itself. Empty is only a voter that has lost its state: it counts for nothing until it is let go and
    /// added again.
    pub memory: Memory,
}

/// What a replica has in memory of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntriesHeld {
    /// Of entries that others may still need.
    pub applied_bytes: usize,
    pub unapplied: usize,
    pub unapplied_bytes: usize,
}
