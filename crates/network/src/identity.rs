//! What a port shows to those who connect: a certificate and what proves that it is its own.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// A certificate, those between it and a root, and its key.
pub struct Identity {
    key: Arc<CertifiedKey>,
    expires: u64,
}

/// What makes files no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("its certificates cannot be read: {0}")]
    Certificates(pem::Error),
    #[error("there is no certificate in it")]
    NoCertificate,
    #[error("its private key cannot be read: {0}")]
    Key(pem::Error),
    #[error("the certificate and the key do not belong together: {0}")]
    Pair(rustls::Error),
    #[error("it cannot be said until when the certificate is valid")]
    Validity,
}

impl Identity {
    /// Reads the text of two PEM files: the certificate, followed by those between it and a root, and its key.
    ///
    /// # Errors
    /// If one of them is not usable or they do not belong together. A certificate that is not valid yet, or not any
    /// more, is no error.
    pub fn parse(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(IdentityError::Certificates)?;
        let own = chain.first().ok_or(IdentityError::NoCertificate)?;
        let expires = expires(own).ok_or(IdentityError::Validity)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::Key)?;
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(IdentityError::Pair)?;
        Ok(Self {
            key: Arc::new(key),
            expires,
        })
    }

    /// When the certificate ends, in seconds since 1970; those between it and a root may end before.
    pub fn expires(&self) -> u64 {
        self.expires
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// `None` if the certificate does not say it in a way that is understood.
fn expires(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let end = certificate.validity().not_after.timestamp();
    Some(u64::try_from(end).unwrap_or(0))
}

/// The identity that new connections are shown, whichever it is when they come.
pub struct InForce(RwLock<Arc<CertifiedKey>>);

impl InForce {
    pub fn new(identity: Identity) -> Self {
        Self(RwLock::new(identity.key))
    }

    /// Shows another one from now on. Connections that are there stay as they are.
    pub fn replace(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identity.key;
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InForce").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for InForce {
    /// There is one, whatever name the client asks for: the client checks it.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&key))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn files() -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(vec!["mq.example".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2051, 2, 3);
        let certificate = params.self_signed(&key).expect("it can be signed");
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn an_identity_knows_its_end() {
        let (certificate, key) = files();
        let identity = Identity::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(identity.expires(), 2_558_995_200);
    }

    #[test]
    fn what_is_no_identity_says_why() {
        let (certificate, key) = files();
        let (other, _) = files();
        let broken = certificate.replace("MII", "AAA");
        for (certificate, key, why) in [
            ("", key.as_str(), "there is no certificate"),
            (key.as_str(), key.as_str(), "there is no certificate"),
            (certificate.as_str(), "", "its private key cannot be read"),
            (other.as_str(), key.as_str(), "do not belong together"),
            (broken.as_str(), key.as_str(), "until when"),
        ] {
            let error = Identity::parse(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
