//! What happens to a node's shards.

use anser_broker::{
    codec::Encoded,
    command::{Answer, Query, Reply},
    id::{QueueId, Sequence, ShardId},
    op::ReceivedMessage,
    shard::Shard,
};
use anser_log::Stored;
use anser_replica::{
    Membership, MembershipChange, PeerMessage, Place, ReceiveRequest, SnapshotOffer, StoredEntry,
    Ticket,
};

use crate::{
    mending::{Attempted, Wound},
    report::Mark,
};

/// `T` is what the shell keeps of whoever asked.
#[derive(Debug)]
pub enum Event<T> {
    Request {
        shard: ShardId,
        ticket: Ticket,
        request: Request,
        asker: T,
    },
    Cancel {
        shard: ShardId,
        ticket: Ticket,
    },
    /// Leased messages that nobody took: they become visible again.
    GiveBack {
        shard: ShardId,
        queue: QueueId,
        receipts: Vec<Sequence>,
    },
    Durable {
        shard: ShardId,
        number: u64,
    },
    /// A message of consensus from the shard's replica on another node.
    Peer {
        shard: ShardId,
        message: PeerMessage,
    },
    /// The connection to a node broke.
    Unreachable {
        node: u64,
    },
    /// The shard's leader is to change its members.
    Change {
        shard: ShardId,
        change: MembershipChange,
    },
    /// The shard's leader is to hand its leadership over.
    Transfer {
        shard: ShardId,
        to: u64,
    },
    /// The node will end soon: its replicas give their leaderships away.
    Leave,
    /// The shard's members have decided, in an entry up to this index, that no replica of it is here.
    Forget {
        shard: ShardId,
        decided: u64,
    },
    /// Entries that were fetched from the log.
    Fetched {
        shard: ShardId,
        request: u64,
        entries: Vec<StoredEntry>,
    },
    /// The log no longer holds the shard's entries up to this one.
    Forgotten {
        shard: ShardId,
        through: u64,
    },
    SnapshotReady {
        shard: ShardId,
        snapshot: SnapshotOffer,
    },
    SnapshotSent {
        shard: ShardId,
        to: u64,
        arrived: bool,
    },
    Installed {
        shard: ShardId,
        place: Place,
        membership: Membership,
        state: Box<Shard>,
    },
    /// Something that the disk should hold of the shard is not what was written, or could not be read, which may pass.
    Damaged {
        shard: ShardId,
        what: String,
        may_pass: bool,
        /// Where, if others may have what stood there.
        wound: Option<Wound>,
    },
    /// Maintenance has tried to mend a wound.
    Attempted {
        shard: ShardId,
        wound: Wound,
        attempted: Attempted,
    },
    /// A node has answered [`crate::Job::AskEntries`], or was not reached and gives none.
    Given {
        shard: ShardId,
        wound: Wound,
        node: u64,
        entries: Vec<Stored>,
    },
    /// The replica here has this fingerprint after an entry, and most voters have another one.
    Differs {
        shard: ShardId,
        mark: Mark,
        what: String,
    },
    /// The shard is off the disk; a replica of it may begin anew.
    Forgot {
        shard: ShardId,
    },
}

impl<T> Event<T> {
    /// What an error of the log means for a shard, if it tells of damage.
    pub fn damaged(shard: ShardId, error: &anser_log::Error) -> Option<Self> {
        error.is_damage().then(|| Self::Damaged {
            shard,
            what: error.to_string(),
            may_pass: error.may_pass(),
            wound: Wound::of(error),
        })
    }
}

#[derive(Debug, Clone)]
pub enum Request {
    Propose(Encoded),
    Receive(ReceiveRequest),
    Read(Query),
}

#[derive(Debug)]
pub enum Response {
    Reply(Reply),
    Answer(Answer),
    Messages(Vec<ReceivedMessage>),
}
