//! How a new node gets its place in a cluster.

use anser_broker::{
    command::{Answer, Command, NodeRecord, Query, Reply},
    error::Error,
    id::ShardId,
    version::ClusterVersion,
};

use crate::{
    event::{Request, Response},
    port::Port,
    routing::{freshness, router},
    versions::{TooOld, Versions, check_version},
};

/// A node that has a place now.
#[derive(Debug, Clone)]
pub struct Admission {
    pub node: NodeRecord,
    pub others: Vec<NodeRecord>,
    /// That at which the cluster worked once it had this node.
    pub version: ClusterVersion,
}

/// Why a node gets no place, or cannot use the one it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    TooOld(TooOld),
    Refused(Error),
}

/// Carries out a [`Command::AddNode`], at whatever node was asked, for one whose program can read so much.
///
/// The version may rise until the new node is counted: a rise that the catalog takes after that is refused, for there
/// are more nodes than those that were asked about it. So the version is looked at again once the node has its place.
pub async fn take_in(
    port: &impl Port,
    versions: &Versions,
    knows: ClusterVersion,
    add: &Command,
) -> Result<Admission, Denied> {
    check(port, versions, knows).await?;
    let added = router::propose(port, ShardId::CATALOG, add).await;
    let node = match added.map_err(Denied::Refused)? {
        Reply::Node(node) => node,
        other => unreachable!("a node that is added is answered with it, not {other:?}"),
    };
    let read = Request::Read(Query::Nodes);
    let answer = router::ask(port, ShardId::CATALOG, read).await;
    let others = match answer.map_err(Denied::Refused)? {
        Response::Answer(Answer::Nodes { nodes, .. }) => {
            let others = nodes.into_iter().filter(|other| other.node != node.node);
            others.collect()
        }
        other => unreachable!("a query for nodes is answered with them, not {other:?}"),
    };
    check(port, versions, knows).await?;
    Ok(Admission {
        node,
        others,
        version: versions.active(),
    })
}

/// Whether a program can read what is written at the version at which the cluster works now.
async fn check(port: &impl Port, versions: &Versions, knows: ClusterVersion) -> Result<(), Denied> {
    if !freshness::catch_up(port).await {
        return Err(Denied::Refused(Error::Unavailable));
    }
    check_version(versions.active(), knows).map_err(Denied::TooOld)
}
