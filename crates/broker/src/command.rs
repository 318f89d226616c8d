//! What a shard's log holds, what applying it answers and what it asks the shell to do.
//!
//! A command's meaning never changes once it may be in a log; new behaviour is a new kind.
//!
//! Nodes send each other queries, answers and replies with serde, where a variant is its number and a field
//! its place. A new variant goes to the end and is sent only at a version of the cluster at which all nodes
//! know it. A struct gets no new field: what it has to say more is a new variant of one of its enums, or of
//! the enum that it is in.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    attributes::{
        AttributeChanges, DeadLetterAfter, QueueAttributes, SubscriptionAttributes,
        TopicAttributes, TopicChanges,
    },
    error::Error,
    id::{AccountId, NodeId, QueueId, Sequence, ShardId, SubscriptionId, TopicId},
    name::{QueueName, SubscriptionName, TopicName},
    op::SubscriptionChanges,
    time::{Millis, Timestamp},
    version::ClusterVersion,
};

mod node;
mod query;
mod topic;

pub use node::{NodeRecord, NodeStart, NodeState};
pub use query::{
    Answer, Query, QueueRecord, Room, SubscriptionCounts, SubscriptionRecord, TopicCounts,
    TopicRecord,
};
pub use topic::{CreateTopic, Subscribe};

/// One change of a shard. The first group is for the catalog on shard 0, the second for the shard
/// where the queue or topic lives.
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
    /// The home of the queue, topic or subscription of this number has this revision of it (or of
    /// its deletion): nothing more to tell it.
    Settled {
        number: u64,
        revision: u64,
    },
    CreateTopic(CreateTopic),
    DeleteTopic {
        account: AccountId,
        name: TopicName,
    },
    SetTopicAttributes {
        account: AccountId,
        name: TopicName,
        changes: TopicChanges,
    },
    Subscribe(Box<Subscribe>),
    SetSubscriptionAttributes {
        account: AccountId,
        topic: TopicName,
        name: SubscriptionName,
        changes: SubscriptionChanges,
    },
    Unsubscribe {
        account: AccountId,
        topic: TopicName,
        name: SubscriptionName,
    },
    /// Gives the node with this data directory its number. One that has a number keeps it, and what
    /// is known of it is brought up to date, unless a later start than this one is known.
    AddNode {
        incarnation: [u8; 16],
        start: NodeStart,
        address: String,
        host: String,
        zone: String,
    },
    /// Whoever removes a node knows that so many were removed before, which is refused if it is another number by now: of
    /// two that are removed at once, each would count on the other.
    SetNodeState {
        node: NodeId,
        state: NodeState,
        removed: u64,
    },
    /// The cluster has this id for ever.
    ClusterFormed {
        cluster: [u8; 16],
    },
    /// The cluster works at this version from now on, since so many nodes, which are all that it ever had,
    /// can read it or are gone. It only rises: an older one changes nothing. What this program can read
    /// does not matter here, for all replicas must decide alike.
    SetClusterVersion {
        version: ClusterVersion,
        nodes: u64,
    },

    /// Creates the queue or brings its attributes up to date; an older revision changes nothing.
    PutQueue {
        queue: QueueId,
        revision: u64,
        attributes: QueueAttributes,
    },
    /// Ends the queue and its messages; nothing happens if it is not there. What has a number below the
    /// floor and is not there has ended: from now on the shard takes no late word of it.
    DropQueue {
        queue: QueueId,
        floor: u64,
    },
    /// As [`Command::PutQueue`], for a topic.
    PutTopic {
        topic: TopicId,
        revision: u64,
        attributes: TopicAttributes,
    },
    /// Ends the topic and its subscriptions; the floor as in [`Command::DropQueue`].
    DropTopic {
        topic: TopicId,
        floor: u64,
    },
    /// As [`Command::PutQueue`], for a subscription of a topic that is there.
    PutSubscription {
        subscription: SubscriptionId,
        topic: TopicId,
        revision: u64,
        attributes: SubscriptionAttributes,
    },
    /// Ends the subscription and what it has not delivered; the floor as in [`Command::DropQueue`].
    DropSubscription {
        subscription: SubscriptionId,
        floor: u64,
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
    /// As [`Command::SendMessages`], but a repeat within [`crate::limits::TOKEN_WINDOW`] of the
    /// first send sends nothing and is answered as that was.
    SendMessagesOnce {
        queue: QueueId,
        /// The hash of what the sender calls this send.
        token: [u8; 16],
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
        seen: Seen,
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
    /// Messages for all subscriptions whose filter matches: bodies with their labels before them, in
    /// the form of [`crate::labels::Published`].
    Publish {
        topic: TopicId,
        bodies: Vec<Bytes>,
    },
    /// Messages of the outbox `source` for the queue it delivers to, numbered from `first` on; the
    /// bodies have no labels any more. Numbers between those that arrived before and `first` were
    /// passed over by the source.
    AcceptPublished {
        queue: QueueId,
        source: QueueId,
        seen: Seen,
        first: u64,
        bodies: Vec<Bytes>,
    },
    /// The queue or outbox `source` has nothing more for this queue as far as it was seen, but for numbers
    /// beyond `through`: what arrived from it need not be remembered.
    ForgetSource {
        queue: QueueId,
        source: QueueId,
        seen: Seen,
        through: u64,
    },
    /// The queue `target` has forgotten `queue`, or is no more: see [`Lane::ends`].
    LaneEnded {
        queue: QueueId,
        target: QueueId,
        through: u64,
    },
    /// The queue `target` does not take the first message of the outbox `queue`, which has this
    /// number: it leaves the lane, and comes again when it is twice as old, at the latest after
    /// `wait_max`, unless its time is up.
    MoveFailed {
        queue: QueueId,
        target: QueueId,
        number: u64,
        wait_max: Millis,
    },
    /// Leased messages of the outbox `queue` that will not be tried again.
    GiveUp {
        queue: QueueId,
        receipts: Vec<Sequence>,
    },
    /// Nothing but the passing of time.
    Settle,
}

/// Where messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    Queue(QueueId),
    Topic(TopicId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateQueue {
    pub account: AccountId,
    pub name: QueueName,
    pub attributes: QueueAttributes,
    pub dead_letter: Option<(QueueName, DeadLetterAfter)>,
    pub queues_max: u64,
    pub reuse_after: Millis,
    /// Shards that whoever proposes this knows to have no leader now, in ascending order: another one takes it, if
    /// there is one.
    pub avoid: Vec<ShardId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterUpdate {
    Keep,
    Remove,
    Set(QueueName, DeadLetterAfter),
}

/// The answer to a command, the same on every replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To every command that has nothing more to say.
    Done,
    /// To every change of the catalog: what the home must be told.
    Placed(Placed),
    /// To `AddNode` and `SetNodeState`: what is known of the node now.
    Node(NodeRecord),
    Sent {
        messages: Vec<Sequence>,
    },
    Received {
        deliveries: Vec<Delivery>,
    },
    /// To `DeleteMessages`, `ChangeVisibility`, `ReturnLeases` and `GiveUp`, one a receipt.
    Each(Vec<Result<(), Error>>),
    /// To `AcceptMoved` and `AcceptPublished`: arrived up to this number, and why the next one of
    /// those sent was not taken.
    Accepted {
        through: u64,
        refused: Option<Error>,
    },
    Rewound {
        messages: u64,
    },
    Refused(Error),
}

/// What the catalog says of something that lives on a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placed {
    Queue(PlacedQueue),
    Topic(PlacedTopic),
    Subscription(Box<PlacedSubscription>),
}

impl Placed {
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Queue(queue) => queue.shard,
            Self::Topic(topic) => topic.shard,
            Self::Subscription(subscription) => subscription.shard,
        }
    }

    pub fn revision(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.revision,
            Self::Topic(topic) => topic.revision,
            Self::Subscription(subscription) => subscription.revision,
        }
    }

    /// Whether it was deleted.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.attributes.is_none(),
            Self::Topic(topic) => topic.attributes.is_none(),
            Self::Subscription(subscription) => subscription.attributes.is_none(),
        }
    }

    /// Takes the floor of its shard, if it was deleted.
    pub(crate) fn set_floor(&mut self, floors: &[u64]) {
        if !self.is_end() {
            return;
        }
        let floor = floors[usize::from(self.shard().0)];
        match self {
            Self::Queue(queue) => queue.floor = floor,
            Self::Topic(topic) => topic.floor = floor,
            Self::Subscription(subscription) => subscription.floor = floor,
        }
    }

    /// The number that only this queue, topic or subscription has.
    pub fn number(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.queue.0,
            Self::Topic(topic) => topic.topic.0,
            Self::Subscription(subscription) => subscription.subscription.0,
        }
    }
}

/// A queue as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedQueue {
    pub account: AccountId,
    pub name: QueueName,
    pub queue: QueueId,
    pub shard: ShardId,
    pub revision: u64,
    /// `None`: deleted.
    pub attributes: Option<QueueAttributes>,
    /// With a deletion: see [`Command::DropQueue`]; else 0.
    pub floor: u64,
}

/// A topic as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedTopic {
    pub account: AccountId,
    pub name: TopicName,
    pub topic: TopicId,
    pub shard: ShardId,
    pub revision: u64,
    /// `None`: deleted.
    pub attributes: Option<TopicAttributes>,
    /// With a deletion: see [`Command::DropQueue`]; else 0.
    pub floor: u64,
}

/// A subscription as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedSubscription {
    pub account: AccountId,
    pub topic: TopicId,
    pub topic_name: TopicName,
    pub subscription: SubscriptionId,
    pub name: SubscriptionName,
    pub shard: ShardId,
    pub revision: u64,
    /// `None`: deleted.
    pub attributes: Option<SubscriptionAttributes>,
    /// With a deletion: see [`Command::DropQueue`]; else 0.
    pub floor: u64,
}

/// A lease that was just granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What [`crate::shard::Shard::nodes`], [`crate::shard::Shard::cluster`] or
    /// [`crate::shard::Shard::version`] says is new. Every replica's shell acts on it.
    NodesChanged,
    /// The home of this does not have the latest revision yet: it is to be told, whether or not somebody still waits for that.
    Unsettled(Placed),
    /// The queue has messages to carry to another queue.
    MovesPending { queue: QueueId },
    /// The subscription has something for its pusher.
    OutboxReady { subscription: SubscriptionId },
}

/// The state in which a source was seen by whoever carries for it. A target that has forgotten sources takes
/// nothing that was seen in an older state: it may be a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub shard: ShardId,
    /// The last entry that the shard had applied.
    pub index: u64,
}

/// The first messages that wait to be carried from one queue to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    pub target: QueueId,
    /// Whether the messages are on their way to a subscription's endpoint; otherwise they are dead
    /// letters.
    pub is_delivery: bool,
    /// Whether the bodies have labels before them, which stay behind.
    pub has_labels: bool,
    pub seen: Seen,
    /// In the order of their numbers.
    pub moves: Vec<Move>,
    /// There are no moves, and none are to come, but for numbers beyond this one: the target may forget the
    /// source ([`Command::ForgetSource`]), then the source the lane ([`Command::LaneEnded`]).
    pub ends: Option<u64>,
}

impl Lane {
    pub(crate) fn empty(target: QueueId, seen: Seen) -> Self {
        Self {
            target,
            is_delivery: false,
            has_labels: false,
            seen,
            moves: Vec::new(),
            ends: None,
        }
    }
}

/// A message that waits to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub number: u64,
    /// Where its body lies.
    pub message: Sequence,
    /// Its retention has ended: it is not tried again when the target refuses it.
    pub is_overdue: bool,
}
