//! Where a replica begins, and what stays of one that goes.

use anser_broker::shard::Shard;

use crate::{Membership, StoredEntry, tail::Place};

/// Where a replica begins: its shard with everything applied that is known to be committed.
///
/// A replica of a shard that the node does not hold yet is [`Start::empty`].
#[derive(Debug)]
pub struct Start {
    /// This node's number among the members.
    pub node: u64,
    pub term: u64,
    pub vote: u64,
    /// The last entry that the shard has applied.
    pub applied: Place,
    pub membership: Membership,
    pub shard: Shard,
    /// What the log holds after `applied`.
    pub entries: Vec<StoredEntry>,
    /// The first index that the log holds, at most one after `applied`.
    pub log_first: u64,
    /// The first entry of each term that the log holds, ascending.
    pub terms: Vec<Place>,
    /// The seed of this run's election timeouts; another one on each node and at each start.
    pub jitter: u64,
    /// The end of the log may be lost: the replica does not vote until [`Output::Cleared`]. A sole
    /// voter has nobody to ask and is never suspect.
    pub suspect: bool,
    /// A replica without state takes none from before this index ([`Tombstone::floor`]).
    pub floor: u64,
}

/// What a node remembers of a replica that it let go of, as long as no other one of the shard is here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tombstone {
    /// The last term that the replica knew.
    pub term: u64,
    /// Whom it voted for in that term; 0 if nobody.
    pub vote: u64,
    /// Where its shard's members had let go of it: no entry that it acknowledged has a higher index. A
    /// snapshot from before may lack some of them, and whoever took it would vote them away.
    pub floor: u64,
}

impl Start {
    /// A replica of a shard that the node has nothing of: it waits for a snapshot.
    pub fn empty(node: u64, shard: Shard, tombstone: Tombstone, jitter: u64) -> Self {
        Self {
            node,
            term: tombstone.term,
            vote: tombstone.vote,
            applied: Place { index: 0, term: 0 },
            membership: Membership::default(),
            shard,
            entries: Vec::new(),
            log_first: 1,
            terms: Vec::new(),
            jitter,
            suspect: false,
            floor: tombstone.floor,
        }
    }
}
