//! TLS of a port: 1.2 and 1.3, for HTTP/1.1.

use std::{fmt, io, sync::Arc};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::{Stream, identity::InForce};

/// HTTP/2 is not spoken, so that a client which offers both takes this one.
const PROTOCOL: &[u8] = b"http/1.1";

/// Agrees on TLS with those who connect, and shows them the identity that is in force.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

/// Why a connection is not under TLS.
#[derive(Debug)]
pub enum NotAccepted {
    /// It begins as plain HTTP does, of which nothing was read.
    Plain(TcpStream),
    Failed(io::Error),
}

impl Acceptor {
    /// # Errors
    /// If the system gives no random bytes.
    pub fn new(identity: Arc<InForce>) -> Result<Self, rustls::Error> {
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(identity);
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // What a client needs to go on with where it was is kept by the client, so that it takes no memory here.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Waits for the client's part as long as the client takes: whoever calls this has a deadline.
    ///
    /// # Errors
    /// If the client speaks no TLS that is understood, or leaves.
    pub async fn accept(&self, socket: TcpStream) -> Result<Stream, NotAccepted> {
        let mut first = [0];
        match socket.peek(&mut first).await {
            Err(error) => return Err(NotAccepted::Failed(error)),
            // A method of HTTP; TLS begins with 22.
            Ok(_) if first[0].is_ascii_uppercase() => {
                return Err(NotAccepted::Plain(socket));
            }
            Ok(_) => {}
        }
        let stream = self.0.accept(socket).await.map_err(NotAccepted::Failed)?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acceptor").finish_non_exhaustive()
    }
}
