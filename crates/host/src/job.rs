//! What a node's shards want done: data, which the shell gives to threads or to a simulated world.

use std::ops::Range;

use anser_broker::{
    command::{Delivery, Effect, NodeRecord, Placed},
    error::Error,
    id::{QueueId, ShardId},
    op::ReceivedMessage,
    version::ClusterVersion,
};
use anser_replica::{Failure, Membership, PeerMessage, Place};

use crate::{
    Event, Response,
    mending::{Given, Wound},
    writer,
};

/// `T` is what the shell keeps of whoever asked.
#[derive(Debug)]
pub enum Job<T> {
    /// For the log's writer.
    Write(writer::Job),
    /// The answer to a request.
    Respond {
        asker: T,
        response: Result<Response, Error>,
    },
    /// The answer to a receive. If nobody takes the messages, their leases are given back.
    HandOver {
        asker: T,
        leases: Leases,
        messages: Vec<ReceivedMessage>,
    },
    /// As `HandOver`, once the bodies are read from the disk.
    Deliver { asker: T, leases: Leases },
    /// Entries that a follower is missing and that are in memory no more; then [`crate::Event::Fetched`].
    Fetch {
        shard: ShardId,
        request: u64,
        range: Range<u64>,
        bytes_max: u64,
    },
    /// To the shard's replica on another node.
    Send {
        to: u64,
        shard: ShardId,
        message: PeerMessage,
    },
    /// A copy of the shard is to be held open for others; then [`crate::Event::SnapshotReady`].
    Offer { shard: ShardId },
    /// First the files of the offer at this place, then the message; then [`crate::Event::SnapshotSent`].
    SendCopy {
        shard: ShardId,
        to: u64,
        place: Place,
        message: PeerMessage,
    },
    /// A wound is to be mended with what others have given; then [`crate::Event::Attempted`].
    Mend {
        shard: ShardId,
        wound: Wound,
        given: Given,
    },
    /// Entries that are damaged here are asked for; then [`crate::Event::Given`], soon also if no answer comes.
    AskEntries {
        shard: ShardId,
        wound: Wound,
        to: u64,
        indexes: Vec<u64>,
    },
    /// What was damaged there is whole again.
    Mended { shard: ShardId, wound: Wound },
    /// An entry is part of this replica's state.
    Applied { shard: ShardId, index: u64 },
    /// What the state asks for. A new leader repeats what its predecessor may have left undone.
    Effect { shard: ShardId, effect: Effect },
    /// The nodes of the cluster, or its version, are others now.
    NodesChanged(CatalogNodes),
    /// All that the catalog says is new.
    CatalogReplaced {
        routes: Vec<Placed>,
        nodes: CatalogNodes,
        applied: u64,
    },
    /// The replica leads its shard in this term, or no longer.
    Leadership {
        shard: ShardId,
        term: u64,
        leads: bool,
    },
    /// Who takes part in the shard now.
    Members {
        shard: ShardId,
        membership: Membership,
    },
    /// A replica that knows nothing begins here.
    Began { shard: ShardId },
    /// A copy of the shard is its state now.
    Installed { shard: ShardId, index: u64 },
    /// The replica here may have lost something no longer: it knows again what the others know, or is gone.
    Cleared { shard: ShardId },
    /// The replica cannot go on, and so the node cannot.
    Failed { shard: ShardId, reason: Failure },
}

/// Messages that were leased for a receiver.
#[derive(Debug)]
pub struct Leases {
    pub shard: ShardId,
    pub queue: QueueId,
    pub deliveries: Vec<Delivery>,
}

impl Leases {
    /// Nobody took them.
    pub fn give_back<T>(&self) -> Event<T> {
        let receipts = self.deliveries.iter().map(|delivery| delivery.receipt);
        Event::GiveBack {
            shard: self.shard,
            queue: self.queue,
            receipts: receipts.collect(),
        }
    }
}

/// What the catalog says of the cluster's nodes.
#[derive(Debug)]
pub struct CatalogNodes {
    pub nodes: Vec<NodeRecord>,
    pub version: ClusterVersion,
}
