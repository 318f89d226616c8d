//! One keep-alive connection: a request out, an answer in, nothing else.
//!
//! It reads the little of HTTP/1.1 that a server of ours sends: a status, headers, and a body of a
//! stated length or in chunks. Anything else is an error, never a guess.

use std::{
    io,
    ops::Range,
    time::{Duration, Instant},
};

use anser_network::Stream;
use rustix::{io::Errno, net::RecvFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Endpoint;

/// So soon after an answer no server has ended a connection that it said it keeps.
const JUST_USED: Duration = Duration::from_millis(5);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Above the largest answer: sixteen bodies of one MiB, each byte escaped by six, and what is around.
const BODY_BYTES_MAX: usize = 16 * 6 * 1024 * 1024 + 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    received: Vec<u8>,
    usable: bool,
    /// When the last answer had come, if any has.
    idle_since: Option<Instant>,
}

/// An answer whose body stands in the connection's buffer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

struct Head {
    status: u16,
    bytes: usize,
    length: Option<usize>,
    chunked: bool,
    close: bool,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        Ok(Self {
            stream: endpoint.connect().await?,
            received: Vec::with_capacity(4096),
            usable: true,
            idle_since: None,
        })
    }

    /// Whether the server has kept the idle connection open, as far as can be known. The system is asked: the runtime
    /// hears of an end only when it has had time to look. Right after an answer, which says if it is the last, it is not.
    pub(crate) fn is_usable(&self) -> bool {
        let is_fresh = |since: Instant| since.elapsed() < JUST_USED;
        if self.usable && self.idle_since.is_some_and(is_fresh) {
            return true;
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = rustix::net::recv(self.stream.socket(), &mut [0_u8; 1][..], flags);
        self.usable
            && match seen {
                Err(error) => error == Errno::AGAIN,
                // Under TLS a server says something first, which the first answer is read behind.
                Ok((count, _)) => {
                    count > 0 && self.stream.is_buffered() && self.idle_since.is_none()
                }
            }
    }

    /// After an error, or when this future was dropped, the connection is not usable any more.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.usable = false;
        self.received.clear();
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let head = self.read_head().await?;
        let body = match head.length {
            _ if head.chunked => self.read_chunks(head.bytes).await?,
            Some(length) => {
                let body = head.bytes..head.bytes + length;
                self.read_until(body.end).await?;
                body
            }
            None => return Err(malformed("an answer without length")),
        };
        self.usable = !head.close;
        self.idle_since = Some(Instant::now());
        Ok(Answer {
            status: head.status,
            body: &self.received[body],
        })
    }

    async fn read_head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(head) = parse_head(&self.received)? {
                return Ok(head);
            }
            if self.received.len() > HEAD_BYTES_MAX {
                return Err(malformed("an answer whose head does not end"));
            }
            self.read_more().await?;
        }
    }

    /// Reads a chunked body and moves its pieces together.
    async fn read_chunks(&mut self, start: usize) -> io::Result<Range<usize>> {
        let mut end = start;
        let mut place = start;
        loop {
            let line = loop {
                if let Some(length) = find(&self.received[place..], b"\r\n") {
                    break place..place + length;
                }
                self.read_more().await?;
            };
            let size = std::str::from_utf8(&self.received[line.clone()])
                .ok()
                .and_then(|text| usize::from_str_radix(text.split(';').next()?.trim(), 16).ok())
                .ok_or_else(|| malformed("a chunk without size"))?;
            let data = line.end + 2;
            self.read_until(data + size + 2).await?;
            self.received.copy_within(data..data + size, end);
            end += size;
            place = data + size + 2;
            if size == 0 {
                return Ok(start..end);
            }
        }
    }

    async fn read_until(&mut self, length: usize) -> io::Result<()> {
        if length > BODY_BYTES_MAX {
            return Err(malformed("an answer larger than any of ours"));
        }
        while self.received.len() < length {
            self.read_more().await?;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// `None` while the head is not complete.
fn parse_head(received: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = find(received, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&received[..end]).map_err(|_| malformed("a head in no text"))?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| malformed("an answer that is not HTTP/1.1"))?;
    let mut head = Head {
        status,
        bytes: end + 4,
        length: None,
        chunked: false,
        close: false,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = value
                .parse()
                .map_err(|_| malformed("a length that is no number"))?;
            head.length = Some(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server sent {what}"),
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn endpoint(listener: &TcpListener) -> io::Result<Endpoint> {
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Endpoint::read(&url, None).expect("it is a URL"))
    }

    async fn answer_to(sent: &'static [u8]) -> io::Result<(u16, Vec<u8>, bool)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = endpoint(&listener)?;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            stream.read_exact(&mut [0; 4]).await?;
            // One byte at a time, as a bad network would.
            for byte in sent {
                stream.write_all(&[*byte]).await?;
            }
            stream.read_u8().await.ok();
            io::Result::Ok(())
        });
        let mut connection = Connection::open(&endpoint).await?;
        let answer = connection.exchange(b"ping").await?;
        let (status, body) = (answer.status, answer.body.to_vec());
        let usable = connection.is_usable();
        drop(connection);
        server.await.unwrap()?;
        Ok((status, body, usable))
    }

    fn run(sent: &'static [u8]) -> io::Result<(u16, Vec<u8>, bool)> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(answer_to(sent))
    }

    #[test]
    fn answers_with_a_length_and_in_chunks_are_read() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(run(plain).unwrap(), (200, b"hello".to_vec(), true));
        let closing = b"HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(run(closing).unwrap(), (503, Vec::new(), false));
        let chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n";
        assert_eq!(run(chunks).unwrap(), (200, b"hello".to_vec(), true));
    }

    #[tokio::test]
    async fn a_connection_that_the_server_has_closed_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(&listener).unwrap();
        let connection = Connection::open(&endpoint).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(connection.is_usable());
        drop(stream);
        // Without giving the runtime a chance to hear of it.
        assert!(!connection.is_usable());
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(run(b"HTTP/1.1 200 OK\r\n\r\nx").is_err());
        assert!(run(b"SSH-2.0\r\n\r\nx").is_err());
    }
}
