//! The port, from the outside: rude, slow and broken clients, and some that behave.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::{
    KeyStore, ServerConfig, cmq, start,
    testing::{Fake, ID, Keys, NOW, clock, key, message, signed_for},
};

mod abuse;
mod framing;
mod life;
mod proxied;
mod tls;

const PATH: &str = "/v2/index.php";
/// As long as anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);
const SEND: &[(&str, &str)] = &[
    ("Action", "SendMessage"),
    ("queueName", "q"),
    ("msgBody", "hello"),
];
const POLL: &[(&str, &str)] = &[
    ("Action", "ReceiveMessage"),
    ("queueName", "q"),
    ("pollingWaitSeconds", "30"),
];

struct World {
    fake: Fake,
    server: Server,
}

fn world() -> World {
    world_with(Limits::default())
}

fn world_with(limits: Limits) -> World {
    adjusted_world(|config| config.limits = limits)
}

fn adjusted_world(adjust: impl FnOnce(&mut ServerConfig)) -> World {
    let fake = Fake::default();
    let mut config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        threads: 2,
        tls: None,
        trusted_proxies: Vec::new(),
        limits: Limits::default(),
        rates: None,
        cmq: cmq::Config::new([1; 32]),
    };
    adjust(&mut config);
    let keys: Arc<dyn KeyStore> = Keys::of([key()]);
    let server = start(config, fake.clone(), keys, clock()).unwrap();
    World { fake, server }
}

impl World {
    fn connect(&self) -> Client {
        Client::connect(self.server.address())
    }

    /// A whole signed request.
    fn post(&self, parameters: &[(&str, &str)]) -> String {
        let host = self.server.address().to_string();
        let form = signed_for("POST", &host, PATH, parameters);
        let length = form.len();
        format!("POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{form}")
    }

    fn head(&self, rest: &str) -> String {
        let host = self.server.address();
        format!("POST {PATH} HTTP/1.1\r\nHost: {host}\r\n{rest}")
    }

    /// All that is answered to a request that asks for the connection's end.
    fn reply(&self, request: &str) -> String {
        let mut client = self.connect();
        client.say(&request.replacen("\r\nHost:", "\r\nConnection: close\r\nHost:", 1));
        client.rest()
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    fn connect_from(from: &str, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from: SocketAddr = from.parse().unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::of(socket.into())
    }

    fn of(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// What comes until the server closes; a reset counts as its close.
    fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut piece = [0; 4_096];
        loop {
            match self.0.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the server does not close: {error}"),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One answer with a length: its head and its body.
    fn answer(&mut self) -> (String, String) {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).expect("an answer comes");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            })
            .expect("an answer has a length");
        let mut body = vec![0; length.trim().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }
}

/// Waits for something that another thread does.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}
