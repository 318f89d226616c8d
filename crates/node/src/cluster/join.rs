//! How a data folder becomes a node: it forms a cluster, asks for a place in one, or is a node already.
//!
//! A cluster is formed only by somebody who says so: an emptied disk looks like a new one, and a node that formed
//! another cluster by itself would take messages that the cluster of its clients never sees.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anser_log::{Disk, Opened};
use anser_transport::{AskError, JoinConfig, Secret, TlsConfig};
use tracing::{info, warn};

use anser_broker::error::Error;

use super::{
    ClusterConfig,
    identity::{Identity, KnownPeer},
    words::{Ask, Join, Told},
};
use crate::{
    startup::{self, StartError},
    version::{self, TooOld},
};

/// How long to ask for a place before giving up.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer: every node of a large cluster.
const ANSWER_BYTES: usize = 4 << 20;

/// Makes a data folder that of the first node of a new cluster: the next start makes the shards, or takes over those
/// of a server that was no cluster's so far. Nothing else may use the folder meanwhile.
///
/// # Errors
/// If it belongs to a node already, or cannot be written.
pub fn form(data: &Path) -> Result<(), StartError> {
    let known = Identity::read(data).map_err(file_error)?;
    // One that has only asked for a place, and was given none, is nobody's.
    if known.is_some_and(|known| known.is_member()) {
        return Err(StartError::Formed);
    }
    startup::refuse_what_others_decide(data)?;
    let mut identity = Identity::new().map_err(file_error)?;
    identity.form().map_err(file_error)?;
    identity.write(data).map_err(file_error)
}

fn file_error(reason: io::Error) -> StartError {
    StartError::Identity { reason }
}

/// Who the node with this folder is, whose log was opened.
pub(crate) fn identify<D: Disk>(
    data: &Path,
    config: &ClusterConfig,
    address: &str,
    log: &Opened<D>,
) -> Result<Identity, StartError> {
    let known = Identity::read(data).map_err(file_error)?;
    let mut identity = match known {
        Some(known) => known,
        None => Identity::new().map_err(file_error)?,
    };
    // Whatever this process says or answers from now on, the next one is told apart from it.
    identity.begin_start().map_err(file_error)?;
    if identity.is_member() {
        identity.write(data).map_err(file_error)?;
        return Ok(identity);
    }
    startup::check_is_no_members(data, log)?;
    if config.join.is_empty() {
        return Err(StartError::Join {
            reason: "the data folder is no node's, and there is nobody to ask: name nodes of the cluster \
                     in cluster.join, or form a new cluster with `anser cluster form`"
                .into(),
        });
    }
    if !log.shards.is_empty() {
        return Err(StartError::Join {
            reason: "the data folder holds shards of its own, and a node that joins brings none: to keep this \
                     data, make the server the first node of a new cluster with `anser cluster form`; to join \
                     another cluster, choose an empty folder"
                .into(),
        });
    }
    // Written before anybody is asked: asking twice must not make two nodes.
    identity.write(data).map_err(file_error)?;
    join(config, address, &mut identity)?;
    identity.write(data).map_err(file_error)?;
    Ok(identity)
}

fn join(config: &ClusterConfig, address: &str, identity: &mut Identity) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let asked = JoinConfig {
        secret: secret(config)?,
        tls: tls(config)?,
        deadline: DEADLINE,
        frame_bytes: ANSWER_BYTES,
    };
    let ask = Ask::Join(Join {
        incarnation: identity.incarnation(),
        start: identity.start(),
        address: address.to_owned(),
        host: config.host.clone(),
        zone: config.zone.clone(),
        knows: config.knows(),
    });
    let until = Instant::now() + PATIENCE;
    loop {
        let mut reason = String::new();
        for seed in &config.join {
            let answer = anser_transport::ask(seed, &asked, ask.encode());
            match runtime.block_on(answer) {
                Ok(bytes) => match Told::decode(&bytes) {
                    Some(Told::WorksAt(active)) => {
                        let knows = config.knows();
                        return Err(TooOld { active, knows }.into());
                    }
                    Some(joined @ Told::Joined { version, .. }) => {
                        version::check(version, config.knows())?;
                        take_place(identity, joined);
                        info!(node = identity.node, through = seed, "joined the cluster");
                        return Ok(());
                    }
                    Some(Told::Refused(error @ (Error::NodeRemoved | Error::FormerStart))) => {
                        return Err(StartError::Join {
                            reason: format!("{seed}: {error}: choose an empty folder"),
                        });
                    }
                    Some(Told::Refused(error)) => reason = format!("{seed}: {error}"),
                    _ => reason = format!("{seed}: an answer that cannot be understood"),
                },
                Err(error @ AskError::Dial(_)) if is_final(&error) => {
                    return Err(StartError::Join {
                        reason: format!("{seed}: {error}"),
                    });
                }
                Err(error) => reason = format!("{seed}: {error}"),
            }
        }
        if Instant::now() >= until {
            return Err(StartError::Join { reason });
        }
        warn!(%reason, "no place in the cluster yet; asking again");
        thread::sleep(RETRY_INTERVAL);
    }
}

/// Whether asking again will not help.
fn is_final(error: &AskError) -> bool {
    use anser_transport::{DialError, Refusal};
    matches!(
        error,
        AskError::Dial(
            DialError::Refused(Refusal::WrongSecret | Refusal::WrongVersion) | DialError::Impostor
        )
    )
}

fn take_place(identity: &mut Identity, joined: Told) {
    let Told::Joined {
        cluster,
        node,
        shards,
        peers,
        version,
    } = joined
    else {
        unreachable!("checked by the caller")
    };
    identity.joined(cluster, node.0, shards);
    identity.has_begun = true;
    identity.hear_of_start(identity.start());
    identity.set_cluster_version(version);
    let peers = peers.into_iter();
    identity.peers = peers
        .map(|peer| (peer.node.0, KnownPeer::new(peer.address, peer.incarnation)))
        .collect();
}

pub(crate) fn secret(config: &ClusterConfig) -> Result<Secret, StartError> {
    Secret::new(&config.token).map_err(|error| StartError::Join {
        reason: error.to_string(),
    })
}

pub(crate) fn tls(config: &ClusterConfig) -> Result<Option<TlsConfig>, StartError> {
    let Some(files) = &config.tls else {
        return Ok(None);
    };
    let read = TlsConfig::read(&files.certificate, &files.key, &files.roots, &files.name);
    read.map(Some).map_err(|error| StartError::Join {
        reason: error.to_string(),
    })
}
