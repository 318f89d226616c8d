//! What a node is told and tells of the cluster it belongs to.

pub(crate) mod controller;
pub(crate) mod copies;
pub(crate) mod entries;
pub(crate) mod identity;
pub(crate) mod intake;
pub(crate) mod join;
pub(crate) mod members;
pub(crate) mod part;
pub(crate) mod peers;
pub(crate) mod reports;
pub(crate) mod seeking;
pub(crate) mod shared;
pub(crate) mod status;
pub(crate) mod taking_part;
pub(crate) mod upgrade;
pub(crate) mod words;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anser_broker::version::ClusterVersion;
use serde::Serialize;

/// How a node takes part in a cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// How other nodes reach it, as `HOST:PORT`; what it listens on, if `None`.
    pub advertise: Option<String>,
    /// The cluster's token, at least 16 bytes: who has it may join and speak.
    pub token: Vec<u8>,
    /// Nodes to ask for a place in their cluster, as `HOST:PORT`. A node that has a place, as one has that was made the
    /// first by [`form`], looks there only for nodes that it does not reach.
    pub join: Vec<String>,
    /// The machine it runs on: copies of a shard go to different ones.
    pub host: String,
    /// Where that machine stands: copies go to different zones if there are enough.
    pub zone: String,
    /// Copies of each shard, 1 to 5 and odd.
    pub replicas: usize,
    /// How long a node may be silent before its copies are made again elsewhere.
    pub grace: Duration,
    /// How fast one node sends copies of shards to others, in bytes a second.
    pub copy_bytes_per_second: u64,
    /// Copies that may be on their way at once in the whole cluster.
    pub moves_max: usize,
    /// Lets replicas vote although the log's end may be damaged: for a cluster that cannot elect anybody
    /// after a power failure of most of its nodes.
    pub trust_log: bool,
    /// The highest version of the cluster that this node says it can read, so that its program can be
    /// taken back; `None`: all that it can. A cluster that works at a higher one does not take it.
    pub version_at_most: Option<u32>,
    /// Certificates; without them nodes prove only that they have the token, and nothing is encrypted.
    pub tls: Option<TlsFiles>,
}

impl ClusterConfig {
    /// The highest version of the cluster that this node can read, or may.
    pub(crate) fn knows(&self) -> ClusterVersion {
        let latest = ClusterVersion::LATEST;
        let bound = self.version_at_most.map(ClusterVersion);
        bound.map_or(latest, |bound| bound.min(latest))
    }
}

/// Files in PEM form for mutual TLS between nodes.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub roots: PathBuf,
    /// The name that every node's certificate has.
    pub name: String,
}

/// The cluster as one node sees it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClusterStatus {
    /// In hexadecimal; `None` for a node that is in no cluster.
    pub cluster: Option<String>,
    /// The node that says so.
    pub node: u64,
    /// What every node can read, and what may be used because of that.
    pub version: u32,
    /// The nodes that keep the version from rising to what others can read.
    pub held_back_by: Vec<u64>,
    pub nodes: Vec<NodeStatus>,
    pub shards: Vec<ShardPlacement>,
    /// Shards of which replicas have made different states of one log.
    pub differences: Vec<Damage>,
    pub moves: Vec<Move>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct NodeStatus {
    pub node: u64,
    pub address: String,
    pub host: String,
    pub zone: String,
    /// `active`, `draining` or `removed`.
    pub state: &'static str,
    /// Whether it has been heard lately.
    pub up: bool,
    pub heard_millis_ago: Option<u64>,
    /// The highest version of the cluster that it says it can read; `None` if it was not heard.
    pub version: Option<u32>,
    pub replicas: usize,
    pub leaders: usize,
    pub data_bytes: u64,
    pub free_bytes: u64,
    /// Mean duration of its recent syncs.
    pub sync_micros: u64,
    /// What is damaged on its disk, until it is replaced by copies of other nodes.
    pub damaged: Vec<Damage>,
}

/// Something on a node's disk that cannot be read, or is not what was written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Damage {
    pub shard: u16,
    /// The file, the place in it, and what is wrong there.
    pub what: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct ShardPlacement {
    pub shard: u16,
    pub leader: Option<u64>,
    pub term: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// A change of voters is under way.
    pub joint: bool,
    pub replicas: Vec<ReplicaPlacement>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct ReplicaPlacement {
    pub node: u64,
    /// Entries it is behind its leader.
    pub lag: u64,
    pub bytes: u64,
    /// Whether its leader hears from it.
    pub active: bool,
}

/// A copy on its way, or a step that is about to be taken.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Move {
    pub shard: u16,
    pub what: String,
    pub why: String,
}
