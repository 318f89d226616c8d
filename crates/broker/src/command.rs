//! What a shard's log holds, what applying it answers and what it asks the shell to do.
//!
//! A command's meaning never changes once it may be in a log; new behaviour is a new kind.

use bytes::Bytes;

use crate::{
    attributes::{AttributeChanges, DeadLetterAfter, DeadLetterPolicy, QueueAttributes},
    error::Error,
    id::{AccountId, QueueId, Sequence, ShardId},
    name::QueueName,
    op::QueueListing,
    time::{Millis, Timestamp},
};

/// One change of a shard. The first group is for the catalog on shard 0, the second for the shard
/// where the queue lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    CreateQueue(CreateQueue),
    DeleteQueue {
        account: AccountId,
        name: QueueName,
    },
    SetQueueAttributes {
        account: AccountId,
        name: QueueName,
        changes: AttributeChanges,
        dead_letter: DeadLetterUpdate,
    },
    /// The queue's home has this revision of it (or of its deletion): nothing more to tell it.
    QueueSettled {
        queue: QueueId,
        revision: u64,
    },

    /// Creates the queue or brings its attributes up to date; an older revision changes nothing.
    PutQueue {
        queue: QueueId,
        revision: u64,
        attributes: QueueAttributes,
    },
    /// Ends the queue and its messages; nothing happens if it is not there.
    DropQueue {
        queue: QueueId,
    },
    ClearQueue {
        queue: QueueId,
    },
    RewindQueue {
        queue: QueueId,
        to: Timestamp,
    },
    SendMessages {
        queue: QueueId,
        delay: Option<Millis>,
        bodies: Vec<Bytes>,
    },
    ReceiveMessages {
        queue: QueueId,
        max: u32,
        visibility: Option<Millis>,
    },
    DeleteMessages {
        queue: QueueId,
        receipts: Vec<Sequence>,
    },
    ChangeVisibility {
        queue: QueueId,
        receipts: Vec<Sequence>,
        visibility: Millis,
    },
    /// Dead letters of another queue, numbered by it from `first` on without a gap. Those that
    /// arrived before are known by their numbers and not stored again.
    AcceptMoved {
        queue: QueueId,
        source: QueueId,
        first: u64,
        bodies: Vec<Bytes>,
    },
    /// The dead letters of `queue` for `target` up to this number have arrived.
    MovesSettled {
        queue: QueueId,
        target: QueueId,
        through: u64,
    },
    /// Leases that were granted but never reached anybody: each ends, and its delivery did not happen.
    ReturnLeases {
        queue: QueueId,
        receipts: Vec<Sequence>,
    },
    /// The queue `target` is no more: the dead letters of `queue` that wait for it are ready again.
    ReturnMoves {
        queue: QueueId,
        target: QueueId,
    },
    /// Nothing but the passing of time.
    Settle,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateQueue {
    pub account: AccountId,
    pub name: QueueName,
    pub attributes: QueueAttributes,
    pub dead_letter: Option<(QueueName, DeadLetterAfter)>,
    pub queues_max: u64,
    pub reuse_after: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterUpdate {
    Keep,
    Remove,
    Set(QueueName, DeadLetterAfter),
}

/// The answer to a command, the same on every replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To every command that has nothing more to say.
    Done,
    /// To `CreateQueue`, `SetQueueAttributes` and `DeleteQueue`: what the queue's home must be told.
    Placed(Placed),
    Sent {
        messages: Vec<Sequence>,
    },
    Received {
        deliveries: Vec<Delivery>,
    },
    /// To `DeleteMessages`, `ChangeVisibility` and `ReturnLeases`, one a receipt.
    Each(Vec<Result<(), Error>>),
    /// To `AcceptMoved`: arrived up to this number; fewer than sent if the queue could take no more.
    Accepted {
        through: u64,
    },
    Rewound {
        messages: u64,
    },
    Refused(Error),
}

/// A queue as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub account: AccountId,
    pub name: QueueName,
    pub queue: QueueId,
    pub shard: ShardId,
    pub revision: u64,
    /// `None`: deleted.
    pub attributes: Option<QueueAttributes>,
}

/// A lease that was just granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Where the message was sent; its body lies in that entry.
    pub message: Sequence,
    pub receipt: Sequence,
    /// By the wall clock, like the two below.
    pub sent: Timestamp,
    pub first_received: Timestamp,
    pub visible_again: Timestamp,
    pub deliveries: u32,
}

/// What applying commands asks of the shell. Only the leader's shell acts on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A message became ready: waiting receivers may be served.
    QueueReady { queue: QueueId },
    /// The queue ended: waiting receivers hear that it does not exist.
    QueueGone { queue: QueueId },
    /// A name now leads elsewhere, or nowhere. Every replica's shell keeps its routes by this.
    RouteChanged(Placed),
    /// The queue has dead letters to carry to another queue.
    MovesPending { queue: QueueId },
}

/// A dead letter that waits to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub number: u64,
    /// Where its body lies.
    pub message: Sequence,
}

/// A read of a shard's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Catalog: one queue by name.
    Queue { account: AccountId, name: QueueName },
    /// Catalog.
    Queues {
        account: AccountId,
        search: String,
        offset: u64,
        limit: u64,
    },
    /// Catalog.
    DeadLetterSources {
        account: AccountId,
        name: QueueName,
        search: String,
        offset: u64,
        limit: u64,
    },
    /// Home.
    Counts { queue: QueueId },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Queue(Box<QueueRecord>),
    Queues {
        total: u64,
        queues: Vec<QueueListing>,
    },
    Counts(crate::op::QueueCounts),
    Refused(Error),
}

/// A queue in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    pub queue: QueueId,
    pub shard: ShardId,
    pub name: QueueName,
    pub attributes: QueueAttributes,
    pub dead_letter: Option<(QueueName, DeadLetterPolicy)>,
    /// By the wall clock.
    pub created: Timestamp,
    pub modified: Timestamp,
}
