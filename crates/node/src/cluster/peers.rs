//! This node among the others: what its parts share, and what reaches it from its peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, atomic::AtomicBool},
};

use anser_broker::{
    command::{Command, NodeStart},
    error::Error,
    id::ShardId,
};
use anser_host::{Admission, Denied, Leaders, PeerRequest, Signal, TooOld};
use anser_transport::{
    BoxFuture, Caller, DialError, Handler, Peer, Refusal, RequestError, Transport, Visitor,
};
use bytes::Bytes;
use tracing::{info, warn};

use super::{
    copies::Copies,
    entries, intake,
    members::Members,
    reports::Reports,
    shared::Shared,
    words::{Ask, Join, JoinedPeer, Note, Told},
};
use crate::{
    clock::Clock,
    desk::Desk,
    event::{Event, HostEvent},
    failure::{Failed, Failure},
    failures::Failures,
    inboxes::Inboxes,
    status::Counters,
    version::Versions,
};

/// What the parts of a node share of its cluster.
pub(crate) struct Cluster {
    pub(crate) id: [u8; 16],
    pub(crate) node: u64,
    pub(crate) incarnation: [u8; 16],
    pub(crate) start: NodeStart,
    pub(crate) shards: u16,
    pub(crate) leaders: Leaders,
    pub(crate) reports: Reports,
    pub(crate) members: Members,
    pub(crate) shared: Shared,
    pub(crate) versions: Arc<Versions>,
    /// The last entry that this node's copy of the catalog has applied.
    pub(crate) catalog: Signal<u64>,
    /// The node ends soon.
    pub(crate) leaves: AtomicBool,
    /// Shards whose replicas may have lost something in a crash and do not vote yet.
    suspects: Mutex<BTreeSet<ShardId>>,
    all_cleared: Box<dyn Fn() + Send + Sync>,
    transport: RwLock<Option<Transport>>,
}

/// Who the node is, when it starts.
pub(crate) struct Beginning {
    pub(crate) id: [u8; 16],
    pub(crate) node: u64,
    pub(crate) incarnation: [u8; 16],
    pub(crate) start: NodeStart,
    pub(crate) shards: u16,
    pub(crate) members: Members,
    pub(crate) versions: Arc<Versions>,
    pub(crate) suspects: BTreeSet<ShardId>,
    /// To be done when no replica is suspect any more.
    pub(crate) all_cleared: Box<dyn Fn() + Send + Sync>,
    pub(crate) clock: Clock,
}

impl Cluster {
    pub(crate) fn new(beginning: Beginning) -> Self {
        Self {
            id: beginning.id,
            node: beginning.node,
            incarnation: beginning.incarnation,
            start: beginning.start,
            shards: beginning.shards,
            leaders: Leaders::new(beginning.node, beginning.shards),
            reports: Reports::new(beginning.clock),
            members: beginning.members,
            shared: Shared::default(),
            versions: beginning.versions,
            catalog: Signal::default(),
            leaves: AtomicBool::new(false),
            suspects: Mutex::new(beginning.suspects),
            all_cleared: beginning.all_cleared,
            transport: RwLock::default(),
        }
    }

    pub(crate) fn connect(&self, transport: Transport) {
        *self
            .transport
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(transport);
        self.follow_members();
    }

    /// Connects to those who are members now.
    pub(crate) fn follow_members(&self) {
        let peers = self.members.peers().into_iter();
        let others = peers.filter(|(number, _)| *number != self.node);
        let peers: BTreeMap<u64, Peer> = others
            .map(
                |(
                    number,
                    anser_host::Peer {
                        address,
                        incarnation,
                    },
                )| {
                    let peer = Peer {
                        address,
                        incarnation,
                    };
                    (number, peer)
                },
            )
            .collect();
        if let Some(transport) = &*self.transport() {
            transport.set_peers(peers);
        }
    }

    /// Why this node has to end by what its copy of the catalog says of it.
    pub(crate) fn is_let_go(&self) -> Option<Failure> {
        let start = self.start;
        match self.members.judge(self.node, self.incarnation, start) {
            Err(Refusal::Removed) => Some(Failure::removed(self.node)),
            Err(Refusal::FormerStart) => Some(Failure::former_start(self.node)),
            _ => None,
        }
    }

    /// Gives a frame to the connection; whether it took it.
    pub(crate) fn send(&self, to: u64, bytes: Bytes) -> bool {
        let transport = self.transport();
        transport
            .as_ref()
            .is_some_and(|transport| transport.send(to, bytes).is_ok())
    }

    pub(crate) async fn ask(&self, to: u64, ask: &Ask) -> Result<Told, RequestError> {
        let call = {
            let transport = self.transport();
            let transport = transport.as_ref().ok_or(RequestError::NotSent)?;
            transport.request(to, ask.encode())
        };
        read(&call.await?)
    }

    /// As [`Cluster::ask`], but everything else for that node goes first.
    pub(crate) async fn ask_bulk(&self, to: u64, ask: &Ask) -> Result<Told, RequestError> {
        let call = {
            let transport = self.transport();
            let transport = transport.as_ref().ok_or(RequestError::NotSent)?;
            transport.request_bulk(to, ask.encode())
        };
        read(&call.await?)
    }

    pub(crate) fn is_connected(&self, node: u64) -> bool {
        let transport = self.transport();
        transport
            .as_ref()
            .is_some_and(|transport| transport.is_connected(node))
    }

    pub(crate) fn connected(&self) -> Vec<u64> {
        let transport = self.transport();
        let Some(transport) = transport.as_ref() else {
            return Vec::new();
        };
        let peers = self.members.peers().into_keys();
        peers
            .filter(|&node| node != self.node && transport.is_connected(node))
            .collect()
    }

    /// Says something to every peer that is connected.
    pub(crate) fn tell_all(&self, note: &Note) {
        let bytes = note.encode();
        for node in self.connected() {
            // Whoever misses it hears the next one.
            self.send(node, bytes.clone());
        }
    }

    pub(crate) fn cleared(&self, shard: ShardId) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.remove(&shard) && suspects.is_empty() {
            (self.all_cleared)();
        }
    }

    /// Ends all connections.
    pub(crate) fn disconnect(&self) {
        let transport = self
            .transport
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(transport) = transport {
            transport.shutdown();
        }
    }

    fn transport(&self) -> RwLockReadGuard<'_, Option<Transport>> {
        self.transport
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that cannot be read says nothing of what happened.
fn read(told: &Bytes) -> Result<Told, RequestError> {
    Told::decode(told).ok_or(RequestError::Lost)
}

/// Takes in what peers send.
pub(crate) struct Reception {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) inboxes: Inboxes,
    pub(crate) desk: Desk,
    pub(crate) copies: Copies,
    pub(crate) failures: Arc<Failures>,
    pub(crate) failed: Failed,
    pub(crate) counters: Arc<Counters>,
}

impl Handler for Reception {
    fn message(&self, from: u64, bytes: Bytes) {
        match Note::decode(bytes) {
            Some(Note::Consensus(messages)) => {
                intake::take_in(&self.inboxes, &self.counters, messages);
            }
            Some(Note::Report(report)) if report.node == from => {
                for replica in report
                    .replicas
                    .iter()
                    .filter(|replica| replica.led.is_some())
                {
                    let shard = ShardId(replica.shard);
                    self.cluster.leaders.heard(shard, replica.term, from);
                }
                self.cluster.reports.put(report);
            }
            Some(Note::Shared { revision, bytes }) => {
                if self.cluster.shared.adopt(revision, bytes) {
                    info!(
                        revision,
                        from, "shared settings were changed on another node"
                    );
                }
            }
            Some(Note::Order(order)) => {
                drop(
                    self.inboxes
                        .of(ShardId(order.shard()))
                        .send(Event::Order(order)),
                );
            }
            Some(Note::Report(_)) | None => warn!(from, "a peer said something unintelligible"),
        }
    }

    fn request(&self, from: Caller, bytes: Bytes) -> BoxFuture<'static, Bytes> {
        let answering = Answering {
            cluster: Arc::clone(&self.cluster),
            desk: self.desk.clone(),
            copies: self.copies.clone(),
            failures: Arc::clone(&self.failures),
        };
        Box::pin(async move {
            let told = match Ask::decode(&bytes) {
                Some(ask) => answering.answer(from, ask).await,
                None => Told::Unintelligible,
            };
            told.encode()
        })
    }

    fn judge(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let members = &self.cluster.members;
        members.judge(visitor.node, visitor.incarnation, start_of(visitor))
    }

    fn is_agreed(&self, visitor: &Visitor) -> bool {
        let start = NodeStart {
            number: visitor.start.number,
            mark: visitor.start.mark,
        };
        self.cluster.members.is_agreed(visitor.node, start)
    }

    fn arrived(&self, visitor: &Visitor) {
        let visitor = anser_host::Visitor {
            node: visitor.node,
            incarnation: visitor.incarnation,
            start: start_of(visitor),
            address: visitor.address.clone(),
        };
        if self.cluster.members.hear(&visitor) {
            let (node, address) = (visitor.node, &visitor.address);
            info!(node, address, "a node says that it is reached elsewhere");
            self.cluster.follow_members();
        }
    }

    fn refused(&self, by: u64, error: &DialError) {
        let node = self.cluster.node;
        let failure = match error {
            DialError::Refused(Refusal::FormerStart) => Failure::former_start(node),
            DialError::Refused(Refusal::Removed) => Failure::removed(node),
            DialError::PlaceTaken { holder } => Failure::place_taken(node, by, holder),
            // It may not have heard of this node yet, or be busy.
            _ => return,
        };
        self.failed.end(failure);
    }

    fn connection(&self, node: u64, up: bool) {
        info!(node, up, "connection to a node");
        if up {
            if let Some(note) = self.cluster.shared.note() {
                self.cluster.send(node, note.encode());
            }
            self.cluster.reports.hurry();
            return;
        }
        self.cluster.leaders.lost(node);
        for inbox in self.inboxes.all() {
            drop(inbox.send(HostEvent::Unreachable { node }.into()));
        }
    }
}

fn start_of(visitor: &Visitor) -> NodeStart {
    NodeStart {
        number: visitor.start.number,
        mark: visitor.start.mark,
    }
}

/// What one request of a peer needs.
struct Answering {
    cluster: Arc<Cluster>,
    desk: Desk,
    copies: Copies,
    failures: Arc<Failures>,
}

impl Answering {
    async fn answer(self, from: Caller, ask: Ask) -> Told {
        let (from, ask) = match (from, ask) {
            (Caller::Joining, Ask::Join(join)) => return self.take_in(join).await,
            (Caller::Joining, _) => return Told::Unintelligible,
            (Caller::Node(node), ask) => (node, ask),
        };
        match ask {
            Ask::Join(join) => self.take_in(join).await,
            Ask::Shard { shard, request } => match request.open() {
                None => Told::Unintelligible,
                Some(request) => {
                    let shard = ShardId(shard);
                    self.answer_as_host(PeerRequest::Shard { shard, request })
                        .await
                }
            },
            Ask::Change { command } => self.answer_as_host(PeerRequest::Change { command }).await,
            Ask::CatalogIndex => self.answer_as_host(PeerRequest::CatalogIndex).await,
            Ask::CatalogReached { index } => {
                self.answer_as_host(PeerRequest::CatalogReached { index })
                    .await
            }
            Ask::Copy(ask) => self.copies.take(from, ask).await,
            Ask::Entries { shard, indexes } => {
                entries::give(&self.desk, ShardId(shard), indexes).await
            }
            Ask::Failures { subscription } => Told::Failures(self.failures.of(subscription)),
        }
    }

    async fn answer_as_host(&self, request: PeerRequest) -> Told {
        anser_host::answer(&self.desk, request).await.into()
    }

    /// Gives a node a place in the cluster.
    async fn take_in(&self, join: Join) -> Told {
        let known = self.cluster.members.all();
        if !known.contains_key(&self.cluster.node) {
            return Told::Refused(Error::Unavailable); // This node itself has no place yet.
        }
        info!(address = %join.address, "a node asks for a place in the cluster");
        let command = Command::AddNode {
            incarnation: join.incarnation,
            start: join.start,
            address: join.address,
            host: join.host,
            zone: join.zone,
        };
        let versions = &self.cluster.versions;
        let Admission {
            node,
            others,
            version,
        } = match anser_host::take_in(&self.desk, versions, join.knows, &command).await {
            Ok(place) => place,
            Err(Denied::TooOld(TooOld { active, knows })) => {
                warn!(%active, %knows, "the program of the node that asked is too old");
                return Told::WorksAt(active);
            }
            Err(Denied::Refused(error)) => return Told::Refused(error),
        };
        Told::Joined {
            cluster: self.cluster.id,
            node: node.node,
            shards: self.cluster.shards,
            version,
            peers: others
                .into_iter()
                .map(|node| JoinedPeer {
                    node: node.node,
                    address: node.address,
                    incarnation: node.incarnation,
                })
                .collect(),
        }
    }
}
