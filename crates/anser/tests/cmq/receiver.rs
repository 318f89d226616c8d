//! A web server that pushes go to: it records what comes and answers as it was told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anser_node::Clock;

/// Nothing takes this long, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest JSON that a body of 1 MiB can become, and more.
const BODY_BYTES_MAX: usize = 8 << 20;
/// The body of every answer that may have one.
pub(crate) const ANSWER: &str = "the receiver's words";

/// What a push is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    Redirect(u16, String),
    /// Reads the request and closes the connection.
    Close,
    /// Reads the request and says nothing for as long as there is a receiver.
    Hang,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Milliseconds since 1970 by the clock of the server that pushes.
    pub(crate) at: u64,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    reply: Reply,
    connections: usize,
    pushes: Vec<Push>,
    is_closed: bool,
}

impl Receiver {
    /// Answers everything with a success, until it is told otherwise.
    pub(crate) fn start(clock: Clock) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            reply: Reply::Status(200),
            connections: 0,
            pushes: Vec::new(),
            is_closed: false,
        };
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let listening = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || listen(&listener, &listening)));
        Self {
            address,
            shared,
            thread,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What `Host` says of it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// How pushes are answered from now on.
    pub(crate) fn answer(&self, reply: Reply) {
        self.shared.lock().reply = reply;
    }

    /// Everything that came.
    pub(crate) fn pushes(&self) -> Vec<Push> {
        self.shared.lock().pushes.clone()
    }

    /// How often somebody connected.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits until so many pushes have come; everything that came.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Push> {
        let pushes = self.wait_until(|pushes| pushes.len() >= count);
        let came = pushes.len();
        assert!(came >= count, "{came} pushes came, not {count}");
        pushes
    }

    /// Waits until a message has come, whatever comes besides.
    #[track_caller]
    pub(crate) fn wait_for_message(&self, id: &str) {
        let is_there = |pushes: &[Push]| pushes.iter().any(|push| push.message() == id);
        assert!(is_there(&self.wait_until(is_there)), "{id} did not come");
    }

    /// Everything that came, when it is enough or nobody has the patience to wait for more.
    fn wait_until(&self, is_enough: impl Fn(&[Push]) -> bool) -> Vec<Push> {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !is_enough(&state.pushes))
            .unwrap_or_else(PoisonError::into_inner);
        state.pushes.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        // Wakes the thread that listens.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a request; how it is to be answered.
    fn record(&self, push: Push) -> Reply {
        let mut state = self.lock();
        state.pushes.push(push);
        self.changed.notify_all();
        state.reply.clone()
    }

    /// Waits until the receiver ends.
    fn hang(&self) {
        let state = self.lock();
        drop(
            self.changed
                .wait_timeout_while(state, PATIENCE, |state| !state.is_closed),
        );
    }
}

impl Push {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(given, _)| given == name);
        let (_, value) = found.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value
    }

    #[track_caller]
    pub(crate) fn message(&self) -> &str {
        self.header("x-cmq-message-id")
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What came, as texts.
pub(crate) fn texts(pushes: &[Push]) -> Vec<&str> {
    pushes.iter().map(Push::text).collect()
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let mut state = shared.lock();
        if state.is_closed {
            return;
        }
        state.connections += 1;
        drop(state);
        let (stream, shared) = (stream.unwrap(), Arc::clone(shared));
        thread::spawn(move || serve(&stream, &shared));
    }
}

/// One request on each connection.
fn serve(stream: &TcpStream, shared: &Shared) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let push = read(stream, &shared.clock);
    match shared.record(push) {
        Reply::Status(status) => write(stream, status, ""),
        Reply::Redirect(status, to) => write(stream, status, &format!("Location: {to}\r\n")),
        Reply::Close => {}
        Reply::Hang => shared.hang(),
    }
}

fn read(stream: &TcpStream, clock: &Clock) -> Push {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        let line = line.strip_suffix("\r\n").expect("a whole line");
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let headers = lines[1..].iter().map(|line| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_ascii_lowercase(), value.to_owned())
    });
    let mut push = Push {
        line: lines[0].clone(),
        headers: headers.collect(),
        body: Vec::new(),
        at: clock.wall().0,
    };
    let length: usize = push.header("content-length").parse().unwrap();
    assert!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
    push.body = vec![0; length];
    reader.read_exact(&mut push.body).unwrap();
    push
}

fn write(mut stream: &TcpStream, status: u16, headers: &str) {
    let answer = if status == 204 {
        format!("HTTP/1.1 {status} -\r\nConnection: close\r\n{headers}\r\n")
    } else {
        let length = ANSWER.len();
        format!(
            "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {headers}\r\n{ANSWER}"
        )
    };
    // The server may have ended.
    stream.write_all(answer.as_bytes()).ok();
}
