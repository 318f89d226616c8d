//! The port: threads, sockets, TLS and HTTP/1.1. What requests mean, a [`Handler`] knows.
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

use anser_network::{Acceptor, Network};
use tokio::{sync::watch, time::Instant};

pub(crate) use self::{
    body::Unread,
    handler::{BodyLimit, Handler, Head, Request, Response, closing, response},
};
use crate::{
    limits::Limits,
    memory::Memory,
    metrics::HttpMetrics,
    stop::{Stop, Stopping},
};

mod acceptor;
mod admission;
mod body;
mod connection;
mod handler;
mod handshake;
mod heads;
mod link;
mod listener;
mod overdue;
mod proxies;
mod respond;
mod stream;
#[cfg(test)]
mod tests;

/// Where the port is and what it is like.
#[derive(Debug)]
pub(crate) struct Port {
    /// With port 0 the system chooses one.
    pub(crate) listen: SocketAddr,
    pub(crate) threads: usize,
    pub(crate) tls: Option<Acceptor>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) limits: Limits,
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
struct Edge<H> {
    handler: H,
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

/// Opens the port and serves until [`Server::shutdown`], which tells those who wait by `stop`.
pub(crate) fn serve<H: Handler>(
    port: Port,
    handler: H,
    metrics: Arc<HttpMetrics>,
    stop: watch::Sender<Option<Stopping>>,
) -> io::Result<Server> {
    let edge = Arc::new(Edge {
        handler,
        tls: port.tls,
        proxies: proxies::Proxies::new(port.trusted_proxies),
        admission: Arc::new(admission::Admission::new(&port.limits)),
        bodies: Memory::new(port.limits.bodies_bytes),
        limits: port.limits,
        metrics: Arc::clone(&metrics),
        stop: stop.subscribe(),
    });
    let listeners = listener::open(port.listen, port.threads)?;
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
