//! Where a server listens, and whether it is spoken to under TLS.

use std::{io, path::Path};

use anser_network::{Connector, Stream, roots_of_file, roots_of_system};
use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::exit::Exit;

const SECURE: &str = "https://";

/// A port of a server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host and port, if it was written, as in a header `Host`.
    host: String,
    /// Host and port.
    address: String,
    /// Who is believed to be there; plain HTTP without it.
    tls: Option<Connector>,
}

impl Endpoint {
    /// Of `http://HOST` or `http://HOST:PORT`; with `tls` of the same with `https`. `None` if it is neither.
    pub fn read(url: &str, tls: Option<&Connector>) -> Option<Self> {
        let (rest, tls, port) = match url.strip_prefix(SECURE) {
            Some(rest) => (rest, Some(tls?.clone()), 443),
            None => (url.strip_prefix("http://")?, None, 80),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.is_empty() || host.contains(|letter: char| "/?#@ ".contains(letter)) {
            return None;
        }
        let address = if has_port(host) {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let host = host.to_owned();
        Some(Self { host, address, tls })
    }

    /// As it stands in a header `Host`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        self.tls.as_ref().map_or("http", |_| "https")
    }

    /// A connection, under TLS if that is spoken there.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        let socket = TcpStream::connect(&self.address).await?;
        socket.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(socket));
        };
        let (host, _) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        tls.connect(host, socket).await
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// What believes the certificates of `roots`, a PEM file, or without it of the system's roots; `None` for a URL that
/// is not of `https`.
pub(crate) fn tls_of(url: &str, roots: Option<&Path>) -> Result<Option<Connector>> {
    if !url.starts_with(SECURE) {
        return Ok(None);
    }
    let roots = match roots {
        Some(file) => roots_of_file(file)
            .context(Exit::Configuration.reason("the file of --roots is not usable"))?,
        None => roots_of_system(),
    };
    let tls = Connector::new(roots).context("TLS cannot be set up")?;
    Ok(Some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_perhaps_a_port() {
        let tls = tls_of("https://h", None).unwrap();
        let read = |url| {
            let endpoint = Endpoint::read(url, tls.as_ref())?;
            Some(format!(
                "{} {} {}",
                endpoint.host,
                endpoint.address,
                endpoint.tls.is_some()
            ))
        };
        for (url, meant) in [
            ("http://h", "h h:80 false"),
            ("http://h:1/", "h:1 h:1 false"),
            ("https://h", "h h:443 true"),
            ("https://[::1]:9324", "[::1]:9324 [::1]:9324 true"),
            ("https://[::1]", "[::1] [::1]:443 true"),
        ] {
            assert_eq!(read(url).as_deref(), Some(meant), "{url}");
        }
        for url in [
            "",
            "h:1",
            "http://",
            "https:///",
            "ftp://h",
            "http://h/x",
            "https://a@h",
        ] {
            assert_eq!(read(url), None, "{url}");
        }
        assert!(Endpoint::read("https://h", None).is_none());
    }
}
