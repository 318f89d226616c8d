//! One connection from its first byte to its last.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use anser_broker::service::Service;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::Sleep};
use tracing::debug;

use super::{
    Edge,
    link::{Link, Phase},
    respond,
    stream::LinkedStream,
};
use crate::{
    limits::Limits,
    metrics::{HttpMetrics, add},
};

pub(super) async fn serve<S: Service>(edge: Arc<Edge<S>>, socket: TcpStream, network: IpAddr) {
    // Answers are written whole; waiting for more to write only delays them.
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "the peer left at once");
        return;
    }
    let _open = Opened::new(&edge.metrics);
    let link = Arc::new(Link::new(&edge.limits, Arc::clone(&edge.metrics), network));
    let stream = TokioIo::new(LinkedStream::new(socket, Arc::clone(&link)));
    let mut stop = edge.stop.clone();
    let service = service_fn(|request| {
        let (edge, link) = (Arc::clone(&edge), Arc::clone(&link));
        async move { Ok::<_, Infallible>(respond::respond(&edge, &link, request).await) }
    });
    let mut connection = pin!(builder(&edge.limits).serve_connection(stream, service));
    let mut overdue = Watch::new(&link);
    let mut stopping = pin!(async {
        let stopping = stop.wait_for(Option::is_some).await.map(|stop| *stop);
        if let Ok(Some(stopping)) = stopping {
            tokio::time::sleep_until(stopping.idle_until).await;
        }
    });
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
        overdue.poll(context).map(|()| {
            add(&edge.metrics.connections_overdue, 1);
            debug!(phase = ?link.phase(), "a connection took too long");
        })
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

/// Ready when a phase of the connection lasts too long.
struct Watch<'a> {
    link: &'a Link,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watch<'a> {
    fn new(link: &'a Link) -> Self {
        let deadline = link.deadline().expect("a first head has a deadline");
        Self {
            link,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.link.deadline() else {
                return Poll::Pending;
            };
            // A timer that rings early is set anew; setting it at every change would cost more.
            if self.timer.is_elapsed() || deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
        }
    }
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
