//! A receiver of pushes: a listener on loopback that reads HTTP by hand, so that it sees what was
//! really sent and can answer as badly as a test wants.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};

/// A push as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
    /// The request line and the headers, as they were sent.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn header_names(&self) -> Vec<String> {
        let lines = self.head.lines().skip(1);
        let mut names: Vec<String> = lines
            .filter_map(|line| Some(line.split_once(": ")?.0.to_lowercase()))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What a receiver does with a push.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, and then the next push of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then the connection is closed.
    Last(Vec<u8>),
    /// These bytes, and then nothing, with the connection open.
    Hang(Vec<u8>),
    /// This status, when the test says so.
    When(Arc<Notify>, u16),
    /// The first, and then the second for ever, with a pause after each.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::with_body(status, "")
    }

    pub(crate) fn with_body(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(
            format!("HTTP/1.1 {status} Some\r\nContent-Length: {length}\r\n\r\n{body}").into(),
        )
    }
}

type Behaviour = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    behaviour: Behaviour,
}

impl Receiver {
    pub(crate) async fn start(
        behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0", behaviour).await
    }

    pub(crate) async fn start_at(
        address: &str,
        behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (receiver, listener) = Self::bind(address, behaviour).await;
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        receiver
    }

    /// A receiver whose connections the test accepts.
    pub(crate) async fn bind(
        address: &str,
        behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> (Self, TcpListener) {
        let listener = TcpListener::bind(address).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
            closed: Arc::default(),
            behaviour: Arc::new(behaviour),
        };
        (receiver, listener)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections have ended.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) async fn serve<S>(self, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut buffer = Vec::new();
        while let Some(request) = read(&mut stream, &mut buffer, connection).await {
            let answer = (self.behaviour)(&request);
            self.requests.lock().unwrap().push(request);
            if !respond(&mut stream, answer).await {
                break;
            }
        }
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether the connection goes on.
async fn respond<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, answer: Answer) -> bool {
    match answer {
        Answer::Bytes(bytes) => stream.write_all(&bytes).await.is_ok(),
        Answer::Last(bytes) => {
            _ = stream.write_all(&bytes).await;
            _ = stream.shutdown().await;
            false
        }
        Answer::Hang(bytes) => {
            _ = stream.write_all(&bytes).await;
            // Until the other side closes.
            _ = stream.read(&mut [0]).await;
            false
        }
        Answer::When(now, status) => {
            now.notified().await;
            let answer = format!("HTTP/1.1 {status} Late\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.is_ok()
        }
        Answer::Endless(first, then, pause) => {
            let mut bytes = first;
            while stream.write_all(&bytes).await.is_ok() {
                tokio::time::sleep(pause).await;
                bytes.clone_from(&then);
            }
            false
        }
    }
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut request = Request {
        connection,
        head,
        body: Vec::new(),
    };
    let length: usize = request.header("content-length")?.parse().unwrap();
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    request.body = buffer.drain(..length).collect();
    Some(request)
}

async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}
