//! What the nodes of a cluster share, and proofs of having it.

use std::fmt;

use aws_lc_rs::hmac;

/// Bytes of a proof: HMAC-SHA256.
pub(crate) const PROOF_BYTES: usize = 32;

/// The fewest bytes that are not guessed.
const BYTES_MIN: usize = 16;

/// The cluster's secret. It is never shown, written to a log or sent.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// A secret that can be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's secret has {0} bytes, at least 16 are needed")]
pub struct ShortSecret(usize);

impl Secret {
    /// A secret of at least 16 bytes, which should be random.
    pub fn new(bytes: &[u8]) -> Result<Self, ShortSecret> {
        if bytes.len() < BYTES_MIN {
            return Err(ShortSecret(bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    pub(crate) fn prove(&self, parts: &[&[u8]]) -> [u8; PROOF_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref()
            .try_into()
            .expect("a tag of HMAC-SHA256 has 32 bytes")
    }

    /// Takes the same time whichever byte differs.
    pub(crate) fn is_proved(&self, parts: &[&[u8]], proof: &[u8; PROOF_BYTES]) -> bool {
        hmac::verify(&self.0, &parts.concat(), proof).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_sixteen_bytes_and_is_not_shown() {
        assert_eq!(
            Secret::new(b"fifteen bytes..").unwrap_err(),
            ShortSecret(15)
        );
        let secret = Secret::new(b"sixteen bytes...").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }

    #[test]
    fn a_proof_is_of_all_bytes_and_of_this_secret() {
        let secret = Secret::new(&[7; 16]).unwrap();
        let proof = secret.prove(&[b"ab", b"c"]);
        assert!(secret.is_proved(&[b"ab", b"c"], &proof));
        assert!(!secret.is_proved(&[b"ab", b"d"], &proof));
        let other = Secret::new(&[8; 16]).unwrap();
        assert!(!other.is_proved(&[b"ab", b"c"], &proof));
    }
}
