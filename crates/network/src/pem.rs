//! Certificates in PEM files.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, pem, pem::PemObject};

/// What is wrong with a file of certificates.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{what} in {}: {error}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        error: pem::Error,
    },
    #[error("{what} in {}: there is none", path.display())]
    Empty { what: &'static str, path: PathBuf },
    #[error("root certificates in {}: {error}", path.display())]
    Root { path: PathBuf, error: rustls::Error },
}

/// All certificates of a file, which has at least one; `what` names them to people.
///
/// # Errors
/// If the file cannot be read, is no PEM, or has no certificate.
pub fn read_certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let failed = |error| FileError::Read {
        what,
        path: path.to_owned(),
        error,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if certificates.is_empty() {
        return Err(FileError::Empty {
            what,
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}
