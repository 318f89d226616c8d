//! Whose certificates are believed: the system's roots, or those of a file.

use std::{io, path::Path};

use anser_network::{Connector, roots_of_file, roots_of_system};

/// How TLS is spoken; nothing if there is no root to trust, and then only plain HTTP works.
#[derive(Clone)]
pub(crate) struct Trust(pub(crate) Option<Connector>);

impl Trust {
    pub(crate) fn load(file: Option<&Path>) -> io::Result<Self> {
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let roots = match file {
            Some(file) => roots_of_file(file).map_err(wrong)?,
            None => roots_of_system(),
        };
        if roots.is_empty() {
            tracing::warn!("there are no root certificates: pushes over https will fail");
            return Ok(Self(None));
        }
        let connector = Connector::new(roots).map_err(io::Error::other)?;
        Ok(Self(Some(connector)))
    }
}
