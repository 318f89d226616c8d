//! One thread's loop: accept, hand over, and at the end wait for those still running.

use std::{
    future::poll_fn,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tracing::{error, warn};

use super::{Edge, admission::Permit, connection, handler::Handler};
use crate::metrics::add;

/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn serve<H: Handler>(edge: Arc<Edge<H>>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            error!(%error, "a listener does not work with this runtime");
            return;
        }
    };
    let mut stop = edge.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => admit(&edge, &mut connections, socket, peer.ip()),
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            // The sender lives in the server, which waits for this thread.
            _ = stop.wait_for(Option::is_some) => break,
        }
    }
    // Who has connected by now is not turned away.
    while let Some((socket, peer)) = waiting(&listener).await {
        admit(&edge, &mut connections, socket, peer.ip());
    }
    drop(listener);
    let stopping = *stop.borrow();
    let end = stopping.map_or_else(Instant::now, |stopping| stopping.end);
    let all = async { while connections.join_next().await.is_some() {} };
    // Who is not done by then is cut off.
    let _ = tokio::time::timeout_at(end, all).await;
}

/// The next connection that can be accepted at once.
async fn waiting(
    listener: &tokio::net::TcpListener,
) -> Option<(tokio::net::TcpStream, SocketAddr)> {
    poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn admit<H: Handler>(
    edge: &Arc<Edge<H>>,
    connections: &mut JoinSet<()>,
    socket: tokio::net::TcpStream,
    address: std::net::IpAddr,
) {
    let source = edge.proxies.judge(address);
    match Permit::take(&edge.admission, source) {
        Some(permit) => {
            add(&edge.metrics.connections_accepted, 1);
            let edge = Arc::clone(edge);
            connections.spawn(async move {
                connection::serve(edge, socket, source).await;
                drop(permit);
            });
        }
        None => add(&edge.metrics.connections_refused, 1),
    }
}
