//! Web servers that are pushed to: each has a temper that it shows now and then, and notes what it saw.
//!
//! They are written on bare sockets, since what they do to whoever pushes no decent server can do. A
//! receiver notes a good answer only if whoever pushed was there to see it in time.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser_check::{Body, Operation, Push, checksum};
use serde_json::Value;

use super::{recorder::Recorder, say, workload::Chance};

/// An address that nothing else on this machine uses, so that a port can be given up and taken again.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
/// Longer than the server waits for an answer in these tests.
const TOO_LONG: Duration = Duration::from_millis(1_500);
/// How often a thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);
const REQUEST_BYTES_MAX: usize = 64 << 10;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    Good,
    /// Answers 500.
    Fails,
    Hangs,
    /// Breaks the connection after the request.
    Resets,
    /// Answers byte by byte: a head that comes too late, or a body after a head in time.
    Slow,
    /// Answers without end: a head, or a body after a good head.
    Endless,
    /// Answers with a redirect to a path where nothing may come.
    Redirects,
    /// Does not listen for a while.
    Refuses,
    /// Takes everything, but only after most of the time that it has.
    Ponders,
}

/// How a receiver behaves until all become good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) temper: Temper,
    /// It shows its temper once in so many requests, by chance.
    pub(crate) once_in: u64,
    /// And not more often than this.
    pub(crate) times: u64,
    /// It takes less than so many milliseconds for an answer, so that a kill finds pushes under way.
    pub(crate) ponders_ms: u64,
}

/// Which subscription is served, and how it is pushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub(crate) topic: &'static str,
    pub(crate) name: &'static str,
    pub(crate) is_json: bool,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    recorder: Arc<Recorder>,
    subscription: Subscription,
    manner: Manner,
    times_left: AtomicU64,
    shown: AtomicU64,
    chance: Mutex<Chance>,
    /// Requests that were read and not answered.
    open: AtomicUsize,
    is_good: AtomicBool,
    is_away: AtomicBool,
    stop: AtomicBool,
}

impl Receiver {
    pub(crate) fn start(
        recorder: &Arc<Recorder>,
        subscription: Subscription,
        manner: Manner,
        chance: Chance,
    ) -> Self {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            recorder: Arc::clone(recorder),
            subscription,
            manner,
            times_left: AtomicU64::new(manner.times),
            shown: AtomicU64::new(0),
            chance: Mutex::new(chance),
            open: AtomicUsize::new(0),
            is_good: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let listening = Arc::clone(&state);
        let thread = thread::spawn(move || listening.listen(listener, address));
        let Subscription { topic, name, .. } = subscription;
        Self {
            url: format!("http://{address}/{topic}/{name}"),
            state,
            thread: Some(thread),
        }
    }

    /// From now on it takes everything at once.
    pub(crate) fn become_good(&self) {
        self.state.is_good.store(true, Ordering::Relaxed);
    }

    /// Its subscription and its temper.
    pub(crate) fn called(&self) -> String {
        let Subscription { topic, name, .. } = self.state.subscription;
        format!("{topic}/{name}, which {:?},", self.state.manner.temper)
    }

    /// How often it showed its temper.
    pub(crate) fn shown(&self) -> u64 {
        self.state.shown.load(Ordering::Relaxed)
    }

    /// How many requests wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl State {
    fn listen(self: Arc<Self>, listener: TcpListener, address: SocketAddr) {
        let mut connections: Vec<JoinHandle<()>> = Vec::new();
        let mut listener = Some(listener);
        let mut turns = Instant::now();
        while !self.stops() {
            if self.manner.temper == Temper::Refuses && turns.elapsed() > Duration::ZERO {
                listener = self.come_or_go(listener, address, &mut turns);
            }
            if let Some(stream) = listener.as_ref().and_then(accept) {
                let state = Arc::clone(&self);
                connections.push(thread::spawn(move || state.serve(&stream)));
                connections.retain(|connection| !connection.is_finished());
            } else {
                thread::sleep(Duration::from_millis(2));
            }
        }
        for connection in connections {
            connection.join().ok();
        }
    }

    /// Now here, now away; at the end here.
    fn come_or_go(
        &self,
        listener: Option<TcpListener>,
        address: SocketAddr,
        turns: &mut Instant,
    ) -> Option<TcpListener> {
        let is_good = self.is_good.load(Ordering::Relaxed);
        if Instant::now() < *turns && !is_good {
            return listener;
        }
        let goes = listener.is_some() && !is_good && self.below(3) == 0;
        let length = if goes { 800 } else { 400 };
        *turns = Instant::now() + Duration::from_millis(length + self.below(2 * length));
        self.is_away.store(goes, Ordering::Relaxed);
        self.shown.fetch_add(u64::from(goes), Ordering::Relaxed);
        match listener {
            _ if goes => None,
            None => Some(TcpListener::bind(address).unwrap()),
            stays => stays,
        }
    }

    fn serve(&self, stream: &TcpStream) {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LOOK)).unwrap();
        while let Some(request) = self.request(stream) {
            self.open.fetch_add(1, Ordering::Relaxed);
            let invoked = self.recorder.now();
            let (status, goes_on) = self.answer(stream, &request);
            let operation = Operation::Push(self.seen(&request, status));
            self.recorder
                .add(200, self.subscription.topic, invoked, operation);
            self.open.fetch_sub(1, Ordering::Relaxed);
            if !goes_on {
                return;
            }
        }
    }

    /// The next whole request, which is left in the socket: closed with something unread in it, a
    /// socket breaks the connection. `None` if none comes any more.
    fn request(&self, stream: &TcpStream) -> Option<Request> {
        let mut bytes = vec![0; REQUEST_BYTES_MAX];
        while !self.stops() && !self.is_away.load(Ordering::Relaxed) {
            match stream.peek(&mut bytes) {
                Ok(0) => return None,
                Ok(length) => {
                    if let Some(request) = Request::parse(&bytes[..length]) {
                        return Some(request);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) if is_timeout(&error) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Answers; what whoever pushed saw of it in time, and whether the connection goes on.
    fn answer(&self, mut stream: &TcpStream, request: &Request) -> (Option<u16>, bool) {
        let temper = self.temper();
        if temper == Temper::Resets {
            return (None, false);
        }
        let mut read = vec![0; request.bytes];
        if stream.read_exact(&mut read).is_err() {
            return (None, false);
        }
        let ponders_ms = self.manner.ponders_ms;
        if ponders_ms > 0 && !self.is_good.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(self.below(ponders_ms)));
        }
        match temper {
            Temper::Fails => whole(
                stream,
                500,
                b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
            ),
            Temper::Redirects => {
                let head = "HTTP/1.1 307 There\r\nContent-Length: 0\r\nLocation: ";
                let answer = format!("{head}http://{}/elsewhere\r\n\r\n", request.host);
                whole(stream, 307, answer.as_bytes())
            }
            Temper::Hangs => {
                thread::sleep(TOO_LONG);
                (None, false)
            }
            Temper::Slow => self.slowly(stream),
            Temper::Endless => self.endlessly(stream),
            Temper::Ponders => {
                thread::sleep(TOO_LONG / 3);
                whole(stream, 200, OK)
            }
            Temper::Good | Temper::Resets | Temper::Refuses => whole(stream, 200, OK),
        }
    }

    fn slowly(&self, stream: &TcpStream) -> (Option<u16>, bool) {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n";
        if self.below(2) == 0 {
            drip(stream, head, 2 * TOO_LONG);
            return (None, false);
        }
        if !write(stream, head) {
            return (None, false);
        }
        drip(stream, &[b'x'; 20], TOO_LONG / 2);
        (Some(200), true)
    }

    fn endlessly(&self, stream: &TcpStream) -> (Option<u16>, bool) {
        let ends = Instant::now() + 2 * TOO_LONG;
        let (head, more, status): (&[u8], &[u8], _) = if self.below(2) == 0 {
            (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n", None)
        } else {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            (head, b"10\r\nAnd so on, so on\r\n", Some(200))
        };
        if !write(stream, head) {
            return (None, false);
        }
        let many = more.repeat(50);
        while Instant::now() < ends && write(stream, &many) {}
        (status, false)
    }

    /// How this request is met.
    fn temper(&self) -> Temper {
        let Manner {
            temper, once_in, ..
        } = self.manner;
        // Whoever refuses does so before there is a request.
        let is_good = matches!(temper, Temper::Good | Temper::Refuses)
            || self.is_good.load(Ordering::Relaxed);
        if is_good || self.below(once_in) > 0 {
            return Temper::Good;
        }
        let fewer = |left: u64| left.checked_sub(1);
        let left = &self.times_left;
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer) {
            Ok(_) => {
                self.shown.fetch_add(1, Ordering::Relaxed);
                temper
            }
            Err(_) => Temper::Good,
        }
    }

    fn seen(&self, request: &Request, status: Option<u16>) -> Push {
        let Subscription {
            topic,
            name,
            is_json,
        } = self.subscription;
        let is_ours = request.path == format!("/{topic}/{name}");
        let text = if !is_ours {
            None
        } else if is_json {
            request.message(topic, name)
        } else {
            Some(request.body.clone())
        };
        let text = text.unwrap_or_else(|| {
            say(&format!("{topic}/{name} was pushed {request:?}"));
            String::new()
        });
        let tags = request.tags.as_deref().unwrap_or_default();
        Push {
            subscription: name.to_owned(),
            body: Body::parse(&text).map(|body| body.id),
            checksum: checksum(text.as_bytes()),
            message: request.message.clone(),
            tags: tags
                .split(", ")
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
            status,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        chance.below(bound)
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Request {
    path: String,
    host: String,
    message: String,
    tags: Option<String>,
    body: String,
    /// Head and body.
    bytes: usize,
}

impl Request {
    /// `None` while it is not complete. Nothing else than what the server sends is expected.
    fn parse(received: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(received);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(given, _)| given.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_owned())
        };
        let length: usize = value("content-length")?.parse().ok()?;
        let body = body.get(..length)?.to_owned();
        Some(Self {
            path: head.split(' ').nth(1)?.to_owned(),
            host: value("host")?,
            message: value("x-cmq-message-id")?,
            tags: value("x-cmq-message-tag"),
            bytes: head.len() + 4 + length,
            body,
        })
    }

    /// The message of a JSON body, if that says the same as the headers and the subscription do.
    fn message(&self, topic: &str, name: &str) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let says = |field: &str, expected: &str| body[field].as_str() == Some(expected);
        let is_ours = says("topicName", topic)
            && says("subscriptionName", name)
            && says("msgId", &self.message);
        is_ours.then(|| body["msgBody"].as_str().map(str::to_owned))?
    }
}

fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    listener.accept().ok().map(|(stream, _)| stream)
}

/// A whole answer, unless nobody waits for it any more.
fn whole(stream: &TcpStream, status: u16, answer: &[u8]) -> (Option<u16>, bool) {
    if is_left(stream) || !write(stream, answer) {
        return (None, false);
    }
    (Some(status), true)
}

fn is_left(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    match peeked {
        Ok(length) => length == 0,
        Err(error) => !is_timeout(&error),
    }
}

/// Byte after byte, all in about this time, or until nobody reads any more.
fn drip(stream: &TcpStream, bytes: &[u8], time: Duration) {
    let pause = time / u32::try_from(bytes.len()).expect("a short answer");
    for byte in bytes {
        if is_left(stream) || !write(stream, &[*byte]) {
            return;
        }
        thread::sleep(pause);
    }
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.set_write_timeout(Some(TOO_LONG)).unwrap();
    stream.write_all(bytes).is_ok()
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
