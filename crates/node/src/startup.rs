//! Which node a data folder is, and its replicas: opens the log and refuses what is not to be served.

use std::{path::Path, sync::Arc};

use anser_broker::{id::ShardId, version::ClusterVersion};
use anser_host::{OpenError, Opener, Restored};
use anser_log::{Disk, FileSystem, Log, Opened, Options, RecoveredShard};
use anser_replica::Replica;
use tracing::{error, info, warn};

use crate::{
    cluster::{
        ClusterConfig,
        identity::{self, Identity},
        join,
    },
    config::Config,
    crashes,
    failure::Failure,
    repair,
    version::{self, TooOld, Versions},
};

/// The log may take this many times its budget while followers need what is in it.
const HELD_BUDGETS: u64 = 4;

/// A node for itself is number one, and so is the first of a cluster.
pub(crate) const FIRST_NODE: u64 = 1;
const SHARDS_MAX: u16 = ShardId::LAST.0 + 1;

/// What is left to whoever has lost the file that says which node a folder is.
const MEMBER_ADVICE: &str = "Restore it from a backup of this folder, if there is one that is as old as the folder's last \
     start. Else the machine joins as a new node: on another node see with `anser cluster status` which number N is gone, \
     run `anser cluster remove N`, then move this folder away and start this node with an empty one";

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {path} cannot be made: {reason}")]
    Folder {
        path: String,
        reason: std::io::Error,
    },
    #[error("{0} shards were asked for, at least 1 and at most {SHARDS_MAX}")]
    Shards(u16),
    #[error("the log cannot be opened")]
    Log(#[from] anser_log::Error),
    #[error("the data folder holds {found} shards numbered up to {last}; some are missing")]
    ShardsMissing { found: usize, last: u16 },
    #[error(transparent)]
    Restore(OpenError),
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error(
        "{FILE}, which says which node this is, cannot be used: {reason}. {MEMBER_ADVICE}",
        FILE = identity::FILE
    )]
    Identity { reason: std::io::Error },
    #[error(
        "{data} holds shards of a cluster{of}, and {FILE}, which says which of its nodes this is, is missing: the log \
         does not say it. {MEMBER_ADVICE}. Do not form a cluster with it: the shards are those of the others too",
        of = of_nodes(nodes),
        FILE = identity::FILE
    )]
    IdentityMissing { data: String, nodes: Vec<u64> },
    #[error(transparent)]
    Version(#[from] TooOld),
    #[error("the data folder is that of a node already")]
    Formed,
    #[error(transparent)]
    LetGo(#[from] Failure),
    #[error(
        "{manifest} is missing, and so the log is gone, with everything that was in it, while {file} says that this is node {node} of a \
         cluster: look whether another disk belongs here. If the data is lost, the machine joins as a new node \
         with an empty data folder, and node {node} is to be removed with `anser cluster remove {node}`",
        manifest = anser_log::MANIFEST
    )]
    LogMissing { file: &'static str, node: u64 },
    #[error("no place in the cluster: {reason}")]
    Join { reason: String },
    #[error("{listen} cannot be listened on for other nodes: {reason}")]
    Listen {
        listen: std::net::SocketAddr,
        reason: std::io::Error,
    },
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Log(error) => Self::Log(error),
            other => Self::Restore(other),
        }
    }
}

impl StartError {
    /// Whether stored data is damaged or missing, so that trying again will not help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::ShardsMissing { .. } | Self::LogMissing { .. } | Self::IdentityMissing { .. } => {
                true
            }
            Self::Restore(error) => {
                matches!(
                    error,
                    OpenError::Snapshot { .. }
                        | OpenError::Replay { .. }
                        | OpenError::Lost { .. }
                        | OpenError::HalfRepaired
                )
            }
            Self::Log(error) => matches!(
                error,
                anser_log::Error::Corrupt { .. }
                    | anser_log::Error::MissingFile { .. }
                    | anser_log::Error::UnknownVersion { .. }
            ),
            Self::Identity { reason } => reason.kind() == std::io::ErrorKind::InvalidData,
            Self::Folder { .. }
            | Self::Shards(_)
            | Self::Thread(_)
            | Self::Version(_)
            | Self::Formed
            | Self::LetGo(_)
            | Self::Join { .. }
            | Self::Listen { .. } => false,
        }
    }
}

impl StartError {
    /// Whether what is damaged is of the log, of snapshots or of segments: all else says what they are, and a repair does
    /// not guess it.
    pub fn can_be_repaired(&self) -> bool {
        match self {
            Self::Log(
                anser_log::Error::Corrupt { file, .. } | anser_log::Error::MissingFile { file },
            ) => file.starts_with("wal/") || file.starts_with("shards/"),
            Self::Restore(_) => self.is_damage(),
            _ => false,
        }
    }

    /// Whether the node was told something impossible, or its data is for a newer program.
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Identity { reason } => reason.kind() == std::io::ErrorKind::Unsupported,
            other => matches!(
                other,
                Self::Shards(_)
                    | Self::Log(anser_log::Error::Option { .. })
                    | Self::Restore(OpenError::Newer { .. })
                    | Self::Version(_)
                    | Self::Formed
                    | Self::Join { .. }
            ),
        }
    }
}

pub(crate) struct Opening {
    pub(crate) log: Opened<FileSystem>,
    pub(crate) restored: Restored,
    /// `None`: a node for itself.
    pub(crate) identity: Option<Identity>,
    /// Shards of the whole cluster.
    pub(crate) shards: u16,
    pub(crate) node: u64,
    /// Names this start: no other of the node has the same.
    pub(crate) run: u64,
    pub(crate) versions: Arc<Versions>,
}

/// Opens the data folder; `address` is how other nodes of a cluster reach this one.
pub(crate) fn open(config: &Config, address: Option<&str>) -> Result<Opening, StartError> {
    if !(1..=SHARDS_MAX).contains(&config.shards) {
        return Err(StartError::Shards(config.shards));
    }
    std::fs::create_dir_all(&config.data).map_err(|reason| StartError::Folder {
        path: config.data.display().to_string(),
        reason,
    })?;
    repair::remove_scratch(&config.data);
    let knows = knows(config);
    check_known(config, knows)?;
    let mut log = open_log(config)?;
    report(&log);
    let mut identity = match (&config.cluster, address) {
        (Some(cluster), Some(address)) => {
            Some(join::identify(&config.data, cluster, address, &log)?)
        }
        _ => refuse_member_alone(config)?,
    };
    let node = identity
        .as_ref()
        .map_or(FIRST_NODE, |identity| identity.node);
    // A member that has begun once may have given all its shards to others since.
    if identity.as_ref().is_none_or(|identity| !identity.has_begun) {
        log = begin(config, log, identity.as_mut())?;
    }
    let shards = if let Some(identity) = &identity {
        identity.shards
    } else {
        check_shards(&log.shards).or_else(|missing| {
            check_is_no_members(&config.data, &log)?;
            Err(missing)
        })?;
        u16::try_from(log.shards.len()).unwrap_or(u16::MAX)
    };
    let trusted = config
        .cluster
        .as_ref()
        .is_none_or(|cluster| cluster.trust_log);
    let suspect = log.report.suspect && !trusted;
    let run = identity::draw_run().map_err(|reason| StartError::Identity { reason })?;
    let opener = Opener {
        node,
        is_member: identity.is_some(),
        shards,
        suspect,
        run,
        given_up: crashes::given_up(&config.data),
        reader: &log.reader,
    };
    let restored = opener.restore_all(&log.shards, &log.report);
    let restored = restored.inspect_err(|error| note_unread(&log, error))?;
    let mut replicas = restored.replicas.iter();
    if identity.is_none() && replicas.any(|(_, replica)| has_others(replica)) {
        check_is_no_members(&config.data, &log)?;
    }
    report_damage(&restored);
    note_closed(config, &log, &restored, suspect)?;
    let replicas = &restored.replicas;
    let versions = versions(replicas, identity.as_ref(), knows)?;
    if !replicas.iter().any(|(_, replica)| replica.status().suspect) {
        // A sole voter has nobody to ask for what it may have lost; the log says so above.
        log.store.clear_suspicion()?;
    }
    Ok(Opening {
        log,
        restored,
        identity,
        shards,
        node,
        run,
        versions,
    })
}

/// What has to be known of closed shards at the next start.
fn note_closed(
    config: &Config,
    log: &Opened<FileSystem>,
    restored: &Restored,
    suspect: bool,
) -> Result<(), StartError> {
    let closed: Vec<ShardId> = restored.closed.iter().map(|it| it.shard).collect();
    crashes::forget(&config.data, &restored.replicas, &closed);
    log.store.note_lost(&restored.unknown)?;
    let closed: Vec<u16> = closed.iter().map(|shard| shard.0).collect();
    // Where nobody else has a copy there is nobody to learn from: a doubt would stay for ever.
    let is_doubted = suspect && knows_others(&config.data);
    Ok(log.store.leave_closed(&closed, is_doubted)?)
}

/// What of a shard cannot be read at start after start costs that shard, and not the node.
fn note_unread(log: &Opened<FileSystem>, error: &OpenError) {
    let OpenError::Log(error) = error else {
        return;
    };
    if let Some(shard) = log.reader.shard_of(error).filter(|_| error.may_pass()) {
        let covered = log
            .store
            .snapshot(shard)
            .map_or(0, |snapshot| snapshot.index);
        crashes::note(ShardId(shard), covered + 1, &error.to_string());
    }
}

/// The highest version of a cluster that this node can read, or may.
fn knows(config: &Config) -> ClusterVersion {
    let cluster = config.cluster.as_ref();
    cluster.map_or(ClusterVersion::LATEST, ClusterConfig::knows)
}

/// Before anything is read that may be newer than this program.
fn check_known(config: &Config, knows: ClusterVersion) -> Result<(), StartError> {
    let known = Identity::read(&config.data).map_err(|reason| StartError::Identity { reason })?;
    let Some(identity) = known else { return Ok(()) };
    version::check(identity.cluster_version(), knows)?;
    // The log was there before the file said so: without it, an empty log would pass for all that there was.
    if identity.has_begun && !config.data.join(anser_log::MANIFEST).exists() {
        let (file, node) = (identity::FILE, identity.node);
        return Err(StartError::LogMissing { file, node });
    }
    Ok(())
}

fn versions(
    replicas: &[(ShardId, Replica)],
    identity: Option<&Identity>,
    knows: ClusterVersion,
) -> Result<Arc<Versions>, StartError> {
    let mut replicas = replicas.iter();
    let catalog = replicas.find(|(shard, _)| *shard == ShardId::CATALOG);
    let by_catalog = catalog.map(|(_, replica)| replica.shard().version());
    let by_identity = identity.map(Identity::cluster_version);
    let active = by_catalog.max(by_identity).unwrap_or_default();
    version::check(active, knows)?;
    Ok(Arc::new(Versions::new(active, knows)))
}

/// Makes the shards of a fresh folder.
fn begin(
    config: &Config,
    mut log: Opened<FileSystem>,
    identity: Option<&mut Identity>,
) -> Result<Opened<FileSystem>, StartError> {
    if anser_host::is_untouched(&log) && log.shards.len() < usize::from(config.shards) {
        anser_host::begin(&log.store, config.shards, &[FIRST_NODE])?;
        drop(log);
        log = open_log(config)?;
    }
    if let Some(identity) = identity {
        identity.has_begun = true;
        identity.shards = u16::try_from(log.shards.len()).unwrap_or(u16::MAX);
        identity
            .write(&config.data)
            .map_err(|reason| StartError::Identity { reason })?;
    }
    Ok(log)
}

/// A folder that belongs to a node of a cluster would answer alone for what others decide too.
fn refuse_member_alone(config: &Config) -> Result<Option<Identity>, StartError> {
    let known = Identity::read(&config.data).map_err(|reason| StartError::Identity { reason })?;
    if known.is_some() {
        let reason = "the data folder is that of a node of a cluster: start it with the cluster's \
                      settings";
        return Err(StartError::Join {
            reason: reason.into(),
        });
    }
    Ok(None)
}

/// Refuses the log of a node whose cluster has other nodes, since the file is missing that says which one it is.
pub(crate) fn check_is_no_members<D: Disk>(data: &Path, log: &Opened<D>) -> Result<(), StartError> {
    let nodes = anser_host::nodes_of(log);
    // Only a shard that others took over is forgotten.
    let any_forgotten = log.shards.iter().any(|shard| shard.floor > 0);
    if any_forgotten || nodes.iter().any(|&node| node != FIRST_NODE) {
        return Err(StartError::IdentityMissing {
            data: data.display().to_string(),
            nodes: nodes.into_iter().collect(),
        });
    }
    Ok(())
}

/// Opens the log of a folder that no node uses, if it has one, and refuses it as [`check_is_no_members`] does.
pub(crate) fn refuse_what_others_decide(data: &Path) -> Result<(), StartError> {
    if !data.join(anser_log::MANIFEST).exists() {
        return Ok(());
    }
    let options = Options {
        boot: boot(),
        ..Options::default()
    };
    let log = Log::open(FileSystem::new(data), options)?;
    check_is_no_members(data, &log)?;
    Ok(log.appender.close()?)
}

/// As in ` of the nodes 1, 2 and 3`; nothing if none is known.
fn of_nodes(nodes: &[u64]) -> String {
    let words: Vec<String> = nodes.iter().map(u64::to_string).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => format!(" of node {last}"),
        Some((last, others)) => format!(" of the nodes {} and {last}", others.join(", ")),
    }
}

fn has_others(replica: &Replica) -> bool {
    !replica.status().membership.is_sole_voter(FIRST_NODE)
}

fn open_log(config: &Config) -> Result<Opened<FileSystem>, anser_log::Error> {
    Log::open(FileSystem::new(&config.data), log_options(config))
}

pub(crate) fn log_options(config: &Config) -> Options {
    Options {
        wal_file_bytes: config.wal_file_bytes,
        wal_budget_bytes: config.wal_budget_bytes,
        wal_held_bytes: config.wal_budget_bytes.saturating_mul(HELD_BUDGETS),
        segment_bytes: config.segment_bytes,
        boot: boot(),
        has_peers: config.cluster.is_some() && knows_others(&config.data),
        ..Options::default()
    }
}

/// Whether the folder's node knew other nodes, who may have what is damaged here. A folder that is no member's yet, or the
/// only one's, is all that there is of its log: nothing of it is given up.
fn knows_others(data: &Path) -> bool {
    // One that cannot be read was refused before.
    let known = Identity::read(data).ok().flatten();
    known.is_some_and(|identity| identity.is_member() && !identity.peers.is_empty())
}

/// Names the time since this machine was switched on, if the system says it.
fn boot() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(digits.get(..16)?, 16).ok()
}

fn report(log: &Opened<FileSystem>) {
    if let Some(torn) = &log.report.torn_tail {
        warn!(
            ?torn,
            "the last write before the stop was incomplete and was removed"
        );
    }
    for place in &log.report.holes {
        error!(%place, "the log is damaged; what stood there is asked of other nodes");
    }
    if log.report.suspect {
        warn!(
            "the end of the log may be lost: it was damaged, or the machine was switched off before the log was closed"
        );
    }
    info!(shards = log.shards.len(), "log opened");
}

fn report_damage(restored: &Restored) {
    for (shard, what) in &restored.damaged {
        error!(shard = shard.0, %what, "what is stored of a shard is damaged");
    }
    for closed in &restored.closed {
        let (shard, what) = (closed.shard.0, &closed.what);
        error!(shard, %what, "a shard stays closed; it comes back as a copy of another node's");
    }
}

fn check_shards(shards: &[RecoveredShard]) -> Result<(), StartError> {
    let last = shards.iter().map(|shard| shard.shard).max().unwrap_or(0);
    if shards.len() == usize::from(last) + 1 {
        Ok(())
    } else {
        Err(StartError::ShardsMissing {
            found: shards.len(),
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::identity::KnownPeer;

    #[test]
    fn only_a_member_that_knew_others_gives_up_what_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert!(!knows_others(data), "no member's folder");
        let mut identity = Identity::new().unwrap();
        identity.write(data).unwrap();
        assert!(!knows_others(data), "it looks for its cluster");
        identity.form().unwrap();
        identity.write(data).unwrap();
        assert!(!knows_others(data), "the only member");
        let peer = KnownPeer::new("b:1".into(), [7; 16]);
        identity.peers.insert(2, peer);
        identity.write(data).unwrap();
        assert!(knows_others(data));
    }
}
