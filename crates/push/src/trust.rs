//! Whose certificates are believed: the system's roots, or those of a file.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// How TLS is spoken; nothing if there is no root to trust, and then only plain HTTP works.
#[derive(Clone)]
pub(crate) struct Trust(pub(crate) Option<TlsConnector>);

impl Trust {
    pub(crate) fn load(file: Option<&Path>) -> io::Result<Self> {
        let roots = match file {
            Some(file) => roots_of_file(file)?,
            None => roots_of_system(),
        };
        if roots.is_empty() {
            tracing::warn!("there are no root certificates: pushes over https will fail");
            return Ok(Self(None));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }
}

/// The operator named this file, so that what is wrong with it is an error.
fn roots_of_file(file: &Path) -> io::Result<RootCertStore> {
    let wrong = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("root certificates in {}: {error}", file.display()),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there are none"));
    }
    Ok(roots)
}

/// Systems have odd certificates among good ones; the good ones do.
fn roots_of_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "some of the system's root certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}
