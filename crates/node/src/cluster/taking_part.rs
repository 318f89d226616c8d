//! The beginning and the end of a node's membership: what has to be there before its runners start, and
//! what starts after them.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use anser_broker::id::ShardId;
use anser_host::Action;
use anser_log::{FileSystem, Reader, Store};
use anser_replica::Replica;
use anser_transport::{Config, Identity as TransportIdentity, Limits, Start, Transport};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::LocalSet,
};
use tracing::warn;

use super::{
    ClusterConfig,
    copies::{ComingBytes, Copies, Incoming, Job, Outgoing},
    entries::Asking,
    identity::Identity,
    join,
    members::Members,
    part::Part,
    peers::{Beginning, Cluster, Reception},
};
use crate::{
    clock::Clock, desk::Desk, failure::Failed, failures::Failures, inboxes::Inboxes,
    maintenance::Chore, member::Member, node::spawn, startup::StartError, status::Counters,
    version::Versions,
};

/// Where other nodes will find this one.
pub(crate) struct Place {
    listen: SocketAddr,
    pub(crate) address: String,
}

impl Place {
    /// Finds a free port if any will do. It is listened on once the node is there.
    pub(crate) fn listen(config: &ClusterConfig) -> Result<Self, StartError> {
        let mut listen = config.listen;
        if listen.port() == 0 {
            let bound = TcpListener::bind(listen).and_then(|listener| listener.local_addr());
            listen = bound.map_err(|reason| StartError::Listen { listen, reason })?;
        }
        let address = config.advertise.clone();
        Ok(Self {
            listen,
            address: address.unwrap_or_else(|| listen.to_string()),
        })
    }
}

/// A member that does not speak yet.
pub(crate) struct Joining {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) copies: Copies,
    identity: Identity,
    chores: mpsc::Sender<Chore>,
    jobs: Option<mpsc::Receiver<Job>>,
    outgoing: UnboundedReceiver<Outgoing>,
    ask: UnboundedSender<Asking>,
    questions: UnboundedReceiver<Asking>,
}

/// The parts of a node that membership builds on.
pub(crate) struct Surroundings {
    pub(crate) config: ClusterConfig,
    pub(crate) data: PathBuf,
    pub(crate) store: Store<FileSystem>,
    pub(crate) reader: Reader<FileSystem>,
    pub(crate) reserve_bytes: u64,
    pub(crate) inboxes: Inboxes,
    pub(crate) desk: Desk,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    pub(crate) failures: Arc<Failures>,
    pub(crate) decided: Arc<Mutex<Vec<Action>>>,
}

impl Joining {
    pub(crate) fn new(
        identity: Identity,
        replicas: &[(ShardId, Replica)],
        store: Store<FileSystem>,
        chores: mpsc::Sender<Chore>,
        versions: Arc<Versions>,
        clock: Clock,
    ) -> Self {
        let (jobs, job_list) = mpsc::channel();
        let (outgoing, outgoing_list) = unbounded_channel();
        let (ask, questions) = unbounded_channel();
        let suspects = replicas.iter();
        let suspects = suspects.filter(|(_, replica)| replica.status().suspect);
        let beginning = Beginning {
            id: identity.cluster(),
            node: identity.node,
            incarnation: identity.incarnation(),
            start: identity.start(),
            shards: identity.shards,
            members: Members::new(&identity.peers),
            versions,
            suspects: suspects.map(|(shard, _)| *shard).collect(),
            clock,
            all_cleared: Box::new(move || {
                if let Err(error) = store.clear_suspicion() {
                    warn!(%error, "the log's end stays suspect until the next start");
                }
            }),
        };
        let cluster = Cluster::new(beginning);
        let catalog = replicas
            .iter()
            .find(|(shard, _)| *shard == ShardId::CATALOG);
        if let Some((_, catalog)) = catalog {
            let nodes = catalog.shard().nodes();
            if !nodes.is_empty() {
                cluster.members.set(nodes);
            }
            cluster.catalog.set(catalog.applied().index);
        }
        Self {
            cluster: Arc::new(cluster),
            copies: Copies::new(jobs, outgoing),
            identity,
            chores,
            jobs: Some(job_list),
            outgoing: outgoing_list,
            ask,
            questions,
        }
    }

    /// What a runner needs.
    pub(crate) fn member(&self) -> Member {
        Member::new(
            Arc::clone(&self.cluster),
            self.copies.clone(),
            self.chores.clone(),
            self.ask.clone(),
        )
    }

    /// Begins to speak and to listen.
    pub(crate) fn begin(
        mut self,
        place: Place,
        around: Surroundings,
    ) -> Result<Membership, StartError> {
        let jobs = self.jobs.take().expect("begun once");
        let coming = ComingBytes::default();
        let host =
            anser_host::Incoming::new(around.store.clone(), around.reader, around.reserve_bytes);
        let incoming = Incoming::new(
            host,
            coming.clone(),
            around.inboxes.clone(),
            around.counters.clone(),
            around.failed.clone(),
        );
        let copier = spawn("copies", move || incoming.run(&jobs))?;
        let reception = Reception {
            cluster: Arc::clone(&self.cluster),
            inboxes: around.inboxes.clone(),
            desk: around.desk.clone(),
            copies: self.copies.clone(),
            failures: around.failures,
            failed: around.failed.clone(),
            counters: around.counters.clone(),
        };
        let transport = self.listen(&place, &around.config, reception)?;
        self.cluster.connect(transport);
        let part = Part {
            cluster: Arc::clone(&self.cluster),
            config: around.config,
            data: around.data,
            address: place.address,
            identity: self.identity,
            inboxes: around.inboxes,
            desk: around.desk,
            store: around.store,
            reserve_bytes: around.reserve_bytes,
            coming,
            counters: around.counters,
            outgoing: self.outgoing,
            questions: self.questions,
            decided: around.decided,
            failed: around.failed,
        };
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let thread = spawn("cluster", move || {
            LocalSet::new().block_on(&runtime, async move {
                tokio::select! {
                    () = part.run() => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Membership {
            cluster: self.cluster,
            copies: self.copies,
            stop,
            thread,
            copier,
        })
    }

    fn listen(
        &self,
        place: &Place,
        config: &ClusterConfig,
        reception: Reception,
    ) -> Result<Transport, StartError> {
        let listen = place.listen;
        let config = Config {
            identity: TransportIdentity {
                cluster: self.cluster.id,
                node: self.cluster.node,
                incarnation: self.cluster.incarnation,
            },
            start: Start {
                number: self.cluster.start.number,
                mark: self.cluster.start.mark,
            },
            listen,
            advertise: Some(place.address.clone()),
            secret: join::secret(config)?,
            tls: join::tls(config)?,
            limits: Limits::default(),
        };
        let transport = Transport::start(config, Arc::new(reception));
        transport.map_err(|reason| StartError::Listen { listen, reason })
    }
}

/// A node's part in the cluster, until it ends.
pub(crate) struct Membership {
    cluster: Arc<Cluster>,
    copies: Copies,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    copier: JoinHandle<()>,
}

impl Membership {
    pub(crate) fn end(self) {
        // A thread that is gone already has nothing to be told.
        self.stop.send(()).ok();
        drop(self.thread.join());
        self.cluster.disconnect();
        self.copies.stop();
        drop(self.copier.join());
    }
}
