//! Mutual TLS between nodes: both sides show a certificate that the same roots have signed and that has
//! the nodes' name.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anser_network::{FileError, Stream, read_certificates, roots_of_file};
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::dialler::DiallerVerifier;

mod dialler;

/// So that no other service behind the same certificates is mistaken for a node.
const PROTOCOL: &[u8] = b"anser-transport";

/// How a node proves itself, and whom it believes. TLS 1.3 only, without resumption.
#[derive(Clone)]
pub struct TlsConfig {
    name: ServerName<'static>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the certificate in {} and the key in {} do not make an identity: {error}", certificates.display(), key.display())]
    Identity {
        certificates: PathBuf,
        key: PathBuf,
        error: rustls::Error,
    },
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl TlsConfig {
    /// The name in the certificates of nodes, where no other was chosen.
    pub const DEFAULT_NAME: &str = "anser";

    /// Reads PEM files: the node's certificate with those between it and a root, its key, and the
    /// roots. Every node's certificate must have `name` among its names, whatever its address is, and
    /// be good for servers and clients.
    pub fn read(
        certificates: &Path,
        key: &Path,
        roots: &Path,
        name: &str,
    ) -> Result<Self, TlsError> {
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let roots = Arc::new(roots_of_file(roots)?);
        let own_chain = read_certificates("certificates", certificates)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| FileError::Read {
            what: "private key",
            path: key.to_owned(),
            error,
        })?;
        let wrong = |error| TlsError::Identity {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            error,
        };
        let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| setup(&error))?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(own_chain.clone(), secret.clone_key())
            .map_err(wrong)?;
        let chain = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| setup(&error))?;
        let verifier = Arc::new(DiallerVerifier {
            chain,
            name: server_name.clone(),
        });
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| setup(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(own_chain, secret)
            .map_err(wrong)?;
        // Every connection shows its certificates: one that is no longer believed is then noticed.
        client.resumption = Resumption::disabled();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            name: server_name,
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let stream = connector.connect(self.name.clone(), stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        let stream = acceptor.accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
