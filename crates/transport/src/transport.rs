//! The transport: a thread of its own, and what other threads call.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, PoisonError, RwLock},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{self, Runtime},
    sync::watch,
    task::{self, LocalSet, spawn_local},
};

use crate::{
    arrivals::Arrivals,
    config::{Config, Peer},
    counters::{AllCounters, Statistics},
    dialling::keep_connected,
    error::{RequestError, SendError},
    handler::Handler,
    handshake::{self, Introduction},
    link::Link,
    listening,
};

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1_024;

/// How many names may be looked up at once. The system's resolver takes a thread for each.
const LOOKUP_THREADS: usize = 64;

type Peers = Arc<BTreeMap<u64, Peer>>;

/// A node's connections to and from its peers. Dropped, it ends all of them.
///
/// All methods may be called from any thread, inside or outside of a runtime.
#[derive(Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Dropped, the thread ends.
    peers: Option<watch::Sender<Peers>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its callers share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    links: RwLock<BTreeMap<u64, Arc<Link>>>,
    pub(crate) counters: AllCounters,
}

/// What the tasks of the thread share.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) introduction: Introduction,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) arrivals: Arrivals,
    pub(crate) peers: RefCell<Peers>,
}

/// The task for one peer.
struct Dialler {
    incarnation: [u8; 16],
    peer: watch::Sender<Peer>,
    task: task::JoinHandle<()>,
}

impl Transport {
    /// Listens, and serves who proves to be a node of the cluster. Dials nobody before
    /// [`Transport::set_peers`].
    ///
    /// # Errors
    /// If a setting is out of its range, or the address cannot be listened on.
    pub fn start(config: Config, handler: Arc<dyn Handler>) -> io::Result<Self> {
        config.check()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(LOOKUP_THREADS)
            .thread_name("transport-lookup")
            .build()?;
        let listener = bind(&runtime, config.listen)?;
        let address = listener.local_addr()?;
        let introduction = Introduction {
            identity: config.identity,
            start: config.start,
            run: u64::from_le_bytes(handshake::random()),
            address: (config.advertise.clone()).unwrap_or_else(|| address.to_string()),
        };
        let shared = Arc::new(Shared::default());
        let (peers, changes) = watch::channel(Peers::default());
        let inside = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("transport".into())
            .spawn(move || {
                let tasks = LocalSet::new();
                let world = World {
                    config,
                    introduction,
                    handler,
                    shared: inside,
                    arrivals: Arrivals::default(),
                    peers: RefCell::default(),
                };
                tasks.block_on(&runtime, run(world, listener, changes));
                // Connections end here, and who waits for answers hears of it.
                let inside = runtime.enter();
                drop(tasks);
                drop(inside);
                // A lookup that hangs must not hold up the end.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            shared,
            address,
            peers: Some(peers),
            thread: Some(thread),
        })
    }

    /// Says who the other nodes are, soon after. This node may be among them and is left out.
    ///
    /// Connections to and from nodes that are no longer listed end, and those of another incarnation.
    /// A new address is for the next dial, which is made at once if there is no connection.
    pub fn set_peers(&self, peers: BTreeMap<u64, Peer>) {
        if let Some(sender) = &self.peers {
            sender.send_replace(Arc::new(peers));
        }
    }

    /// Sends a message. It arrives at most once, and perhaps never: nothing tells.
    ///
    /// # Errors
    /// If it was certainly not sent.
    pub fn send(&self, to: u64, bytes: Bytes) -> Result<(), SendError> {
        let link = self.shared.link(to).ok_or(SendError::NotConnected)?;
        link.send(bytes)
    }

    /// Sends a request and waits for its answer, for as long as the connection lives. It is on its way
    /// when this returns, behind what was sent before it; dropping the future cancels it, at the peer
    /// too. The future needs no runtime. A request beyond [`crate::Limits::frame_bytes`] is not sent.
    #[must_use = "dropping the future cancels the request"]
    pub fn request(
        &self,
        to: u64,
        bytes: Bytes,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send + use<> {
        let link = self.shared.link(to).ok_or(RequestError::NotSent);
        let call = link.and_then(|link| link.call(bytes));
        async move { call?.outcome().await }
    }

    /// As [`Transport::request`], for one of many large pieces that are in no hurry. Everything else goes
    /// before it, and to each peer one such request at a time: the next leaves when it was answered, so
    /// that what comes later waits for one of them at most.
    #[must_use = "dropping the future cancels the request"]
    pub fn request_bulk(
        &self,
        to: u64,
        bytes: Bytes,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send + use<> {
        let link = self.shared.link(to).ok_or(RequestError::NotSent);
        let call = link.and_then(|link| link.call_bulk(bytes));
        async move { call?.outcome().await }
    }

    /// Whether the dialled connection to this node is there.
    pub fn is_connected(&self, node: u64) -> bool {
        self.shared.link(node).is_some_and(|link| link.is_up())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.shared.counters.read();
        for (node, link) in self.shared.links().iter() {
            let peer = statistics.peers.entry(*node).or_default();
            peer.connected = link.is_up();
            peer.waiting_bytes = link.waiting_bytes() as u64;
        }
        statistics
    }

    /// Ends all connections and returns when they have ended. What waits is not sent any more.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.peers.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A handler may hold the last reference: its thread does not wait for itself.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the transport's thread panicked");
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    pub(crate) fn link(&self, node: u64) -> Option<Arc<Link>> {
        self.links().get(&node).cloned()
    }

    fn links(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<Link>>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_link(&self, node: u64, link: Option<Arc<Link>>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        match link {
            Some(link) => links.insert(node, link),
            None => links.remove(&node),
        };
    }
}

/// A port that was just given up by this program may be taken again.
fn bind(runtime: &Runtime, address: SocketAddr) -> io::Result<TcpListener> {
    let _inside = runtime.enter();
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn run(world: World, listener: TcpListener, mut changes: watch::Receiver<Peers>) {
    let world = Rc::new(world);
    let accepting = spawn_local(listening::listen(Rc::clone(&world), listener));
    let mut diallers = BTreeMap::new();
    while changes.changed().await.is_ok() {
        let peers = changes.borrow_and_update().clone();
        apply(&world, &mut diallers, &peers).await;
    }
    accepting.abort();
}

/// Makes the diallers, and the connections that came, those of these peers.
async fn apply(world: &Rc<World>, diallers: &mut BTreeMap<u64, Dialler>, peers: &Peers) {
    let former = world.peers.replace(Arc::clone(peers));
    let is_listed = |node: u64, incarnation: [u8; 16]| {
        peers
            .get(&node)
            .is_some_and(|peer| peer.incarnation == incarnation)
    };
    world.arrivals.keep(|visitor| {
        let was_listed = former.contains_key(&visitor.node);
        (is_listed(visitor.node, visitor.incarnation) || !was_listed)
            && world.handler.judge(visitor).is_ok()
    });
    let gone: Vec<u64> = diallers
        .iter()
        .filter(|(node, dialler)| !is_listed(**node, dialler.incarnation))
        .map(|(node, _)| *node)
        .collect();
    for node in gone {
        world.shared.set_link(node, None);
        if let Some(dialler) = diallers.remove(&node) {
            dialler.task.abort();
            // Its end is told before a new one begins. Being cancelled is what was asked for.
            _ = dialler.task.await;
        }
    }
    let others = peers
        .iter()
        .filter(|(node, _)| **node != world.config.identity.node);
    for (node, peer) in others {
        match diallers.get(node) {
            Some(dialler) => {
                dialler.peer.send_if_modified(|present| {
                    let is_new = *present != *peer;
                    present.clone_from(peer);
                    is_new
                });
            }
            None => {
                diallers.insert(*node, dialler(world, *node, peer.clone()));
            }
        }
    }
}

fn dialler(world: &Rc<World>, node: u64, peer: Peer) -> Dialler {
    let counters = world.shared.counters.of(node);
    let link = Arc::new(Link::new(&world.config.limits, counters));
    world.shared.set_link(node, Some(Arc::clone(&link)));
    let incarnation = peer.incarnation;
    let (sender, receiver) = watch::channel(peer);
    let task = spawn_local(keep_connected(Rc::clone(world), node, link, receiver));
    Dialler {
        incarnation,
        peer: sender,
        task,
    }
}
