//! HTTP by hand: every byte of a request is the test's own, and an answer is taken apart.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer takes this long, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection is listened to before it counts as silent.
const SILENCE: Duration = Duration::from_millis(30);

#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn read(&mut self) -> Response {
        let line = self.line();
        let status = line.split(' ').nth(1).expect("an answer has a status");
        let status = status.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let length = response
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        response.body = vec![0; length];
        self.stream.read_exact(&mut response.body).unwrap();
        response
    }

    /// The next byte, for answers that have no length of their own.
    pub(crate) fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Whether nothing has come.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.within(SILENCE, |stream| match stream.fill_buf() {
            Ok(bytes) => panic!("{}", String::from_utf8_lossy(bytes)),
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        })
    }

    /// Whether the server has closed its side; waits for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }

    fn within<T>(&mut self, time: Duration, act: impl FnOnce(&mut BufReader<TcpStream>) -> T) -> T {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
        let result = act(&mut self.stream);
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        result
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(given, _)| given == name);
        found.next().map(|(_, value)| value.as_str())
    }
}
