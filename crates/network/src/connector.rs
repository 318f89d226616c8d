//! TLS of those who connect: whose certificates are believed.

use std::{fmt, io, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Stream,
    pem::{FileError, read_certificates},
};

/// Agrees on TLS with whoever shows a certificate of the roots that has the name that was asked for.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Connector {
    /// # Errors
    /// If the library cannot be set up.
    pub fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Waits for the other side as long as it takes.
    ///
    /// # Errors
    /// If the certificate is not believed, or the connection breaks.
    pub async fn agree<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        self.0.connect(name, stream).await
    }

    /// As [`Connector::agree`], with a host as it is written in a URL: a name or an address, which may stand in
    /// brackets.
    ///
    /// # Errors
    /// Also if no certificate can have this host.
    pub async fn connect(&self, host: &str, socket: TcpStream) -> io::Result<Stream> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let name = ServerName::try_from(bare.unwrap_or(host).to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = self.agree(name, socket).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// The roots of a PEM file that the operator named, so that what is wrong with it is an error.
///
/// # Errors
/// If the file cannot be read, has no certificate, or one that can be no root.
pub fn roots_of_file(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates("root certificates", path)? {
        roots.add(certificate).map_err(|error| FileError::Root {
            path: path.to_owned(),
            error,
        })?;
    }
    Ok(roots)
}

/// The system's roots; there may be none. Systems have odd certificates among good ones; the good ones do.
pub fn roots_of_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "some of the system's root certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}
