//! The nodes of the cluster, the cluster's own id and the version it works at.

use crate::{
    command::{Answer, Effect, NodeRecord, NodeStart, NodeState, Reply},
    error::Error,
    id::NodeId,
    limits,
    turn::{Turn, WallOffset},
    version::ClusterVersion,
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    pub(super) cluster: Option<[u8; 16]>,
    /// In the order of their numbers, from 1 on: none is ever taken out. `added` is by the shard's
    /// own time.
    pub(super) all: Vec<NodeRecord>,
    pub(super) version: ClusterVersion,
}

/// What a node says of itself.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) address: &'a str,
    pub(super) host: &'a str,
    pub(super) zone: &'a str,
}

impl Nodes {
    pub(super) fn form(&mut self, cluster: [u8; 16], turn: &mut Turn<'_>) -> Reply {
        match self.cluster {
            Some(known) if known != cluster => return Reply::Refused(Error::OtherCluster),
            Some(_) => {}
            None => {
                self.cluster = Some(cluster);
                turn.effect(Effect::NodesChanged);
            }
        }
        Reply::Done
    }

    /// Gives a node its number, or brings what is known of it up to date.
    pub(super) fn add(
        &mut self,
        incarnation: [u8; 16],
        start: NodeStart,
        place: &Place<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<NodeRecord, Error> {
        if !place.fits() {
            return Err(Error::AttributeOutOfRange);
        }
        let known = self
            .all
            .iter()
            .position(|node| node.incarnation == incarnation);
        let at = match known {
            Some(at) => at,
            None => self.append(incarnation, start, turn)?,
        };
        let node = &mut self.all[at];
        if node.state == NodeState::Removed {
            return Err(Error::NodeRemoved);
        }
        if start.is_behind(node.start) {
            return Err(Error::FormerStart);
        }
        let is_same = start == node.start
            && place.address == node.address
            && place.host == node.host
            && place.zone == node.zone;
        if known.is_none() || !is_same {
            node.start = start;
            place.address.clone_into(&mut node.address);
            place.host.clone_into(&mut node.host);
            place.zone.clone_into(&mut node.zone);
            turn.effect(Effect::NodesChanged);
        }
        Ok(node.on_the_wall(turn.wall))
    }

    /// Adds a node of which nothing else is known yet; its place in the order.
    fn append(
        &mut self,
        incarnation: [u8; 16],
        start: NodeStart,
        turn: &Turn<'_>,
    ) -> Result<usize, Error> {
        let at = self.all.len();
        if at >= limits::NODES_MAX {
            return Err(Error::TooManyNodes);
        }
        self.all.push(NodeRecord {
            node: NodeId(at as u64 + 1),
            incarnation,
            start,
            address: String::new(),
            host: String::new(),
            zone: String::new(),
            state: NodeState::Active,
            added: turn.now,
        });
        Ok(at)
    }

    pub(super) fn set_state(
        &mut self,
        node: NodeId,
        state: NodeState,
        removed: u64,
        turn: &mut Turn<'_>,
    ) -> Result<NodeRecord, Error> {
        let gone = self.all.iter().filter(|it| it.state == NodeState::Removed);
        let gone = gone.count() as u64;
        let known = self.all.iter_mut().find(|known| known.node == node);
        let known = known.ok_or(Error::NoSuchNode)?;
        if known.state != state {
            if known.state == NodeState::Removed {
                return Err(Error::NodeRemoved);
            }
            if state == NodeState::Removed && gone != removed {
                return Err(Error::OtherNodes);
            }
            known.state = state;
            turn.effect(Effect::NodesChanged);
        }
        Ok(known.on_the_wall(turn.wall))
    }

    pub(super) fn set_version(
        &mut self,
        version: ClusterVersion,
        nodes: u64,
        turn: &mut Turn<'_>,
    ) -> Reply {
        if version > self.version {
            if nodes != self.all.len() as u64 {
                return Reply::Refused(Error::OtherNodes);
            }
            self.version = version;
            turn.effect(Effect::NodesChanged);
        }
        Reply::Done
    }

    pub(crate) fn version(&self) -> ClusterVersion {
        self.version
    }

    pub(crate) fn cluster(&self) -> Option<[u8; 16]> {
        self.cluster
    }

    pub(crate) fn records(&self, wall: WallOffset) -> Vec<NodeRecord> {
        let nodes = self.all.iter();
        nodes.map(|node| node.on_the_wall(wall)).collect()
    }

    pub(super) fn answer(&self, wall: WallOffset) -> Answer {
        Answer::Nodes {
            cluster: self.cluster,
            nodes: self.records(wall),
        }
    }
}

impl Place<'_> {
    pub(super) fn fits(&self) -> bool {
        self.address.len() <= limits::NODE_ADDRESS_BYTES_MAX
            && self.host.len() <= limits::NODE_PLACE_BYTES_MAX
            && self.zone.len() <= limits::NODE_PLACE_BYTES_MAX
    }
}

impl NodeRecord {
    fn on_the_wall(&self, wall: WallOffset) -> Self {
        Self {
            added: wall.wall(self.added),
            ..self.clone()
        }
    }
}
