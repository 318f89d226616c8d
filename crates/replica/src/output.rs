//! Everything a replica can ask for.

use anser_broker::{
    command::{Answer, Effect, Reply},
    error::Error,
};
use bytes::Bytes;

use crate::{Failure, Membership, PeerMessage, Place, Ticket, TimeTold};

#[derive(Debug)]
pub enum Output {
    /// The reply to a proposal or a receive: durable on a majority and applied.
    Reply { ticket: Ticket, reply: Reply },
    /// The answer to a read.
    Answer { ticket: Ticket, answer: Answer },
    /// The request did not happen, or nobody can say whether it did.
    Refuse { ticket: Ticket, error: Error },
    /// To be made durable; then [`crate::Input::Durable`] with its number. In order.
    Append(Append),
    /// An entry was applied, on every replica; its payload is worth keeping at hand for receivers. It
    /// is empty for entries of the consensus itself.
    Applied { index: u64, payload: Bytes },
    /// [`Effect::RouteChanged`] and [`Effect::NodesChanged`] come from every replica, the others only from one that serves.
    Effect(Effect),
    /// The replica leads its shard now (and can serve), or no longer. What effects of earlier entries
    /// would have asked for, a new leader's shell finds in [`crate::Replica::shard`].
    LeadershipChanged { leads: bool },
    /// The replica cannot go on; its shard must not be served from here.
    Failed(Failure),
    /// To another replica. It may be lost, doubled or overtaken.
    Send { to: u64, message: PeerMessage },
    /// Entries are wanted from the log, `first` to `end` (exclusive), for a follower: at least one, and
    /// no more than `bytes_max` bytes unless the first is longer. Then [`crate::Input::Fetched`].
    Fetch {
        request: u64,
        first: u64,
        end: u64,
        bytes_max: u64,
    },
    /// A replica needs a snapshot that covers this index. Then [`crate::Input::SnapshotReady`]; asked
    /// again, not more often than every 20 ticks, until it comes.
    PrepareSnapshot { at_least: u64 },
    /// First the files of the offered snapshot at `place`, then the message. Then
    /// [`crate::Input::SnapshotSent`].
    SendSnapshot {
        to: u64,
        place: Place,
        message: PeerMessage,
    },
    /// The staged snapshot at `place` is accepted: to be made the beginning of the log, after all
    /// appends before this. Then [`crate::Input::Installed`]; until then nothing is applied.
    Install { place: Place },
    /// A change of the membership, or a snapshot, was applied; on every replica. A replica whose node
    /// is not in it any more is not needed.
    MembershipChanged(Membership),
    /// The shard's leader says what time it is. Nothing has happened there since the stamp that it names.
    TimeTold(TimeTold),
    /// The replica was suspect and is no longer: its log has all that it may have lost.
    Cleared,
}

/// What the log must hold before the replica may rely on it.
#[derive(Debug)]
pub struct Append {
    pub number: u64,
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
    pub entries: Vec<StoredEntry>,
}

/// An entry of consensus, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    pub index: u64,
    pub term: u64,
    pub kind: StoredKind,
    /// A batch of commands, empty in a leader's first entry; or a membership change
    /// ([`crate::MembershipChange::decode`]).
    pub data: Bytes,
}

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredKind {
    Normal,
    Membership,
}

/// A snapshot that replicas may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// The last entry that it has applied.
    pub place: Place,
    pub membership: Membership,
}
