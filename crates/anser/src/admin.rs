//! The admin port: metrics, whether the server lives and is ready, and the cluster.
//!
//! It runs on a thread of its own, so that it answers while the server is busy. It asks for no key;
//! what changes the cluster takes a proof that one has the cluster's token. Who only is connected takes
//! no place from who asks.

mod cluster;
mod gate;
mod metrics;
mod places;

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser_network::{Acceptor, NotAccepted, Stream};
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
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot};

use self::{
    gate::Gate,
    places::{Place, Places},
};
use crate::{certificate::Shown, cluster::token::Token, server::cannot_listen};

const CONNECTIONS_MAX: usize = 64;
/// Of a head, and before that of agreeing on TLS.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The answer to who speaks plain HTTP to a port that speaks TLS, in plain HTTP.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 35\r\n\
    Connection: close\r\n\r\n\
    this port speaks https, and no http";
/// A header of every push of a message, which nobody but its maker means for this port.
const PUSH: &str = "x-cmq-message-id";

/// What the admin port reports on.
#[derive(Clone)]
pub(crate) struct Sources {
    node: Node,
    api: Arc<anser_api::Server>,
    pusher: Arc<anser_push::Pusher>,
    /// To the cluster, if the server is in one.
    gate: Option<Arc<Gate>>,
    /// Of the ports that speak TLS.
    pub(crate) certificates: Vec<Arc<Shown>>,
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
            certificates: Vec::new(),
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
    /// Speaks TLS by `tls`, plain HTTP without.
    pub(crate) fn start(port: Port, tls: Option<Acceptor>, sources: Sources) -> Result<Self> {
        let Port { listener, address } = port;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let answer = move |request| {
            let sources = sources.clone();
            async move { answer(request, &sources).await }
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, tls, answer) => {}
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

/// Answers whoever connects, by `answer`.
async fn serve<A, F>(listener: TcpListener, tls: Option<Acceptor>, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin port does not work"),
    };
    let places = Places::new(CONNECTIONS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let tls = tls.clone();
                tokio::spawn(connection(stream, tls, places.take(), answer.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection for as long as it has its place.
async fn connection<F>(
    socket: TcpStream,
    tls: Option<Acceptor>,
    (place, mut lost): (Place, oneshot::Receiver<()>),
    answer: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| async {
        place.is_answered(true);
        let response = answer(request).await;
        place.is_answered(false);
        Ok::<_, Infallible>(response)
    });
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(HEAD_TIMEOUT, Box::pin(agree(socket, tls))) => agreed,
        _ = &mut lost => return,
    };
    let Ok(Some(stream)) = agreed else {
        return;
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // How a scraper's connection ends is its own affair.
    tokio::select! {
        _ = connection => {}
        _ = lost => {}
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => {}
    }
}

/// What requests come over; nothing from who speaks no TLS although the port does.
async fn agree(socket: TcpStream, tls: Option<Acceptor>) -> Option<Stream> {
    let Some(tls) = tls else {
        return Some(Stream::Plain(socket));
    };
    match tls.accept(socket).await {
        Ok(stream) => return Some(stream),
        Err(NotAccepted::Failed(error)) => {
            tracing::debug!(%error, "who asked the admin port has not agreed on TLS");
        }
        Err(NotAccepted::Plain(mut socket)) => {
            // Read first, or the answer may be lost with the connection.
            let heard = socket
                .readable()
                .await
                .map(|()| socket.try_read(&mut [0; 4096]));
            if heard.is_ok() {
                socket.write_all(SPEAKS_TLS).await.ok();
            }
        }
    }
    None
}

async fn answer(request: Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    if request.headers().contains_key(PUSH) {
        return text(StatusCode::FORBIDDEN, String::new());
    }
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

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use super::*;

    fn connect(port: &Port) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(port.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    fn is_open(stream: &std::net::TcpStream) -> bool {
        stream.set_nonblocking(true).unwrap();
        let read = (&*stream).read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn security_finding_14_silent_connections_on_all_places_keep_nobody_from_being_answered() {
        let port = Port::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = port.listener.try_clone().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = |_| async { text(StatusCode::OK, "alive\n".into()) };
        // It ends with the process.
        thread::spawn(move || runtime.block_on(serve(listener, None, answer)));
        let mut silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect(&port)).collect();
        let mut asking = connect(&port);
        asking
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        let mut answered = [0; 15];
        asking.read_exact(&mut answered).unwrap();
        assert_eq!(&answered, b"HTTP/1.1 200 OK");
        // The first one's place, before its time was up, and nobody else's.
        assert_eq!(silent[0].read(&mut [0]).unwrap(), 0);
        assert!(silent[1..].iter().all(is_open));
    }
}
