//! Repairing the data folder of a node that nobody else has copies for, while no server runs on it.
//!
//! It is tried first, on a scratch folder beside the data, so that what is said beforehand is what happens.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anser_host::{RepairError, Repaired};
use anser_log::{FileSystem, Overlay};

use crate::{
    cluster::identity::Identity,
    config::Config,
    startup::{FIRST_NODE, StartError, log_options},
};

/// Holds what an attempt writes; it is empty or gone afterwards.
const SCRATCH: &str = "repair.scratch";

/// Whether to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairMode {
    /// Only say what would be done.
    Try,
    Repair,
}

/// Why a folder is not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairFailure {
    #[error("{0} has no log: there is nothing to repair")]
    NoLog(String),
    /// These nodes have its shards, too.
    #[error("it belongs to a node of a cluster")]
    Member(Vec<u64>),
    #[error("{0}")]
    CatalogLost(String),
    #[error(transparent)]
    Start(#[from] StartError),
    /// It was tried and could be done, and then was not done to the end.
    #[error(transparent)]
    CutShort(StartError),
    #[error("{path} cannot be made or emptied: {reason}")]
    Scratch { path: String, reason: io::Error },
}

impl From<RepairError> for RepairFailure {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Open(error) => Self::Start(error.into()),
            RepairError::Others(nodes) => Self::Member(nodes),
            lost @ RepairError::CatalogLost => Self::CatalogLost(lost.to_string()),
        }
    }
}

/// Says what is damaged in a data folder and what is lost by it, and repairs it if asked to. Nothing else may use the
/// folder meanwhile.
pub fn repair(config: &Config, mode: RepairMode) -> Result<Repaired, RepairFailure> {
    let known = Identity::read(&config.data).map_err(|reason| StartError::Identity { reason })?;
    if let Some(known) = known.as_ref().filter(|known| !known.peers.is_empty()) {
        let peers = known.peers.keys().copied();
        return Err(RepairFailure::Member(peers.chain([known.node]).collect()));
    }
    let node = known.map_or(FIRST_NODE, |identity| identity.node.max(FIRST_NODE));
    if !config.data.join("wal").exists() && !config.data.join(anser_log::MANIFEST).exists() {
        return Err(RepairFailure::NoLog(config.data.display().to_string()));
    }
    let options = log_options(config);
    let disk = FileSystem::new(&config.data);
    let scratch = Scratch::make(&config.data.join(SCRATCH))?;
    let overlay = Overlay::new(disk.clone(), FileSystem::new(&scratch.0));
    let tried = anser_host::repair(&overlay, &options, node)?;
    drop(scratch);
    if mode == RepairMode::Try || tried.is_whole() {
        return Ok(tried);
    }
    let repaired = anser_host::repair(&disk, &options, node);
    repaired.map_err(|error| match RepairFailure::from(error) {
        RepairFailure::Start(error) => RepairFailure::CutShort(error),
        other => other,
    })
}

/// Removes what an attempt left that was ended from outside, for bodies of messages are in it. No attempt may be under way.
pub(crate) fn remove_scratch(data: &Path) {
    let path = data.join(SCRATCH);
    if let Err(error) = fs::remove_dir_all(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "what an attempt to repair left cannot be removed");
    }
}

/// A folder that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make(path: &Path) -> Result<Self, RepairFailure> {
        let emptied = match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(path),
        };
        emptied.map_err(|reason| RepairFailure::Scratch {
            path: path.display().to_string(),
            reason,
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next attempt.
        fs::remove_dir_all(&self.0).ok();
    }
}

impl RepairFailure {
    /// Whether stored data is damaged beyond what can be repaired.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::CatalogLost(_) => true,
            Self::Start(error) => error.is_damage(),
            _ => false,
        }
    }

    /// Whether it was for want of space, or because something could not be read or written: it can succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Start(StartError::Log(error)) | Self::CutShort(StartError::Log(error)) => {
                error.may_pass()
            }
            Self::Scratch { .. } => true,
            _ => false,
        }
    }
}
