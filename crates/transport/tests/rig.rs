//! A node whose handler tells a test what it hears.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use anser_transport::{
    BoxFuture, Caller, Config, DialError, Handler, Identity, JoinConfig, Limits, Peer, Refusal,
    Secret, Start, Transport, Visitor,
};
use bytes::Bytes;

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CLUSTER: [u8; 16] = [0xc1; 16];
const SECRET: &[u8] = b"the secret of the tests";

pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) transport: Transport,
    pub(crate) known: Arc<Mutex<BTreeMap<u64, [u8; 16]>>>,
    /// The number of the start that was agreed on, of every node.
    pub(crate) agreed: Arc<AtomicU64>,
    pub(crate) messages: Receiver<(u64, Bytes)>,
    pub(crate) connections: Receiver<(u64, bool)>,
    /// Requests that hold began.
    pub(crate) held: Receiver<Caller>,
    /// Requests that hold were dropped.
    pub(crate) dropped: Receiver<()>,
    /// Requests that begin with `count`, and the large ones once they work.
    pub(crate) counted: Receiver<Bytes>,
    /// Who was let in.
    pub(crate) arrived: Receiver<Visitor>,
    /// Why peers did not want the node.
    pub(crate) refused: Receiver<String>,
}

struct Scribe {
    known: Arc<Mutex<BTreeMap<u64, [u8; 16]>>>,
    agreed: Arc<AtomicU64>,
    messages: Sender<(u64, Bytes)>,
    connections: Sender<(u64, bool)>,
    held: Sender<Caller>,
    dropped: Sender<()>,
    counted: Sender<Bytes>,
    arrived: Sender<Visitor>,
    refused: Sender<String>,
}

/// Tells when a held request goes.
struct Hold(Sender<()>);

impl Drop for Hold {
    fn drop(&mut self) {
        _ = self.0.send(());
    }
}

impl Handler for Scribe {
    fn message(&self, from: u64, bytes: Bytes) {
        _ = self.messages.send((from, bytes));
    }

    /// What begins with `hold` never ends, `large N` gives N bytes, and everything else comes back.
    fn request(&self, from: Caller, bytes: Bytes) -> BoxFuture<'static, Bytes> {
        if bytes.starts_with(b"hold") {
            _ = self.held.send(from);
            let hold = Hold(self.dropped.clone());
            return Box::pin(async move {
                let _hold = hold;
                std::future::pending().await
            });
        }
        if bytes.starts_with(b"count") {
            _ = self.counted.send(bytes.clone());
        }
        if let Some(count) = bytes.strip_prefix(b"large ") {
            let count: usize = std::str::from_utf8(count).unwrap().parse().unwrap();
            let counted = self.counted.clone();
            return Box::pin(async move {
                _ = counted.send(bytes);
                vec![b'x'; count].into()
            });
        }
        Box::pin(async move { bytes })
    }

    fn judge(&self, visitor: &Visitor) -> Result<(), Refusal> {
        match self.known.lock().unwrap().get(&visitor.node) {
            Some(known) if *known == visitor.incarnation => {
                let is_former = visitor.start.number < self.agreed.load(Ordering::Relaxed);
                if is_former {
                    return Err(Refusal::FormerStart);
                }
                Ok(())
            }
            Some(_) => Err(Refusal::FormerIncarnation),
            None => Err(Refusal::UnknownNode),
        }
    }

    fn is_agreed(&self, visitor: &Visitor) -> bool {
        visitor.start.number == self.agreed.load(Ordering::Relaxed)
    }

    fn arrived(&self, visitor: &Visitor) {
        _ = self.arrived.send(visitor.clone());
    }

    fn refused(&self, _: u64, error: &DialError) {
        _ = self.refused.send(error.to_string());
    }

    fn connection(&self, node: u64, up: bool) {
        _ = self.connections.send((node, up));
    }
}

/// Fast where something is tried again, and patient with a machine that has much to do.
pub(crate) fn limits() -> Limits {
    Limits {
        handshake_time: PATIENCE * 3,
        silence: PATIENCE * 3,
        probe_time: PATIENCE,
        redial_first: Duration::from_millis(1),
        redial_most: Duration::from_millis(20),
        ..Limits::default()
    }
}

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

pub(crate) fn identity(node: u8) -> Identity {
    Identity {
        cluster: CLUSTER,
        node: node.into(),
        incarnation: [node; 16],
    }
}

pub(crate) fn config(node: u8) -> Config {
    Config {
        identity: identity(node),
        start: Start {
            number: 1,
            mark: [node; 16],
        },
        advertise: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        secret: secret(),
        tls: None,
        limits: limits(),
    }
}

pub(crate) fn join_config() -> JoinConfig {
    JoinConfig {
        secret: secret(),
        tls: None,
        deadline: PATIENCE,
        frame_bytes: 1 << 20,
    }
}

impl Node {
    /// A node that knows the nodes 1 to 9.
    pub(crate) fn start(config: Config) -> Self {
        let known = (1..10_u8).map(|node| (node.into(), [node; 16])).collect();
        let known = Arc::new(Mutex::new(known));
        let (messages, heard_messages) = mpsc::channel();
        let (connections, heard_connections) = mpsc::channel();
        let (held, heard_held) = mpsc::channel();
        let (dropped, heard_dropped) = mpsc::channel();
        let (counted, heard_counted) = mpsc::channel();
        let (arrived, heard_arrived) = mpsc::channel();
        let (refused, heard_refused) = mpsc::channel();
        let agreed: Arc<AtomicU64> = Arc::default();
        let scribe = Scribe {
            known: Arc::clone(&known),
            agreed: Arc::clone(&agreed),
            messages,
            connections,
            held,
            dropped,
            counted,
            arrived,
            refused,
        };
        Self {
            identity: config.identity,
            transport: Transport::start(config, Arc::new(scribe)).unwrap(),
            known,
            agreed,
            messages: heard_messages,
            connections: heard_connections,
            held: heard_held,
            dropped: heard_dropped,
            counted: heard_counted,
            arrived: heard_arrived,
            refused: heard_refused,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.transport.address()
    }

    pub(crate) fn peer(&self) -> (u64, Peer) {
        peer(self.identity, self.address())
    }

    /// Dials these and waits until they are there.
    pub(crate) fn meet(&self, others: &[&Self]) {
        let peers = others.iter().map(|node| node.peer()).collect();
        self.transport.set_peers(peers);
        for _ in others {
            assert!(self.connection().1);
        }
    }

    pub(crate) fn connection(&self) -> (u64, bool) {
        self.connections.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn message(&self) -> (u64, Bytes) {
        self.messages.recv_timeout(PATIENCE).unwrap()
    }

    /// Shows that requests and their answers pass.
    pub(crate) fn check(&self, other: u64) {
        let answer = wait(self.transport.request(other, Bytes::from_static(b"check")));
        assert_eq!(answer.unwrap(), "check");
    }
}

pub(crate) fn peer(identity: Identity, address: SocketAddr) -> (u64, Peer) {
    let peer = Peer {
        address: address.to_string(),
        incarnation: identity.incarnation,
    };
    (identity.node, peer)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future without any runtime.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing came");
        thread::park_timeout(left);
    }
}

/// For what only a counter tells.
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never became so");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a future that needs tokio's sockets and timers.
pub(crate) fn wait_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE * 2, future).await })
        .unwrap()
}
