//! What can be seen of a running node from outside.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use anser_broker::shard::Totals;

/// Upper bounds, in microseconds, of the buckets of [`Status::sync_micros`].
pub const SYNC_BUCKETS_MICROS: [u64; 12] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000,
];

/// What moments are counted from.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A node at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Every shard is served: here, or in a cluster by a node that is known.
    pub ready: bool,
    /// Why the node is about to stop.
    pub failure: Option<String>,
    pub shards: Vec<ShardStatus>,
    pub wal_bytes: u64,
    pub segment_bytes: u64,
    pub free_bytes: u64,
    /// Sends are refused because the disk is nearly full.
    pub storage_full: bool,
    pub syncs: u64,
    /// Syncs by duration: one count per bucket of [`SYNC_BUCKETS_MICROS`], then those beyond.
    pub sync_micros: Vec<u64>,
    pub sync_micros_sum: u64,
    pub appended_entries: u64,
    pub appended_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub snapshots: u64,
    /// Bytes copied from the write-ahead log to segments.
    pub kept_bytes: u64,
    /// Bytes of segments, snapshots and log files that the scrub has verified, counted again each time round.
    pub scrubbed_bytes: u64,
    /// Damaged places the scrub has met, counted again each time round.
    pub scrub_errors: u64,
    /// Damaged places that were mended with what other nodes have.
    pub mended: u64,
    /// Reads of bodies that failed: data that cannot be served.
    pub body_errors: u64,
    /// Bytes of copies of shards that came from other nodes.
    pub copied_bytes: u64,
    pub copies: CopyStatus,
    /// How often log files were used again although a follower still needed them.
    pub holds_lost: u64,
    /// Attempts of the background work that failed and will be repeated.
    pub maintenance_errors: u64,
    /// Shards of which replicas have made different states of one log, as far as this node has heard.
    pub differing_shards: u64,
    /// Copies of shards, of any nodes, that had to be replaced so often that they are not any more, as this node has heard.
    pub copies_given_up: u64,
}

/// Copies of shards between nodes, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyStatus {
    /// Begun to be sent to other nodes.
    pub begun: u64,
    /// Sent as a whole.
    pub sent: u64,
    /// Given up by the sender.
    pub failed: u64,
    /// Bytes sent, again for each attempt.
    pub sent_bytes: u64,
    /// Taken in from other nodes and made part of the log here.
    pub installed: u64,
    /// Broken off, and gone on with what had arrived when a newer one came.
    pub renewed: u64,
}

#[derive(Debug, Clone, Default)]
pub struct ShardStatus {
    pub shard: u16,
    /// Whether this node's replica leads and serves it.
    pub serves: bool,
    /// Something of it on this disk cannot be read, or is not what was written; it is to be replaced.
    pub damaged: bool,
    /// It was not opened at the start: this node has no replica of it that could answer.
    pub closed: bool,
    pub applied: u64,
    /// All its queues together.
    pub totals: Totals,
    /// How far the other replicas are behind; only a leader that serves knows.
    pub lags: Vec<PeerLag>,
}

/// How many entries of the leader's log a replica does not have on its disk, as far as the leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLag {
    pub node: u64,
    pub entries: u64,
}

/// Counters that the node's threads write.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) storage_full: AtomicBool,
    /// Bytes of what came from peers and waits for a runner, and of entries that wait for the writer.
    pub(crate) unwritten_bytes: AtomicU64,
    /// When the write under way began, in microseconds of the node's life; 0: none is.
    pub(crate) writing_since: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_buckets: [AtomicU64; SYNC_BUCKETS_MICROS.len() + 1],
    pub(crate) sync_micros_sum: AtomicU64,
    pub(crate) appended_entries: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) kept_bytes: AtomicU64,
    pub(crate) scrubbed_bytes: AtomicU64,
    pub(crate) scrub_errors: AtomicU64,
    pub(crate) mended: AtomicU64,
    pub(crate) body_errors: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) copies: CopyCounters,
    pub(crate) holds_lost: AtomicU64,
    pub(crate) maintenance_errors: AtomicU64,
    pub(crate) differing_shards: AtomicU64,
    pub(crate) copies_given_up: AtomicU64,
}

/// As [`CopyStatus`].
#[derive(Debug, Default)]
pub(crate) struct CopyCounters {
    pub(crate) begun: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) installed: AtomicU64,
    pub(crate) renewed: AtomicU64,
}

impl CopyCounters {
    pub(crate) fn status(&self) -> CopyStatus {
        CopyStatus {
            begun: read(&self.begun),
            sent: read(&self.sent),
            failed: read(&self.failed),
            sent_bytes: read(&self.sent_bytes),
            installed: read(&self.installed),
            renewed: read(&self.renewed),
        }
    }
}

impl Counters {
    /// Whether the disk is so full that what is left of it is for what frees some.
    pub(crate) fn is_full(&self) -> bool {
        self.storage_full.load(Ordering::Relaxed)
    }

    pub(crate) fn write_begins(&self, at: Instant) {
        let since = at.saturating_duration_since(*BEGINNING).as_micros();
        let since = u64::try_from(since).unwrap_or(u64::MAX).max(1);
        self.writing_since.store(since, Ordering::Relaxed);
    }

    pub(crate) fn write_ends(&self) {
        self.writing_since.store(0, Ordering::Relaxed);
    }

    /// How long the write under way has taken, if one is.
    pub(crate) fn write_age_micros(&self) -> u64 {
        match self.writing_since.load(Ordering::Relaxed) {
            0 => 0,
            since => {
                let now = u64::try_from(BEGINNING.elapsed().as_micros()).unwrap_or(u64::MAX);
                now.saturating_sub(since)
            }
        }
    }

    pub(crate) fn synced(&self, micros: u64) {
        let bucket = SYNC_BUCKETS_MICROS
            .iter()
            .position(|&bound| micros <= bound);
        add(
            &self.sync_buckets[bucket.unwrap_or(SYNC_BUCKETS_MICROS.len())],
            1,
        );
        add(&self.sync_micros_sum, micros);
        add(&self.syncs, 1);
    }
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
