//! What a node is told at its start.

use std::path::PathBuf;

use anser_broker::time::Millis;

use crate::cluster::ClusterConfig;

/// Sizes and places. The defaults fit a laptop and a small server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of this node's data; made if missing.
    pub data: PathBuf,
    /// Shards of a fresh cluster, 1 to 1024; an existing one keeps its number.
    pub shards: u16,
    /// Threads that own the shards.
    pub runners: usize,
    /// Size of one write-ahead log file.
    pub wal_file_bytes: u64,
    /// Write-ahead log files in use before the oldest are recycled.
    pub wal_budget_bytes: u64,
    /// Size at which a segment is sealed.
    pub segment_bytes: u64,
    /// Recent entries held in memory, over all runners.
    pub cache_bytes: usize,
    /// Sends are refused while the disk has less free space than this.
    pub reserve_bytes: u64,
    /// Bytes of requests under way in one shard; beyond it requests are refused as too busy.
    pub in_flight_bytes: u64,
    /// Requests of clients under way, receives apart: at least so many, or as many as were answered in the last second;
    /// beyond it requests are refused as too busy.
    pub in_flight_requests: usize,
    /// At most so much of the time that the node was off, as its wall clock tells it at the start, counts for the
    /// delays, leases and retentions of shards that it decides alone.
    pub time_off_max: Millis,
    /// `None`: a node for itself.
    pub cluster: Option<ClusterConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            shards: 16,
            runners: std::thread::available_parallelism().map_or(1, usize::from),
            wal_file_bytes: 32 << 20,
            wal_budget_bytes: 512 << 20,
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            reserve_bytes: 512 << 20,
            in_flight_bytes: 64 << 20,
            in_flight_requests: 2_000,
            time_off_max: Millis::from_seconds(6 * 3_600),
            cluster: None,
        }
    }
}
