//! Bytes of the commands on the cluster and its nodes.

use crate::{
    codec::{
        Error, kind,
        wire::{Reader, Sink},
    },
    command::{Command, NodeStart, NodeState},
    id::NodeId,
    version::ClusterVersion,
};

/// Writes a command; false if it is not about the cluster.
pub(super) fn write(command: &Command, sink: &mut impl Sink) -> bool {
    match command {
        Command::AddNode {
            incarnation,
            start,
            address,
            host,
            zone,
        } => {
            sink.u8(kind::ADD_NODE);
            sink.put(incarnation);
            sink.node_start(*start);
            sink.slice(address.as_bytes());
            sink.slice(host.as_bytes());
            sink.slice(zone.as_bytes());
        }
        Command::SetNodeState {
            node,
            state,
            removed,
        } => {
            sink.u8(kind::SET_NODE_STATE);
            sink.u64(node.0);
            sink.node_state(*state);
            sink.u64(*removed);
        }
        Command::ClusterFormed { cluster } => {
            sink.u8(kind::CLUSTER_FORMED);
            sink.put(cluster);
        }
        Command::SetClusterVersion { version, nodes } => {
            sink.u8(kind::SET_CLUSTER_VERSION);
            sink.u32(version.0);
            sink.u64(*nodes);
        }
        _ => return false,
    }
    true
}

/// Reads a command of this kind; `None` if it is not about the cluster.
pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Command>, Error> {
    Ok(Some(match kind {
        kind::ADD_NODE => Command::AddNode {
            incarnation: reader.array()?,
            start: reader.node_start()?,
            address: reader.text()?.to_owned(),
            host: reader.text()?.to_owned(),
            zone: reader.text()?.to_owned(),
        },
        kind::SET_NODE_STATE => Command::SetNodeState {
            node: NodeId(reader.u64()?),
            state: reader.node_state()?,
            removed: reader.u64()?,
        },
        kind::CLUSTER_FORMED => Command::ClusterFormed {
            cluster: reader.array()?,
        },
        kind::SET_CLUSTER_VERSION => Command::SetClusterVersion {
            version: reader.version()?,
            nodes: reader.u64()?,
        },
        _ => return Ok(None),
    }))
}

/// What nodes have, in bytes.
pub(crate) trait NodeSink: Sink + Sized {
    fn node_state(&mut self, state: NodeState) {
        self.u8(match state {
            NodeState::Active => 1,
            NodeState::Draining => 2,
            NodeState::Removed => 3,
        });
    }

    fn node_start(&mut self, start: NodeStart) {
        self.u64(start.number);
        self.put(&start.mark);
    }
}

impl<S: Sink> NodeSink for S {}

impl Reader<'_> {
    pub(crate) fn version(&mut self) -> Result<ClusterVersion, Error> {
        match self.u32()? {
            0 => Err(Error::BadValue),
            version => Ok(ClusterVersion(version)),
        }
    }

    pub(crate) fn node_state(&mut self) -> Result<NodeState, Error> {
        match self.u8()? {
            1 => Ok(NodeState::Active),
            2 => Ok(NodeState::Draining),
            3 => Ok(NodeState::Removed),
            _ => Err(Error::BadValue),
        }
    }

    pub(crate) fn node_start(&mut self) -> Result<NodeStart, Error> {
        Ok(NodeStart {
            number: self.u64()?,
            mark: self.array()?,
        })
    }
}
