//! A runner's part in the cluster: whom it speaks to and what it needs for that.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use anser_broker::id::ShardId;
use anser_replica::PeerMessage;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    cluster::{copies::Copies, entries::Asking, peers::Cluster, words::ConsensusFrame},
    maintenance::Chore,
};

/// Bytes of messages that go into one frame before it is sent.
const FRAME_BYTES: usize = 1 << 20;

pub(crate) struct Member {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) copies: Copies,
    pub(crate) chores: mpsc::Sender<Chore>,
    pub(crate) questions: UnboundedSender<Asking>,
    frames: BTreeMap<u64, ConsensusFrame>,
    /// Those that did not take a frame since the last flush.
    refused: Vec<u64>,
    /// What this node's copy of the catalog has applied in this turn.
    pub(crate) catalog_applied: Option<u64>,
}

impl Member {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        copies: Copies,
        chores: mpsc::Sender<Chore>,
        questions: UnboundedSender<Asking>,
    ) -> Self {
        Self {
            cluster,
            copies,
            chores,
            questions,
            frames: BTreeMap::new(),
            refused: Vec::new(),
            catalog_applied: None,
        }
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
}
