//! What happens, and when.

use std::{cmp::Ordering, collections::BinaryHeap, ops::Range, time::Duration};

use anser_broker::{
    codec::Encoded,
    command::{Answer, Command, Query, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    op::ReceivedMessage,
    time::Millis,
    version::ClusterVersion,
};
use anser_host::{
    Admission, CopyAnswer, Deferred, Given, Leases, NodeReport, Offer, Order, PeerRequest,
    PeerResponse, Stranger, Visitor, Wound,
};
use anser_log::{ExportedFile, Stored};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::process::Stop;

/// Simulated microseconds since the beginning.
pub(crate) type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

pub(crate) fn micros(length: Duration) -> Micros {
    u64::try_from(length.as_micros()).expect("less than an age")
}

#[derive(Debug)]
pub(crate) enum Event {
    /// For one life of a node's process; void if it has ended.
    Node {
        node: u64,
        life: u64,
        what: Happening,
    },
    /// A node's process is started.
    Start { node: u64 },
    /// A node that has begun to leave ends, if it has not by itself.
    End { node: u64, life: u64, stop: Stop },
    /// A client does what it does next.
    Client { client: usize },
    /// A client gives up waiting.
    Patience { client: usize, request: u64 },
    /// An answer reaches the client that asked.
    Response { request: u64, response: Response },
    /// The next fault strikes.
    Fault,
    /// A fault ends.
    Relief(Relief),
    /// Whoever runs the cluster looks at it.
    Operator,
    /// Slow checks.
    Inspection,
    /// Chaos ends.
    Heal,
}

#[derive(Debug, Clone)]
pub(crate) enum Relief {
    /// These connections work again.
    Links(Vec<(u64, u64)>),
    /// The disk is as fast, and as large, as before.
    Disk { node: u64 },
    /// A paused node goes on.
    Pause { node: u64 },
}

#[derive(Debug)]
pub(crate) enum Happening {
    /// Something of a shard is due, or consensus ticks.
    Wake,
    /// The runner ends its turn.
    Turn,
    Peer {
        shard: u16,
        bytes: Bytes,
    },
    Request(Request),
    Cancel {
        request: u64,
    },
    /// Another node asks this one something.
    Asked {
        caller: Caller,
        request: PeerRequest,
    },
    /// The other node does not wait for an answer any more.
    Unasked {
        caller: Caller,
    },
    Answered {
        number: u64,
        response: PeerResponse,
    },
    /// The connection to the node that was asked has broken.
    PeerLost {
        number: u64,
    },
    /// The connection to a node that was asked is looked at.
    LookAt {
        number: u64,
    },
    /// A task has slept long enough.
    Slept(oneshot::Sender<()>),
    ReadBodies(Reading),
    /// The writer's batch is done.
    Written,
    /// The writer tries again after there was no space.
    WriteAgain,
    Fetch(Fetching),
    /// Bodies are read from the disk.
    Deliver {
        ticket: u64,
        leases: Leases,
    },
    Maintain,
    /// What maintenance has begun is written.
    MaintainEnd,
    /// What was found of segments is acted on.
    SweepEnd,
    /// A wound is to be mended with what others gave.
    Mend {
        shard: ShardId,
        wound: Wound,
        given: Given,
    },
    /// Another node cannot read these entries.
    EntriesAsked {
        from: u64,
        number: u64,
        shard: ShardId,
        indexes: Vec<u64>,
    },
    /// What a node has of them; nothing also if it does not answer.
    EntriesGiven {
        number: u64,
        entries: Vec<Stored>,
    },
    Offer {
        shard: ShardId,
    },
    OfferEnd {
        shard: ShardId,
    },
    Copy {
        from: u64,
        transfer: u64,
        ask: CopyAsk,
    },
    Told {
        transfer: u64,
        told: CopyAnswer,
    },
    CopyLate {
        transfer: u64,
        attempt: u64,
    },
    Deferred(Deferred),
    /// What could not be done with a shard is tried again.
    TryAgain {
        shard: ShardId,
    },
    /// The node says how it is, and decides if it has to.
    Report,
    /// The same at once, without deciding.
    ReportUrgently,
    /// What another node says of itself.
    Heard {
        report: NodeReport,
    },
    /// Another node wants to connect.
    Dialled {
        visitor: Visitor,
        from_life: u64,
    },
    /// Another node does not let this one in.
    TurnedAway {
        stranger: Stranger,
    },
    /// The catalog is told of the node's start.
    Register,
    Order {
        order: Order,
    },
    /// The process is to end soon.
    Leave,
}

/// Who waits for an answer of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) node: u64,
    /// Of its process.
    pub(crate) life: u64,
    /// Counts what that process asks.
    pub(crate) number: u64,
}

/// A receive of which nobody knows what became.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LostReceive {
    pub(crate) queue: QueueId,
    pub(crate) max: u32,
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

/// Bodies that a task needs.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) shard: ShardId,
    pub(crate) messages: Vec<Sequence>,
    pub(crate) bytes_max: usize,
    pub(crate) responder: oneshot::Sender<Vec<Bytes>>,
}

#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) shard: ShardId,
    pub(crate) request: u64,
    pub(crate) range: Range<u64>,
    pub(crate) bytes_max: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum CopyAsk {
    Begin {
        shard: ShardId,
        offer: Offer,
    },
    Chunk {
        shard: ShardId,
        file: ExportedFile,
        offset: u64,
        bytes: Bytes,
    },
    End {
        shard: ShardId,
        message: Bytes,
    },
}

/// A client's request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) shard: u16,
    pub(crate) ask: Ask,
}

#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Propose(Encoded),
    Receive {
        queue: QueueId,
        max: u32,
        wait: Millis,
    },
    Read(Query),
    /// A change of the catalog and then of a home.
    Change(Box<Command>),
    /// A place for a node whose program can read so much.
    Join {
        add: Box<Command>,
        knows: ClusterVersion,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Response {
    Reply(Reply),
    Messages(Vec<ReceivedMessage>),
    Answer(Answer),
    Admitted(Box<Admission>),
    /// The program cannot read what this cluster writes.
    TooOld,
    Refused(Error),
}

/// Everything that is still to happen, in the order of its time; at one moment in the order it was
/// put in.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Item>,
    counted: u64,
}

#[derive(Debug)]
struct Item {
    at: Micros,
    number: u64,
    event: Event,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Micros, event: Event) {
        self.counted += 1;
        self.heap.push(Item {
            at,
            number: self.counted,
            event,
        });
    }

    pub(crate) fn next(&mut self) -> Option<(Micros, Event)> {
        self.heap.pop().map(|item| (item.at, item.event))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}
