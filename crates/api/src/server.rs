//! The port for clients as a whole: HTTP, the door behind it, and the dialects between.

use std::{io, net::SocketAddr, sync::Arc};

use anser_broker::service::Service;
use anser_network::{Acceptor, Network};
use tokio::sync::watch;

use crate::{
    clock::WallClock,
    cmq::{self, dialect::Cmq},
    front::{Front, Settings},
    http::{self, Port, Server},
    key::KeyStore,
    limits::Limits,
    metrics::HttpMetrics,
    rates::Rates,
    tongues::Tongues,
};

#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// With port 0 the system chooses one.
    pub listen: SocketAddr,
    pub threads: usize,
    /// The port speaks TLS with it, and nothing else; plain HTTP without it.
    pub tls: Option<Acceptor>,
    /// Where the proxies are that say truly whom a request is from.
    pub trusted_proxies: Vec<Network>,
    pub limits: Limits,
    /// Off unless set: the vendors' clients do not slow down when they are told to.
    pub rates: Option<Rates>,
    pub cmq: cmq::Config,
}

/// Opens the port and serves until [`Server::shutdown`].
pub fn start<S: Service>(
    config: ServerConfig,
    service: S,
    keys: Arc<dyn KeyStore>,
    wall_clock: WallClock,
) -> io::Result<Server> {
    let (stop, stopped) = watch::channel(None);
    let metrics = Arc::new(HttpMetrics::new(vec![Cmq::vocabulary::<S>()]));
    let settings = Settings {
        rates: config.rates,
        answers_bytes: config.limits.answers_bytes,
    };
    let front = Front::new(
        service,
        Arc::clone(&keys),
        wall_clock,
        stopped,
        Arc::clone(&metrics),
        &settings,
    );
    let tongues = Tongues {
        front,
        cmq: Cmq::new(config.cmq, keys),
        body_bytes: config.limits.body_bytes,
    };
    let port = Port {
        listen: config.listen,
        threads: config.threads,
        tls: config.tls,
        trusted_proxies: config.trusted_proxies,
        limits: config.limits,
    };
    http::serve(port, tongues, metrics, stop)
}
