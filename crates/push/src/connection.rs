//! One connection to an endpoint's host. Dropped, it is closed, whatever it was doing.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    task::{AbortHandle, spawn_local},
    time::Instant,
};

use crate::{endpoint::Security, prelude::Prelude};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

pub(crate) type Body = Full<Bytes>;

#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Body>,
    driver: AbortHandle,
    prelude: Prelude,
    pub(crate) security: Security,
    /// Who is at the other end.
    pub(crate) peer: SocketAddr,
    pub(crate) opened: Instant,
    /// Its place at the peer while it is used.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// To whom a connection goes.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) place: OwnedSemaphorePermit,
    /// Of the stream that leads there.
    pub(crate) prelude: Prelude,
}

impl Connection {
    pub(crate) async fn new<S>(stream: S, security: Security, peer: Peer) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = spawn_local(async move {
            // How it ended is told to whoever waits for the answer.
            _ = connection.await;
        });
        Ok(Self {
            sender,
            driver: driver.abort_handle(),
            prelude: peer.prelude,
            security,
            peer: peer.address,
            opened: Instant::now(),
            place: Some(peer.place),
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        self.prelude.begin();
        let answered = self.sender.try_send_request(request).await;
        self.prelude.end();
        answered
    }

    /// Waits until another request can be sent. Not before the last answer was read to its end.
    pub(crate) async fn ready(&mut self) -> hyper::Result<()> {
        self.sender.ready().await
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
