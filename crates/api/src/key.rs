//! Access keys: who may sign, for which account.
//!
//! A key holds its HMAC states ready for use and not the secret itself; nothing here prints either.

use std::{fmt, sync::Arc};

use anser_broker::{id::AccountId, time::Timestamp};
use aws_lc_rs::{constant_time, hmac};

/// What a client signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
}

impl Algorithm {
    /// By the text of `SignatureMethod`: all but two texts mean SHA-1.
    pub(crate) fn from_method(method: Option<&[u8]>) -> Self {
        match method {
            Some(b"HmacSHA256" | b"sha256") => Self::Sha256,
            _ => Self::Sha1,
        }
    }
}

/// Where keys come from.
pub trait KeyStore: Send + Sync + 'static {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>>;
}

/// One key of an account.
pub struct AccessKey {
    /// Shared with all that is done by it.
    id: Arc<str>,
    account: AccountId,
    enabled: bool,
    token: Option<Token>,
    sha1: hmac::Key,
    sha256: hmac::Key,
}

/// The mark of a temporary key: each request carries the text.
struct Token {
    text: Box<str>,
    expires: Timestamp,
}

impl AccessKey {
    pub fn new(id: &str, secret: &[u8], account: AccountId, enabled: bool) -> Self {
        Self {
            id: id.into(),
            account,
            enabled,
            token: None,
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret),
            sha256: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The same key as a temporary one.
    #[must_use]
    pub fn with_token(mut self, text: &str, expires: Timestamp) -> Self {
        self.token = Some(Token {
            text: text.into(),
            expires,
        });
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    pub fn account(&self) -> AccountId {
        self.account
    }

    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether a request with this token may use the key. A permanent key asks for none.
    pub(crate) fn accepts_token(&self, given: Option<&[u8]>, now: Timestamp) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let equal = given.is_some_and(|given| {
            constant_time::verify_slices_are_equal(given, token.text.as_bytes()).is_ok()
        });
        equal && now < token.expires
    }

    pub(crate) fn hmac(&self, algorithm: Algorithm) -> &hmac::Key {
        match algorithm {
            Algorithm::Sha1 => &self.sha1,
            Algorithm::Sha256 => &self.sha256,
        }
    }
}

/// Without the secret.
impl fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AccessKey")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("enabled", &self.enabled)
            .field("expires", &self.token.as_ref().map(|token| token.expires))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_neither_secret_nor_token() {
        let key = AccessKey::new("id-1", b"hush-secret", AccountId(7), true)
            .with_token("hush-token", Timestamp(9));
        assert!(!format!("{key:?}").contains("hush"));
    }

    #[test]
    fn a_temporary_key_wants_its_token_until_it_expires() {
        let key = AccessKey::new("id-1", b"s", AccountId(7), true).with_token("t", Timestamp(9));
        assert!(key.accepts_token(Some(b"t"), Timestamp(8)));
        assert!(!key.accepts_token(Some(b"t"), Timestamp(9)));
        assert!(!key.accepts_token(Some(b"u"), Timestamp(8)));
        assert!(!key.accepts_token(None, Timestamp(8)));
    }
}
