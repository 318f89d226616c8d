//! What nodes say to each other, inside the frames of the transport.
//!
//! Messages of consensus have an encoding of their own (`docs/formats/peer-messages.md`), many in one
//! frame. The rest is `postcard` of the types below, in which a field is its place and a variant its number.
//! Nodes of different programs talk to each other while a cluster is upgraded, so:
//!
//! - a new variant goes to the end, and is said only to a node that can read it: at a version of the cluster
//!   at which all can, or in answer to what only such a node asks. An older program answers a question that it does not know
//!   with [`Told::Unintelligible`], so one that may be asked in vain needs no version;
//! - what a note, a request or an answer has to say more follows its bytes, as [`Trailing`] has it: older
//!   programs do not read on, and newer ones take what is not there to be what it was before;
//! - nothing else about these types changes.

use anser_broker::{
    codec::Encoded,
    command::{Answer, NodeStart, Placed, Query, Reply},
    error::Error,
    id::{NodeId, QueueId, ShardId, SubscriptionId},
    op::{DeliveryFailure, ReceivedMessage},
    time::Millis,
    version::ClusterVersion,
};
use anser_host::{Mark, NodeReport, Order, PeerRequest, PeerResponse};
use anser_replica::ReceiveRequest;
use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};

use crate::event::{Request, Response};

const CONSENSUS: u8 = 1;
const REPORT: u8 = 2;
const SHARED: u8 = 3;
const ORDER: u8 = 4;

/// What needs no answer.
#[derive(Debug)]
pub(crate) enum Note {
    /// Messages of consensus: to which shard, and its bytes.
    Consensus(Vec<(ShardId, Bytes)>),
    Report(NodeReport),
    /// What every node has to know of the newest revision.
    Shared {
        revision: u64,
        bytes: Bytes,
    },
    Order(Order),
}

/// Many messages of consensus in one frame.
#[derive(Debug, Default)]
pub(crate) struct ConsensusFrame(Vec<u8>);

impl ConsensusFrame {
    pub(crate) fn push(&mut self, shard: ShardId, write: impl FnOnce(&mut Vec<u8>)) {
        if self.0.is_empty() {
            self.0.push(CONSENSUS);
        }
        self.0.put_u16_le(shard.0);
        let length_at = self.0.len();
        self.0.put_u32_le(0);
        write(&mut self.0);
        let length = u32::try_from(self.0.len() - length_at - 4).expect("less than a frame");
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

impl Note {
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Consensus(messages) => {
                let mut frame = ConsensusFrame::default();
                for (shard, bytes) in messages {
                    frame.push(*shard, |out| out.extend_from_slice(bytes));
                }
                frame.take()
            }
            Self::Report(report) => {
                let version = Trailing::of(report.knows);
                let replicas = report.replicas.iter();
                let marks: Vec<&[Mark]> = replicas.map(|replica| &replica.marks[..]).collect();
                let more = (report.leaves, &report.damaged, report.unfit, marks);
                tagged(REPORT, &(report, version, more))
            }
            Self::Shared { revision, bytes } => {
                let mut out = vec![SHARED];
                out.put_u64_le(*revision);
                out.extend_from_slice(bytes);
                out.into()
            }
            Self::Order(order) => tagged(ORDER, order),
        }
    }

    /// `None` for bytes that no node of this version sends.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let tag = bytes.try_get_u8().ok()?;
        match tag {
            CONSENSUS => {
                let mut messages = Vec::new();
                while bytes.has_remaining() {
                    let shard = ShardId(bytes.try_get_u16_le().ok()?);
                    let length = bytes.try_get_u32_le().ok()? as usize;
                    if length > bytes.len() {
                        return None;
                    }
                    messages.push((shard, bytes.split_to(length)));
                }
                Some(Self::Consensus(messages))
            }
            REPORT => {
                let (mut report, rest) = postcard::take_from_bytes::<NodeReport>(&bytes).ok()?;
                let (trailing, rest) = Trailing::take(rest)?;
                report.knows = trailing.version;
                let (leaves, rest) = trailing_or_default(rest)?;
                let (damaged, rest) = trailing_or_default(rest)?;
                let (unfit, rest) = trailing_or_default(rest)?;
                (report.leaves, report.damaged, report.unfit) = (leaves, damaged, unfit);
                let (marks, _) = trailing_or_default::<Vec<Vec<Mark>>>(rest)?;
                for (replica, marks) in report.replicas.iter_mut().zip(marks) {
                    replica.marks = marks;
                }
                Some(Self::Report(report))
            }
            SHARED => {
                let revision = bytes.try_get_u64_le().ok()?;
                Some(Self::Shared { revision, bytes })
            }
            ORDER => postcard::from_bytes(&bytes).ok().map(Self::Order),
            _ => None,
        }
    }
}

/// What came with version 2 of the cluster, behind what was there before. What comes later follows it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Trailing {
    version: ClusterVersion,
}

impl Trailing {
    fn of(version: ClusterVersion) -> Self {
        Self { version }
    }

    /// `None` for bytes that are no such thing.
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::take(bytes).map(|(trailing, _)| trailing)
    }

    /// As [`Trailing::read`], with what follows it.
    fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        if bytes.is_empty() {
            return Some((Self::default(), bytes));
        }
        postcard::take_from_bytes(bytes).ok()
    }
}

/// What follows in the bytes of programs that say it.
fn trailing_or_default<'a, T: Default + Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    if bytes.is_empty() {
        return Some((T::default(), bytes));
    }
    postcard::take_from_bytes(bytes).ok()
}

fn tagged(tag: u8, value: &impl Serialize) -> Bytes {
    let out = postcard::to_extend(value, vec![tag]);
    out.expect("words have no shape that cannot be written")
        .into()
}

/// What a node asks another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A request of a client or of the node, for a shard that the other is said to lead.
    Shard {
        shard: u16,
        request: Forwarded,
    },
    /// A change of the catalog and of a home, to be carried through by the catalog's leader.
    Change {
        command: Bytes,
    },
    /// To the catalog's leader: the index from which a copy knows all that was acknowledged.
    CatalogIndex,
    /// Answered when the other's copy of the catalog has come so far.
    CatalogReached {
        index: u64,
    },
    /// A place in the cluster.
    Join(Join),
    Copy(CopyAsk),
    /// The last failed pushes of a subscription whose pusher is the other's.
    Failures {
        subscription: SubscriptionId,
    },
    /// What the other has of entries of a shard that are applied there: the asker's own are damaged.
    Entries {
        shard: u16,
        indexes: Vec<u64>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Forwarded {
    Propose(Bytes),
    Receive {
        queue: QueueId,
        max: u32,
        visibility: Option<Millis>,
        wait: Option<Millis>,
    },
    Read(Query),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) incarnation: [u8; 16],
    pub(crate) start: NodeStart,
    pub(crate) address: String,
    pub(crate) host: String,
    pub(crate) zone: String,
    /// The highest version of the cluster that the node can read; trails the request.
    #[serde(skip)]
    pub(crate) knows: ClusterVersion,
}

/// A copy of a shard on its way to the node that is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CopyAsk {
    /// What is to come; answered with what is missing of it.
    Begin { shard: u16, offer: Offer },
    Chunk {
        shard: u16,
        file: CopyFile,
        offset: u64,
        bytes: Bytes,
    },
    /// All is there: the message of consensus that makes the replica take it.
    End { shard: u16, message: Bytes },
}

impl CopyAsk {
    pub(crate) fn shard(&self) -> ShardId {
        let (Self::Begin { shard, .. } | Self::Chunk { shard, .. } | Self::End { shard, .. }) =
            self;
        ShardId(*shard)
    }
}

/// A snapshot and the segments that belong to it, as they are on the sender's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) snapshot: OfferedSnapshot,
    pub(crate) segments: Vec<OfferedSegment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferedSnapshot {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) bytes: u64,
    pub(crate) id: u64,
    pub(crate) checksum: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferedSegment {
    pub(crate) id: u64,
    pub(crate) first_index: u64,
    pub(crate) last_index: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CopyFile {
    Snapshot,
    Segment(u64),
}

/// What a node answers another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    Reply(Reply),
    Answer(Answer),
    Messages(Vec<ReceivedMessage>),
    Refused(Error),
    /// Nothing has happened: this node does not lead the shard.
    NotLeader,
    Placed(Placed),
    CatalogIndex(u64),
    Reached,
    Joined {
        cluster: [u8; 16],
        node: NodeId,
        shards: u16,
        peers: Vec<JoinedPeer>,
        /// At which the cluster works; trails the answer.
        #[serde(skip)]
        version: ClusterVersion,
    },
    /// Where the copy goes on; `None`: all is there.
    CopyMissing(Option<(CopyFile, u64)>),
    CopyRefused(String),
    /// The other does not know these words.
    Unintelligible,
    Failures(Vec<DeliveryFailure>),
    /// To who joins: the cluster works at this version, which the node cannot read.
    WorksAt(ClusterVersion),
    /// Of the entries that were asked for, the first ones that are here, up to some bytes.
    Entries(Vec<GivenEntry>),
}

/// An entry, or what was kept of it, on the disk of the node that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GivenEntry {
    Whole {
        index: u64,
        term: u64,
        kind: GivenKind,
        data: Bytes,
    },
    Kept {
        index: u64,
        term: u64,
        payload: Bytes,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GivenKind {
    Normal,
    Change,
    ChangeV2,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JoinedPeer {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    pub(crate) incarnation: [u8; 16],
}

impl Ask {
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Join(join) => spoken(&(self, Trailing::of(join.knows))),
            other => spoken(other),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut ask, rest) = postcard::take_from_bytes(bytes).ok()?;
        if let Self::Join(join) = &mut ask {
            join.knows = Trailing::read(rest)?.version;
        }
        Some(ask)
    }
}

fn spoken(words: &impl Serialize) -> Bytes {
    let out = postcard::to_stdvec(words);
    out.expect("words have no shape that cannot be written")
        .into()
}

impl Told {
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Joined { version, .. } => spoken(&(self, Trailing::of(*version))),
            other => spoken(other),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut told, rest) = postcard::take_from_bytes(bytes).ok()?;
        if let Self::Joined { version, .. } = &mut told {
            *version = Trailing::read(rest)?.version;
        }
        Some(told)
    }
}

impl From<Request> for Forwarded {
    fn from(request: Request) -> Self {
        match request {
            Request::Propose(command) => Self::Propose(command.bytes),
            Request::Receive(receive) => Self::Receive {
                queue: receive.queue,
                max: receive.max,
                visibility: receive.visibility,
                wait: receive.wait,
            },
            Request::Read(query) => Self::Read(query),
        }
    }
}

impl Forwarded {
    /// `None` for a command that cannot be read.
    pub(crate) fn open(self) -> Option<Request> {
        Some(match self {
            Forwarded::Propose(command) => Request::Propose(Encoded::from_bytes(command).ok()?),
            Forwarded::Receive {
                queue,
                max,
                visibility,
                wait,
            } => Request::Receive(ReceiveRequest {
                queue,
                max,
                visibility,
                wait,
            }),
            Forwarded::Read(query) => Request::Read(query),
        })
    }
}

impl From<PeerRequest> for Ask {
    fn from(request: PeerRequest) -> Self {
        match request {
            PeerRequest::Shard { shard, request } => Self::Shard {
                shard: shard.0,
                request: Forwarded::from(request),
            },
            PeerRequest::Change { command } => Self::Change { command },
            PeerRequest::CatalogIndex => Self::CatalogIndex,
            PeerRequest::CatalogReached { index } => Self::CatalogReached { index },
        }
    }
}

impl From<PeerResponse> for Told {
    fn from(response: PeerResponse) -> Self {
        match response {
            PeerResponse::Shard(Response::Reply(reply)) => Self::Reply(reply),
            PeerResponse::Shard(Response::Answer(answer)) => Self::Answer(answer),
            PeerResponse::Shard(Response::Messages(messages)) => Self::Messages(messages),
            PeerResponse::Change(placed) => Self::Placed(placed),
            PeerResponse::CatalogIndex(index) => Self::CatalogIndex(index),
            PeerResponse::CatalogReached => Self::Reached,
            PeerResponse::Refused(error) => Self::Refused(error),
            PeerResponse::NotDone => Self::NotLeader,
        }
    }
}

impl From<Told> for PeerResponse {
    fn from(told: Told) -> Self {
        match told {
            Told::Reply(reply) => Self::Shard(Response::Reply(reply)),
            Told::Answer(answer) => Self::Shard(Response::Answer(answer)),
            Told::Messages(messages) => Self::Shard(Response::Messages(messages)),
            Told::Placed(placed) => Self::Change(placed),
            Told::CatalogIndex(index) => Self::CatalogIndex(index),
            Told::Reached => Self::CatalogReached,
            Told::Refused(error) => Self::Refused(error),
            // Whoever does not know these words does nothing either.
            _ => Self::NotDone,
        }
    }
}

#[cfg(test)]
mod tests;
