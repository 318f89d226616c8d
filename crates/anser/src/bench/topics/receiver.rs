//! The receiver: an HTTP server that answers every push at once, counts them and measures their way.
//!
//! It runs on a thread of its own, so that a busy publisher does not make pushes look slow. Every
//! subscription has a path of its own, its number.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{runtime, sync::oneshot, task::JoinSet};

use super::marks::{MARK_BYTES, moment_of, now_micros};
use crate::bench::load::LATENCY_MICROS_MAX;

/// How long no push may come while some are awaited.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Running until it is dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    of_path: Vec<AtomicU64>,
    total: AtomicU64,
    connections: AtomicU64,
    recording: Mutex<Recording>,
}

/// Times from publish to arrival, in microseconds, of what was published at a moment or later.
#[derive(Debug)]
struct Recording {
    from: u64,
    latency: Histogram<u64>,
}

impl Receiver {
    /// Listens on so many ports, for subscriptions of the numbers below `paths`.
    pub(super) fn start(paths: usize, ports: usize) -> Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..ports.max(1) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            let listener = listener.context("the receiver cannot listen")?;
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let recording = Recording {
            from: u64::MAX,
            latency: histogram()?,
        };
        let shared = Arc::new(Shared {
            of_path: (0..paths).map(|_| AtomicU64::new(0)).collect(),
            total: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            recording: Mutex::new(recording),
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn(move || runtime.block_on(serve(listeners, counted, stopped)))
            .context("cannot start the receiver")?;
        Ok(Self {
            shared,
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The endpoint of a subscription.
    pub(super) fn url(&self, path: usize) -> String {
        let address = self.addresses[path % self.addresses.len()];
        format!("http://{address}/{path}")
    }

    /// How many pushes came.
    pub(super) fn received(&self) -> u64 {
        self.shared.total.load(Ordering::Relaxed)
    }

    /// How many pushes came to the path that got the fewest.
    pub(super) fn fewest(&self) -> u64 {
        let counts = self.shared.of_path.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        counts.min().unwrap_or(0)
    }

    /// How many connections were opened.
    pub(super) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Records the way of what is published from now on, and forgets what was recorded.
    pub(super) fn record(&self) -> Result<()> {
        let empty = Recording {
            from: now_micros(),
            latency: histogram()?,
        };
        *self.shared.recording() = empty;
        Ok(())
    }

    /// What was recorded.
    pub(super) fn latency(&self) -> Histogram<u64> {
        self.shared.recording().latency.clone()
    }

    /// Waits until so many pushes came since the start.
    pub(super) async fn wait_for(&self, total: u64) -> Result<()> {
        let (mut seen, mut since) = (self.received(), Instant::now());
        while seen < total {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.received();
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            ensure!(
                since.elapsed() < PATIENCE,
                "{seen} of {total} pushes came, and none in the last {} s",
                PATIENCE.as_secs()
            );
        }
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        // A histogram is whole at every moment.
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the path is one of ours.
    fn count(&self, path: &str, moment: Option<u64>) -> bool {
        let number = path.trim_start_matches('/').parse::<usize>().ok();
        let Some(of_path) = number.and_then(|number| self.of_path.get(number)) else {
            return false;
        };
        if let Some(moment) = moment {
            let mut recording = self.recording();
            if moment >= recording.from {
                let took = now_micros().saturating_sub(moment);
                recording.latency.saturating_record(took);
            }
        }
        of_path.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3)?)
}

/// Serves until it is stopped; connections end with it.
async fn serve(listeners: Vec<TcpListener>, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&shared)));
    }
    stopped.await.ok();
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely there are too many open files: some may close.
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // The other side closed it; what it had not finished it sends again.
            serving.await.ok();
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let status = match read(body).await {
        Ok(moment) if shared.count(head.uri.path(), moment) => StatusCode::OK,
        Ok(_) => StatusCode::NOT_FOUND,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

/// Reads a body to its end, and gives the moment at its beginning.
async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Option<u64>, B::Error> {
    let mut beginning = Vec::with_capacity(MARK_BYTES);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = MARK_BYTES - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(moment_of(&beginning))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::bench::topics::marks::marked_body;

    async fn post(receiver: &Receiver, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(receiver.addresses[0]).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn pushes_are_counted_by_path_and_timed() {
        let receiver = Receiver::start(2, 1).unwrap();
        let early = marked_body(32);
        tokio::time::sleep(Duration::from_millis(1)).await;
        receiver.record().unwrap();
        for body in [early, marked_body(32), "short".into()] {
            let answer = post(&receiver, "/1", &body).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert!(post(&receiver, "/2", "x").await.contains(" 404 "));
        receiver.wait_for(3).await.unwrap();
        assert_eq!((receiver.received(), receiver.fewest()), (3, 0));
        assert_eq!((receiver.latency().len(), receiver.connections()), (1, 4));
        assert!(receiver.url(1).ends_with("/1"));
    }
}
