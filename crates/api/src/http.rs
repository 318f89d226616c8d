//! The port: threads, sockets, TLS and HTTP/1.1.
//!
//! Each thread has its own runtime and its own listener on the one address; the system spreads
//! connections over them. A connection stays on its thread, so nothing here moves between threads
//! but counters. All waiting has an end: [`link`] knows how long each phase of a connection may
//! take.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anser_broker::{service::Service, time::Timestamp};
use anser_network::{Acceptor, Network};
use tokio::{sync::watch, time::Instant};

use crate::{
    cmq::{self, dialect::Dialect, table::Table},
    key::KeyStore,
    limits::Limits,
    memory::Memory,
    metrics::HttpMetrics,
};

mod acceptor;
mod admission;
mod body;
mod connection;
mod handshake;
mod heads;
mod link;
mod listener;
mod overdue;
mod presence;
mod proxies;
mod respond;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use presence::Presence;

/// What the wall clock shows now.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// When the server stops: nothing until it shall.
pub(crate) type Stop = watch::Receiver<Option<Stopping>>;

/// How long those who are connected are served while the server stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopping {
    /// Until then who says nothing may still ask for something, and is told with the answer that the connection ends.
    idle_until: Instant,
    /// Who has no answer by then is cut off.
    end: Instant,
}

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
    pub cmq: cmq::Config,
}

/// A running server. Dropped without [`Server::shutdown`], it stops at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    metrics: Arc<HttpMetrics>,
    stop: watch::Sender<Option<Stopping>>,
    threads: Vec<JoinHandle<()>>,
}

/// What all connections share.
#[derive(Debug)]
struct Edge<S> {
    cmq: Dialect<S>,
    tls: Option<Acceptor>,
    proxies: proxies::Proxies,
    limits: Limits,
    metrics: Arc<HttpMetrics>,
    admission: Arc<admission::Admission>,
    /// Of bodies that do not fit one read, by the network that they come from.
    bodies: Arc<Memory<IpAddr>>,
    stop: Stop,
}

/// Ends when those who say nothing have had their time to ask for something.
async fn idle_time(mut stop: Stop) {
    let stopping = stop.wait_for(Option::is_some).await.map(|stop| *stop);
    if let Ok(Some(stopping)) = stopping {
        tokio::time::sleep_until(stopping.idle_until).await;
    }
}

#[cfg(test)]
impl Stopping {
    pub(crate) fn now() -> Self {
        let now = Instant::now();
        Self {
            idle_until: now,
            end: now,
        }
    }
}

/// Opens the port and serves until [`Server::shutdown`].
pub fn start<S: Service>(
    config: ServerConfig,
    service: S,
    keys: Arc<dyn KeyStore>,
    wall_clock: WallClock,
) -> io::Result<Server> {
    let (stop, stopped) = watch::channel(None);
    let metrics = Arc::new(HttpMetrics::new(Table::<S>::names()));
    let edge = Arc::new(Edge {
        cmq: Dialect::new(
            service,
            config.cmq,
            keys,
            wall_clock,
            stopped.clone(),
            Memory::new(config.limits.answers_bytes),
        ),
        tls: config.tls,
        proxies: proxies::Proxies::new(config.trusted_proxies),
        admission: Arc::new(admission::Admission::new(&config.limits)),
        bodies: Memory::new(config.limits.bodies_bytes),
        limits: config.limits,
        metrics: Arc::clone(&metrics),
        stop: stopped,
    });
    let listeners = listener::open(config.listen, config.threads)?;
    let mut server = Server {
        address: listeners[0].local_addr()?,
        metrics,
        stop,
        threads: Vec::with_capacity(listeners.len()),
    };
    for (number, listener) in listeners.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let edge = Arc::clone(&edge);
        let thread = thread::Builder::new()
            .name(format!("http-{number}"))
            .spawn(move || runtime.block_on(acceptor::serve(edge, listener)))?;
        server.threads.push(thread);
    }
    Ok(server)
}

impl Server {
    /// Where it listens; the port is the one in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn metrics(&self) -> &HttpMetrics {
        &self.metrics
    }

    /// Accepts no more connections, ends waits, lets running requests finish and returns when all
    /// have, or after `grace`. Connections between two requests stay for `idle`: a client that asks just then has its
    /// answer, and goes elsewhere afterwards.
    pub fn shutdown(mut self, idle: Duration, grace: Duration) {
        self.end(idle, grace);
    }

    fn end(&mut self, idle: Duration, grace: Duration) {
        let now = Instant::now();
        let stopping = Stopping {
            idle_until: now + idle.min(grace),
            end: now + grace,
        };
        self.stop.send_replace(Some(stopping));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an HTTP thread panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO, Duration::ZERO);
    }
}
