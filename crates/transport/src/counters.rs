//! What a transport counts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::error::Refusal;

/// Counters since the start, read while things go on: they need not agree to the unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// By node: of the connection dialled to it and the one that came from it together.
    pub peers: BTreeMap<u64, PeerStatistics>,
    /// Connections that were accepted by the listener, whatever came of them.
    pub accepted: u64,
    /// Connections that ended because too many had not yet proved anything.
    pub crowded_out: u64,
    /// Connections that ended without a whole handshake.
    pub strangers: u64,
    /// Diallers that were told why not, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

/// What passed between this node and one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatistics {
    pub connected: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub frames_in: u64,
    pub frames_out: u64,
    /// How often the dialled connection came up.
    pub connects: u64,
    /// How often a dial failed.
    pub failed_dials: u64,
    /// Messages and requests that did not fit into the queue.
    pub refused: u64,
    /// Bytes that wait for the peer, with 64 more for each frame.
    pub waiting_bytes: u64,
    /// Why the peer refused the last dial, if it did.
    pub refusal: Option<Refusal>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) frames_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) failed_dials: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) refusal: Mutex<Option<Refusal>>,
}

/// The counters of every node that was ever known here.
#[derive(Debug, Default)]
pub(crate) struct AllCounters {
    peers: Mutex<BTreeMap<u64, Arc<Counters>>>,
    pub(crate) accepted: AtomicU64,
    pub(crate) crowded_out: AtomicU64,
    pub(crate) strangers: AtomicU64,
    refused: Mutex<BTreeMap<Refusal, u64>>,
}

impl Counters {
    pub(crate) fn set_refusal(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    fn read(&self) -> PeerStatistics {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerStatistics {
            bytes_in: count(&self.bytes_in),
            bytes_out: count(&self.bytes_out),
            frames_in: count(&self.frames_in),
            frames_out: count(&self.frames_out),
            connects: count(&self.connects),
            failed_dials: count(&self.failed_dials),
            refused: count(&self.refused),
            refusal: *self.refusal.lock().unwrap_or_else(PoisonError::into_inner),
            ..PeerStatistics::default()
        }
    }
}

impl AllCounters {
    pub(crate) fn of(&self, node: u64) -> Arc<Counters> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(peers.entry(node).or_default())
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(refusal).or_default() += 1;
    }

    pub(crate) fn read(&self) -> Statistics {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        Statistics {
            peers: peers
                .iter()
                .map(|(node, counters)| (*node, counters.read()))
                .collect(),
            accepted: count(&self.accepted),
            crowded_out: count(&self.crowded_out),
            strangers: count(&self.strangers),
            refused: self
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}
