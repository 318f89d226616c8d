//! A whole server in this process: the node, the port for clients, the pusher and the admin port.
//!
//! They start from the inside out and stop from the outside in, so that no request meets a node that
//! is gone.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_api::ServerConfig;
use anser_node::{Clock, FailureKind, Node, StartError};
use anser_push::{OtherNodes, Pusher};
use anyhow::{Context, Result};

use crate::{
    admin::{Admin, Port, Sources},
    certificate::{Certificate, CertificateFiles, Shown},
    cluster::token::Token,
    config::Config,
    exit::Exit,
    keystore::{
        Store,
        exchange::{Exchange, Origin},
        watch::Watcher,
    },
    process::Claim,
    system::{self, Connections},
};

/// How long a node that joins a cluster waits for the access keys of the others.
const KEYS_PATIENCE: Duration = Duration::from_secs(10);
/// How long a node that ends waits until others lead what it led.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);
/// How long clients of a node that ends may ask on connections that they have.
const IDLE: Duration = Duration::from_secs(1);
/// How often a node looks whether the catalog has a leader.
const LOOK: Duration = Duration::from_millis(50);

/// A running server. Dropping it without [`Server::shutdown`] is like pulling the plug.
#[derive(Debug)]
pub struct Server {
    node: Node,
    api: Arc<anser_api::Server>,
    pusher: Arc<Pusher>,
    admin: Admin,
    in_cluster: bool,
    stop: Duration,
    keys: Watcher,
    certificates: Certificates,
    // Last, so that the data directory is free only when nothing uses it any more.
    _claim: Claim,
}

impl Server {
    /// Serves when it returns.
    pub fn start(config: &Config, clock: Clock) -> Result<Self> {
        Self::start_claimed(Claim::take(&config.general.data)?, config, clock)
    }

    /// As [`Server::start`], with settings of the port that no configuration offers, for tests of
    /// limits that nobody wants to fill.
    pub fn start_adjusted(
        config: &Config,
        clock: Clock,
        adjust: impl FnOnce(&mut ServerConfig),
    ) -> Result<Self> {
        Self::start_parts(Claim::take(&config.general.data)?, config, clock, adjust)
    }

    /// As [`Server::start`], on a data directory that is already claimed.
    pub fn start_claimed(claim: Claim, config: &Config, clock: Clock) -> Result<Self> {
        Self::start_parts(claim, config, clock, |_| {})
    }

    fn start_parts(
        claim: Claim,
        config: &Config,
        clock: Clock,
        adjust: impl FnOnce(&mut ServerConfig),
    ) -> Result<Self> {
        system::warn_if_readable(&config.general.data);
        let store = Store::open(&config.general.data, &config.master_key_file()?)?;
        let token = config.cluster.token()?;
        check_keys(&store, token.is_some())?;
        let certificates = Certificates::start(config, &clock)?;
        let node = start_node(config, token.as_ref(), clock.clone())?;
        let settings = (config, &certificates);
        let edges = Edges::start(settings, store, token.as_ref(), &node, clock, adjust);
        let edges = edges.inspect_err(|_| node.shutdown())?;
        Ok(Self {
            node,
            api: edges.api,
            pusher: edges.pusher,
            admin: edges.admin,
            in_cluster: config.cluster.listen.is_some(),
            stop: Duration::from_secs(config.general.stop_seconds),
            keys: edges.keys,
            certificates,
            _claim: claim,
        })
    }

    /// Waits until requests can be answered: a node of a cluster knows where queues are once it knows
    /// who leads the catalog.
    pub async fn wait_until_useful(&self) {
        while self.in_cluster && !self.knows_the_catalog().await {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until this node of a cluster has taken over the cluster's keys after it began with its own, with which it
    /// makes receipt handles and signatures until it ends.
    pub async fn needs_restart(&self) {
        if !self.in_cluster {
            std::future::pending::<()>().await;
        }
        self.keys.other_receipt_key().await;
    }

    async fn knows_the_catalog(&self) -> bool {
        let node = self.node.clone();
        // It asks the threads of the shards, which may be busy.
        let status = tokio::task::spawn_blocking(move || node.cluster_status()).await;
        status.is_ok_and(|status| {
            let catalog = status.shards.iter().find(|shard| shard.shard == 0);
            catalog.is_some_and(|catalog| catalog.leader.is_some())
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where metrics and health checks are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// As [`Server::address`], as a client writes it.
    pub fn endpoint(&self) -> String {
        url(self.certificates.api.as_ref(), self.address())
    }

    /// As [`Server::admin_address`], as a client writes it.
    pub fn admin_endpoint(&self) -> String {
        url(self.certificates.admin.as_ref(), self.admin_address())
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Gives leaderships away, lets the requests and pushes under way end, then flushes everything.
    pub fn shutdown(self) {
        // The admin port reads the numbers of the others, so it ends first; to whoever asks, a server
        // that stops is as little ready as one that is gone.
        drop(self.admin);
        let begun = Instant::now();
        self.pusher.close();
        let mut idle = Duration::ZERO;
        if self.in_cluster {
            // Others serve on: no client should notice.
            self.node.leave(LEAVE_PATIENCE.min(self.stop));
            idle = IDLE;
        }
        let api = Arc::into_inner(self.api).expect("only the admin port had another reference");
        api.shutdown(idle, self.stop);
        let pusher = Arc::into_inner(self.pusher);
        let pusher = pusher.expect("only the admin port had another reference");
        pusher.shutdown(self.stop.saturating_sub(begun.elapsed()));
        self.node.shutdown();
        tracing::info!("stopped");
    }
}

fn start_node(config: &Config, token: Option<&Token>, clock: Clock) -> Result<Node> {
    let data = &config.general.data;
    let mut settings = config.storage.node(data.clone());
    settings.cluster = config.cluster.node(token)?;
    Node::start(&settings, clock).map_err(|error| {
        let data = data.display();
        let text = format!("cannot start the node on {data}");
        if error.can_be_repaired() && config.cluster.listen.is_none() {
            let helps = format!(
                "anser repair --data {data} says what would be lost; with --yes it repairs it"
            );
            return start_error(error, format!("{text} ({helps})"));
        }
        start_error(error, text)
    })
}

/// What a node's refusal means for the process, and what it was to do.
pub(crate) fn start_error(error: StartError, text: String) -> anyhow::Error {
    let exit = exit_of(&error);
    anyhow::Error::new(error).context(exit.reason(text))
}

fn url(certificate: Option<&Certificate>, address: SocketAddr) -> String {
    let scheme = certificate.map_or("http", |_| "https");
    format!("{scheme}://{address}")
}

/// Of the ports that speak TLS.
#[derive(Debug)]
struct Certificates {
    api: Option<Certificate>,
    admin: Option<Certificate>,
}

impl Certificates {
    fn start(config: &Config, clock: &Clock) -> Result<Self> {
        let start = |port, files: Option<CertificateFiles>| {
            files
                .map(|files| Certificate::start(port, files, clock.clone()))
                .transpose()
        };
        Ok(Self {
            api: start("api", config.api.certificate_files()?)?,
            admin: start("admin", config.admin.certificate_files()?)?,
        })
    }

    fn shown(&self) -> Vec<Arc<Shown>> {
        let of_ports = [&self.api, &self.admin].into_iter().flatten();
        of_ports.map(Certificate::shown).collect()
    }
}

/// What speaks to the world.
struct Edges {
    api: Arc<anser_api::Server>,
    pusher: Arc<Pusher>,
    admin: Admin,
    keys: Watcher,
}

impl Edges {
    fn start(
        (config, certificates): (&Config, &Certificates),
        store: Store,
        token: Option<&Token>,
        node: &Node,
        clock: Clock,
        adjust: impl FnOnce(&mut ServerConfig),
    ) -> Result<Self> {
        let exchange = token.map(|token| common_keys(&store, node, token));
        let exchange = exchange.transpose()?;
        let mut server = config.server(
            store.receipt_key()?,
            certificates.api.as_ref().map(Certificate::acceptor),
        )?;
        let mut pusher = config.pusher(store.push_signing_key()?)?;
        share_connections(&mut server, &mut pusher);
        adjust(&mut server);
        let keys = match exchange {
            Some(exchange) => Watcher::start_sharing(store, exchange)?,
            None => Watcher::start(store)?,
        };
        let wall = Arc::new(move || clock.wall());
        let api = anser_api::start(server, node.clone(), keys.keys(), wall)
            .map_err(|error| cannot_listen(error, config.api.listen, "--listen or api.listen"))?;
        let api = Arc::new(api);
        let port = Port::open(config.admin.listen)?;
        pusher.own_addresses = vec![api.address(), port.address()];
        pusher.own_addresses.extend(config.cluster.listen);
        pusher.other_nodes = other_nodes(node.clone());
        let pusher = anser_push::start(node.clone(), pusher).context(
            Exit::Configuration.reason("the pusher cannot start with the settings of [push]"),
        )?;
        let pusher = Arc::new(pusher);
        let mut sources = Sources::new(node.clone(), Arc::clone(&api), Arc::clone(&pusher), token);
        sources.certificates = certificates.shown();
        let tls = certificates.admin.as_ref().map(Certificate::acceptor);
        let admin = Admin::start(port, tls, sources)?;
        tracing::info!(
            api = %api.address(),
            admin = %admin.address(),
            data = %config.general.data.display(),
            "serving"
        );
        Ok(Self {
            api,
            pusher,
            admin,
            keys,
        })
    }
}

/// Where the other nodes are that are known by an address and not by a name.
fn other_nodes(node: Node) -> OtherNodes {
    Arc::new(move || {
        let addresses = node.peer_addresses().into_iter();
        addresses.filter_map(|text| text.parse().ok()).collect()
    })
}

/// Makes the access keys, and what is worked out from them, the same as on the cluster's other nodes.
fn common_keys(store: &Store, node: &Node, token: &Token) -> Result<Exchange> {
    let mut exchange = Exchange::new(node.clone(), token);
    let origin = match node.peers().first() {
        None => Origin::Alone,
        Some(first) if node.cluster_status().node < *first => Origin::First,
        Some(_) => Origin::Joined,
    };
    exchange.begin(store, origin, KEYS_PATIENCE)?;
    Ok(exchange)
}

/// A node takes its time to start, so what will not work anyway is noticed before. To a node of a cluster the others
/// give what is damaged here.
fn check_keys(store: &Store, in_cluster: bool) -> Result<()> {
    match store.keys() {
        Err(error) if in_cluster && Exit::of(&error) == Exit::Damaged => Ok(()),
        Ok(_) if in_cluster => store.give_up_other_cluster(),
        checked => checked.map(drop),
    }
}

/// Gives clients and pushes the files that this process may open.
fn share_connections(server: &mut ServerConfig, pusher: &mut anser_push::Config) {
    let asked = Connections {
        clients: server.limits.connections,
        pushes: pusher.pushes,
        idle_pushes: pusher.idle_connections,
    };
    let within = system::connections_within(asked, system::raise_open_files());
    server.limits.connections = within.clients;
    (pusher.pushes, pusher.idle_connections) = (within.pushes, within.idle_pushes);
}

/// What to do when a port cannot be opened; `setting` is what names its address.
pub(crate) fn cannot_listen(
    error: std::io::Error,
    listen: SocketAddr,
    setting: &str,
) -> anyhow::Error {
    let (exit, advice) = match error.kind() {
        std::io::ErrorKind::AddrInUse => (Exit::InUse, "another program uses it: end that, or"),
        _ => (Exit::Configuration, "this machine does not allow it:"),
    };
    let text = format!("cannot listen on {listen}; {advice} choose another with {setting}");
    anyhow::Error::new(error).context(exit.reason(text))
}

/// What it means for the process that its node ends by itself.
pub(crate) fn exit_of_failure(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::Storage => Exit::Storage,
        FailureKind::PlaceTaken => Exit::InUse,
        FailureKind::FormerStart => Exit::FormerStart,
        FailureKind::Removed => Exit::Configuration,
    }
}

fn exit_of(error: &StartError) -> Exit {
    match error {
        wrong if wrong.is_misconfiguration() => Exit::Configuration,
        damage if damage.is_damage() => Exit::Damaged,
        StartError::LetGo(failure) => exit_of_failure(failure.kind),
        StartError::Listen { reason, .. } if reason.kind() == std::io::ErrorKind::AddrInUse => {
            Exit::InUse
        }
        StartError::Listen { .. } => Exit::Configuration,
        StartError::Log(_) => Exit::Storage,
        _ => Exit::Failed,
    }
}
