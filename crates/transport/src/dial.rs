//! One dial: look up, connect, agree on TLS, shake hands.

use std::{io, net::SocketAddr, time::Duration};

use anser_network::Stream;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{self, Instant},
};

use crate::{
    error::DialError,
    handshake::{self, Purpose},
    secret::Secret,
    tls::TlsConfig,
    welcome::Found,
};

/// How many of a name's addresses are tried.
const ADDRESSES_MAX: usize = 4;

/// A connection that is agreed upon, within `length`, and with whom.
pub(crate) async fn dial(
    address: &str,
    purpose: Purpose<'_>,
    secret: &Secret,
    tls: Option<&TlsConfig>,
    length: Duration,
) -> Result<(Stream, Found), DialError> {
    let open = async {
        let stream = connect(address, Instant::now() + length).await?;
        // Only a matter of speed.
        _ = stream.set_nodelay(true);
        let mut stream = match tls {
            Some(tls) => tls.connect(stream).await.map_err(DialError::Tls)?,
            None => Stream::Plain(stream),
        };
        let found = handshake::dial(&mut stream, purpose, secret)
            .await
            .map_err(|error| name_tls(error, tls.is_some()))?;
        Ok((stream, found))
    };
    time::timeout(length, Box::pin(open))
        .await
        .unwrap_or_else(|_| Err(DialError::TimedOut(length.as_millis())))
}

/// The name is looked up each time, and its addresses are tried in turn, each for its share of the time.
async fn connect(address: &str, end: Instant) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = lookup_host(address)
        .await
        .map_err(DialError::Resolve)?
        .take(ADDRESSES_MAX)
        .collect();
    let mut last = DialError::NoAddress;
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = end.saturating_duration_since(Instant::now()) / left;
        match time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = DialError::Connect(error),
            Err(_) => last = DialError::TimedOut(share.as_millis()),
        }
        left -= 1;
    }
    Err(last)
}

/// With TLS 1.3 a dialler learns only from its first read that its own certificate is not believed.
fn name_tls(error: DialError, has_tls: bool) -> DialError {
    match error {
        DialError::Broken(error) if has_tls && error.kind() == io::ErrorKind::InvalidData => {
            DialError::Tls(error)
        }
        other => other,
    }
}
