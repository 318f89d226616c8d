//! The admin port: metrics, whether the server lives and is ready, and the cluster.
//!
//! It runs on a thread of its own, so that it answers while the server is busy. It asks for no key;
//! what changes the cluster takes a proof that one has the cluster's token.

mod cluster;
mod gate;
mod metrics;

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser_node::Node;
use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use self::gate::Gate;
use crate::{cluster::token::Token, server::cannot_listen};

const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the admin port reports on.
#[derive(Clone)]
pub(crate) struct Sources {
    node: Node,
    api: Arc<anser_api::Server>,
    pusher: Arc<anser_push::Pusher>,
    /// To the cluster, if the server is in one.
    gate: Option<Arc<Gate>>,
}

impl Sources {
    /// `token` is that of the cluster, if the server is in one.
    pub(crate) fn new(
        node: Node,
        api: Arc<anser_api::Server>,
        pusher: Arc<anser_push::Pusher>,
        token: Option<&Token>,
    ) -> Self {
        Self {
            node,
            api,
            pusher,
            gate: token.map(|token| Arc::new(Gate::new(token, Instant::now()))),
        }
    }
}

/// An open port that nobody answers yet.
#[derive(Debug)]
pub(crate) struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    pub(crate) fn open(listen: SocketAddr) -> Result<Self> {
        let listener = bind(listen)
            .map_err(|error| cannot_listen(error, listen, "--admin or admin.listen"))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A running admin port; ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    pub(crate) fn start(port: Port, sources: Sources) -> Result<Self> {
        let Port { listener, address } = port;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, sources) => {}
                }
            });
        })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            thread.join().ok();
        }
    }
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, sources: Sources) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin port does not work"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let sources = sources.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| async {
                Ok::<_, Infallible>(answer(request, &sources).await)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // How a scraper's connection ends is its own affair.
            tokio::time::timeout(CONNECTION_TIMEOUT, connection)
                .await
                .ok();
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path == "/cluster" || path.starts_with("/cluster/") {
        return cluster::answer(request, &path, sources).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET works here\n".into(),
        );
    }
    match path.as_str() {
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics::page(sources));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(metrics::KIND));
            response
        }
        "/healthz" => match sources.node.failure() {
            None => text(StatusCode::OK, "alive\n".into()),
            Some(failure) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("failed: {failure}\n"),
            ),
        },
        "/readyz" => match sources.node.status() {
            status if status.failure.is_none() && status.ready => {
                text(StatusCode::OK, "ready\n".into())
            }
            _ => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "see /metrics, /healthz, /readyz and /cluster\n".into(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
