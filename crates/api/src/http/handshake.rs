//! The beginning of a connection to a port that speaks TLS.
//!
//! Until it is over the connection is one that has shown no request: it has the time of a first head for both together,
//! takes a place among all connections and those of its address, and ends when the server stops.

use std::sync::Arc;

use anser_network::{Acceptor, NotAccepted, Stream};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tracing::debug;

use super::{idle_time, link::Link, overdue, stream::LinkedStream};
use crate::{metrics::add, stop::Stop};

/// The answer to who speaks plain HTTP, in plain HTTP.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 49\r\n\
    Connection: close\r\n\r\n\
    {\"message\":\"this port speaks https, and no http\"}";

/// What requests come over; nothing if the client has agreed on no TLS, and has been told why if it can be.
pub(super) async fn agree(
    acceptor: &Acceptor,
    link: &Arc<Link>,
    socket: TcpStream,
    stop: Stop,
) -> Option<Stream> {
    let accepted = tokio::select! {
        accepted = overdue::within(link, acceptor.accept(socket)) => accepted?,
        () = idle_time(stop) => return None,
    };
    match accepted {
        Ok(stream) => return Some(stream),
        Err(NotAccepted::Failed(error)) => {
            debug!(%error, "a client has not agreed on TLS");
        }
        Err(NotAccepted::Plain(socket)) => {
            debug!("a client speaks plain HTTP to a port that speaks TLS");
            refuse(link, socket).await;
        }
    }
    add(&link.metrics.handshakes_failed, 1);
    None
}

async fn refuse(link: &Arc<Link>, socket: TcpStream) {
    let mut stream = LinkedStream::new(Stream::Plain(socket), Arc::clone(link));
    let told = async {
        stream.write_all(SPEAKS_TLS).await?;
        stream.shutdown().await
    };
    if let Some(Err(error)) = overdue::within(link, told).await {
        debug!(%error, "the client left before it heard the answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_in_plain_http_has_the_length_that_it_says() {
        let text = std::str::from_utf8(SPEAKS_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
