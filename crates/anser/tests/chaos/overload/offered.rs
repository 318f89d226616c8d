//! Requests that come whether or not the ones before are answered, as those of many clients do, and what becomes of them.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anser_api::{AccessKey, Algorithm, encode_form, sign_v1};
use anser_broker::id::AccountId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, timeout},
};

use crate::chaos::served::Doors;

const PATH: &str = "/v2/index.php";
/// How often those that are due are sent.
const TICK: Duration = Duration::from_millis(2);
/// Connections from one address of this machine: a node takes 2,000.
const PER_ADDRESS: usize = 1_500;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of one request: how long it took, and the answer's code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) took: Duration,
    /// `None`: no answer.
    pub(super) code: Option<i64>,
}

/// What came of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: Vec<Answered>,
    /// Requests for which there was no connection: as many as may be were waiting for answers.
    pub(super) held_back: u64,
}

impl Tally {
    /// How long those with this code took, in order.
    pub(super) fn times(&self, code: i64) -> Vec<Duration> {
        let some = self.answered.iter().filter(|one| one.code == Some(code));
        let mut times: Vec<Duration> = some.map(|one| one.took).collect();
        times.sort_unstable();
        times
    }

    /// Those with other codes than these, or without an answer.
    pub(super) fn besides(&self, codes: &[i64]) -> Vec<Answered> {
        let is_other = |one: &&Answered| one.code.is_none_or(|code| !codes.contains(&code));
        self.answered.iter().filter(is_other).copied().collect()
    }
}

/// Sends to some queues through all nodes. Requests are signed once: a generator that signs each would take the
/// processors that it wants to see busy.
#[derive(Debug)]
pub(super) struct Offered {
    /// Of each node: its address, and a request for each queue.
    doors: Vec<(SocketAddr, Vec<Vec<u8>>)>,
}

impl Offered {
    pub(super) fn new(doors: &Doors, queues: &[String], body: &str) -> Self {
        let door = |endpoint: &String| {
            let host = endpoint.strip_prefix("http://").unwrap();
            let requests = queues.iter().map(|queue| {
                let parameters = [
                    ("Action", "SendMessage"),
                    ("queueName", queue),
                    ("msgBody", body),
                ];
                request(doors, host, &parameters)
            });
            (host.parse().unwrap(), requests.collect())
        };
        Self {
            doors: doors.endpoints.iter().map(door).collect(),
        }
    }

    /// As many as are answered by this many connections to each node, each with one after the other.
    pub(super) async fn at_capacity(&self, connections: usize, length: Duration) -> Tally {
        let until = Instant::now() + length;
        let mut running = JoinSet::new();
        for (place, (address, requests)) in self.doors.iter().enumerate() {
            for number in 0..connections {
                let request = requests[(place + number) % requests.len()].clone();
                let address = *address;
                running.spawn(async move {
                    let mut connection = None;
                    let mut answered = Vec::new();
                    while Instant::now() < until {
                        answered.push(ask(&mut connection, 0, address, &request).await);
                    }
                    answered
                });
            }
        }
        let mut tally = Tally::default();
        while let Some(answered) = running.join_next().await {
            tally.answered.extend(answered.unwrap());
        }
        tally
    }

    /// So many a second, over at most so many connections to each node.
    pub(super) async fn at_rate(&self, rate: f64, connections: usize, length: Duration) -> Tally {
        let began = Instant::now();
        let mut ticks = interval(TICK);
        let mut running = JoinSet::new();
        let mut idle: Vec<Vec<TcpStream>> = self.doors.iter().map(|_| Vec::new()).collect();
        let mut busy = vec![0; self.doors.len()];
        let (mut asked, mut tally) = (0_u32, Tally::default());
        while began.elapsed() < length {
            ticks.tick().await;
            while let Some(done) = running.try_join_next() {
                let (node, connection, answered): (usize, Option<TcpStream>, Answered) =
                    done.unwrap();
                busy[node] -= 1;
                idle[node].extend(connection);
                tally.answered.push(answered);
            }
            while f64::from(asked) < began.elapsed().as_secs_f64() * rate {
                asked += 1;
                let number = usize::try_from(asked).unwrap();
                let node = number % self.doors.len();
                if busy[node] == connections {
                    tally.held_back += 1;
                    continue;
                }
                let from = busy[node] / PER_ADDRESS;
                busy[node] += 1;
                let (address, requests) = &self.doors[node];
                let request = requests[number / self.doors.len() % requests.len()].clone();
                let (address, mut connection) = (*address, idle[node].pop());
                running.spawn(async move {
                    let answered = ask(&mut connection, from, address, &request).await;
                    (node, connection, answered)
                });
            }
        }
        while let Some(done) = running.join_next().await {
            tally.answered.push(done.unwrap().2);
        }
        tally
    }
}

/// Asks over this connection, or a new one from the address of this number.
async fn ask(
    connection: &mut Option<TcpStream>,
    from: usize,
    address: SocketAddr,
    request: &[u8],
) -> Answered {
    let asked = Instant::now();
    let code = timeout(PATIENCE, async {
        if connection.is_none() {
            *connection = Some(connect(from, address).await?);
        }
        let stream = connection.as_mut().expect("it is there by now");
        stream.write_all(request).await?;
        read_code(stream).await
    });
    let code = code.await.ok().and_then(Result::ok);
    if code.is_none() {
        *connection = None;
    }
    Answered {
        took: asked.elapsed(),
        code,
    }
}

/// Connects from one of the addresses that a machine has for itself.
pub(super) async fn connect(from: usize, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let from = u8::try_from(2 + from).expect("there are few");
    socket.bind(SocketAddr::from(([127, 0, 0, from], 0)))?;
    socket.connect(to).await
}

/// The code of an answer of this dialect.
async fn read_code(stream: &mut TcpStream) -> io::Result<i64> {
    let mut received = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = lengths.next().unwrap().1.parse().unwrap();
        if body.len() >= length {
            let answer: serde_json::Value = serde_json::from_str(body)?;
            return Ok(answer["code"].as_i64().expect("every answer has a code"));
        }
    }
}

/// A signed request as it goes over the wire.
pub(super) fn request(doors: &Doors, host: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = since.as_secs().to_string();
    let mut all = parameters.to_vec();
    all.extend([
        ("Nonce", "1"),
        ("SecretId", doors.key_id),
        ("SignatureMethod", "HmacSHA256"),
        ("Timestamp", &seconds),
    ]);
    let key = AccessKey::new(doors.key_id, doors.secret.as_bytes(), AccountId(0), true);
    let signature = sign_v1(&key, Algorithm::Sha256, "POST", host, PATH, &all);
    all.push(("Signature", &signature));
    let form = encode_form(all);
    let length = form.len();
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}
