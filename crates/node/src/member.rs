//! A runner's part in the cluster: whom it speaks to and what it needs for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anser_broker::{id::ShardId, shard::Shard, time::Timestamp};
use anser_host::ShardTime;
use anser_replica::{Membership, PeerMessage, Place, Replica, Start};
use tracing::warn;

use crate::{
    clock::Clock,
    cluster::{copies::Copies, identity, peers::Cluster, words::ConsensusFrame},
    maintenance::Chore,
    runner::Hosted,
};

/// Bytes of messages that go into one frame before it is sent.
const FRAME_BYTES: usize = 1 << 20;
/// How long not to repeat that a node cannot be reached.
const UNREACHABLE_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Member {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) copies: Copies,
    pub(crate) chores: mpsc::Sender<Chore>,
    frames: BTreeMap<u64, ConsensusFrame>,
    /// Those that did not take a frame since the last flush.
    refused: Vec<u64>,
    said_unreachable: BTreeMap<u64, Instant>,
    /// Shards that are being taken off the disk.
    pub(crate) forgetting: BTreeSet<ShardId>,
    /// What this node's copy of the catalog has applied in this turn.
    pub(crate) catalog_applied: Option<u64>,
}

impl Member {
    pub(crate) fn new(cluster: Arc<Cluster>, copies: Copies, chores: mpsc::Sender<Chore>) -> Self {
        Self {
            cluster,
            copies,
            chores,
            frames: BTreeMap::new(),
            refused: Vec::new(),
            said_unreachable: BTreeMap::new(),
            forgetting: BTreeSet::new(),
            catalog_applied: None,
        }
    }

    /// A replica that knows nothing, for a shard that the cluster has.
    pub(crate) fn empty_replica(&self, shard: ShardId, clock: &Clock) -> Option<Hosted> {
        if shard.0 >= self.cluster.shards || self.forgetting.contains(&shard) {
            return None;
        }
        // Another run than that of any replica of the shard before: the leader must begin anew with it.
        let jitter = identity::draw_run()
            .inspect_err(|error| warn!(%error, "no random bytes for a new replica"))
            .ok()?;
        let replica = Replica::new(Start {
            node: self.cluster.node,
            term: 0,
            vote: 0,
            applied: Place { index: 0, term: 0 },
            membership: Membership::default(),
            shard: Shard::new(shard, self.cluster.shards),
            entries: Vec::new(),
            jitter,
            log_first: 1,
            terms: Vec::new(),
            suspect: false,
        });
        let time = ShardTime::of_others(Timestamp(0), &clock.now());
        Some(Hosted { replica, time })
    }

    /// Puts a message into the frame for its node.
    pub(crate) fn put(&mut self, to: u64, shard: ShardId, message: &PeerMessage) {
        let frame = self.frames.entry(to).or_default();
        frame.push(shard, |out| message.encode(out));
        if frame.len() >= FRAME_BYTES {
            let bytes = frame.take();
            if !self.cluster.send(to, bytes) {
                self.refused.push(to);
            }
        }
    }

    /// Sends all frames; the nodes that did not take theirs.
    pub(crate) fn flush(&mut self) -> Vec<u64> {
        let mut refused = std::mem::take(&mut self.refused);
        for (&to, frame) in &mut self.frames {
            if frame.len() > 0 && !self.cluster.send(to, frame.take()) {
                refused.push(to);
            }
        }
        refused.dedup();
        refused
    }

    pub(crate) fn may_say_unreachable(&mut self, node: u64, now: Instant) -> bool {
        let said = self.said_unreachable.get(&node);
        let may = said.is_none_or(|&said| now >= said + UNREACHABLE_INTERVAL);
        if may {
            self.said_unreachable.insert(node, now);
        }
        may
    }

    /// A replica that may have lost something knows again what the others know.
    pub(crate) fn cleared(&self, shard: ShardId) {
        self.cluster.cleared(shard);
    }
}
