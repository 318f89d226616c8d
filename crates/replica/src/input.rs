//! Everything that can happen to a replica.

use anser_broker::{codec::Encoded, command::Query, id::QueueId, shard::Shard, time::Millis};

use crate::{Membership, MembershipChange, PeerMessage, Place, SnapshotOffer, StoredEntry};

/// Names a request from its arrival to its reply. The shell gives it out and keeps who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

#[derive(Debug, Clone)]
pub enum Input {
    /// A command for the log. Without a ticket nobody waits for its reply.
    Propose {
        ticket: Option<Ticket>,
        command: Encoded,
    },
    Receive {
        ticket: Ticket,
        request: ReceiveRequest,
    },
    /// A read that sees everything acknowledged before it came.
    Read { ticket: Ticket, query: Query },
    /// Whoever asked is gone. A receive that has leased something by now is answered all the same;
    /// the shell gives the messages back.
    Cancel { ticket: Ticket },
    /// The append of this number, and all before it, are on the disk.
    Durable { number: u64 },
    /// A tick, 50 ms, has passed: two are a heartbeat interval, 14 to 27 an election timeout.
    Tick,
    /// From another replica of this shard. One that came too late, or is not for this replica, is
    /// ignored. The files of a snapshot that a message announces must be staged before it.
    Message(PeerMessage),
    /// The answer to [`crate::Output::Fetch`], as many of the entries as the bytes allow, in order from
    /// the first asked for. Empty: the log no longer has them.
    Fetched {
        request: u64,
        entries: Vec<StoredEntry>,
    },
    /// The log no longer holds entries up to this one. They must be applied.
    Forgotten { through: u64 },
    /// The answer to [`crate::Output::PrepareSnapshot`]. It stays on offer until a newer one comes or
    /// sending it fails; the shell keeps its files as long.
    SnapshotReady { snapshot: SnapshotOffer },
    /// What became of [`crate::Output::SendSnapshot`]; there is one for each.
    SnapshotSent { to: u64, arrived: bool },
    /// The answer to [`crate::Output::Install`]: the snapshot is durable and the log begins behind it.
    /// This is the state now; the shell looks at [`crate::Replica::shard`] for all its routes.
    Installed {
        place: Place,
        membership: Membership,
        shard: Box<Shard>,
    },
    /// Ignored unless this replica leads and serves, no change is under way, and the change leaves a
    /// voter.
    ChangeMembership(MembershipChange),
    /// Ignored unless this replica leads and `to` is a voter. Until it is over, or an election timeout
    /// has passed, proposals are refused.
    TransferLeadership { to: u64 },
    /// The node will end soon: from now on this replica gives its leadership away as often as it has it, while another
    /// voter answers, and takes over none that is handed to it. It goes on to vote and to acknowledge.
    Leave,
    /// The state of this replica cannot be trusted: the same as [`Input::Leave`], until another's state is installed.
    Differs,
    /// The connection to a node broke: messages to it may be lost.
    Unreachable { node: u64 },
}

/// A receive, before it is a command: it may wait until there is something to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveRequest {
    pub queue: QueueId,
    pub max: u32,
    /// `None`: the queue's own.
    pub visibility: Option<Millis>,
    /// `None`: the queue's own.
    pub wait: Option<Millis>,
}
