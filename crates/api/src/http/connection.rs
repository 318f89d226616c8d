//! One connection from its first byte to its last.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use anser_network::Stream;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use super::{
    Edge,
    handler::Handler,
    handshake, idle_time,
    link::{Link, Phase},
    overdue::Watch,
    proxies::Source,
    respond,
    stream::LinkedStream,
};
use crate::{
    limits::Limits,
    metrics::{HttpMetrics, add},
};

pub(super) async fn serve<H: Handler>(edge: Arc<Edge<H>>, socket: TcpStream, source: Source) {
    // Answers are written whole; waiting for more to write only delays them.
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "the peer left at once");
        return;
    }
    let _open = Opened::new(&edge.metrics);
    let link = Arc::new(Link::new(&edge.limits, Arc::clone(&edge.metrics), source));
    let stream = match &edge.tls {
        None => Stream::Plain(socket),
        Some(acceptor) => {
            // Apart, so that connections without TLS are no larger for it.
            let agreed = Box::pin(handshake::agree(acceptor, &link, socket, edge.stop.clone()));
            match agreed.await {
                Some(stream) => stream,
                None => return,
            }
        }
    };
    requests(&edge, &link, stream).await;
}

/// Answers what comes until one of both ends it.
async fn requests<H: Handler>(edge: &Arc<Edge<H>>, link: &Arc<Link>, stream: Stream) {
    let stream = TokioIo::new(LinkedStream::new(stream, Arc::clone(link)));
    let service = service_fn(|request| {
        let (edge, link) = (Arc::clone(edge), Arc::clone(link));
        async move { Ok::<_, Infallible>(respond::respond(&edge, &link, request).await) }
    });
    let mut connection = pin!(builder(&edge.limits).serve_connection(stream, service));
    let mut overdue = Watch::new(link);
    let mut stopping = pin!(idle_time(edge.stop.clone()));
    let mut is_stopping = false;
    poll_fn(|context| {
        if !is_stopping && stopping.as_mut().poll(context).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            if let Err(error) = result {
                debug!(%error, "a connection failed");
            }
            return Poll::Ready(());
        }
        if is_stopping && link.phase() == Phase::Linger {
            return Poll::Ready(());
        }
        overdue.poll(context)
    })
    .await;
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The watch does this, and tells a new connection from one between requests.
        .header_read_timeout(None)
        .max_headers(limits.headers)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(Limits::HEAD_BYTES_LEAST));
    builder
}

/// Counts a connection as open while it lives.
struct Opened<'a>(&'a HttpMetrics);

impl<'a> Opened<'a> {
    fn new(metrics: &'a HttpMetrics) -> Self {
        add(&metrics.connections_open, 1);
        Self(metrics)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}
