//! The common parameters: who asks, when, and whether the signature agrees.
//!
//! Nobody is shut out for the mistakes of others who use the same id: a right signature is always
//! accepted, so every request of a known id is verified, and one of an unknown id costs nothing.

use std::{sync::Arc, time::Duration};

use anser_broker::time::{Millis, Timestamp};

use super::{
    Config,
    errors::{Fault, Refusal},
    number::{Number, number},
    parameters::{common, find},
};
use crate::{
    auth::{
        signature::{Signed, mark_of},
        strict::{Accepted, Accounts, NotOnce},
    },
    key::{AccessKey, Algorithm, KeyStore},
};

pub(crate) struct Authenticator {
    keys: Arc<dyn KeyStore>,
    clock_skew: Millis,
    sha256_only: Accounts,
    once_only: Accounts,
    accepted: Accepted,
}

impl Authenticator {
    pub(crate) fn new(config: &Config, keys: Arc<dyn KeyStore>) -> Self {
        let skew = config.clock_skew.min(Config::CLOCK_SKEW_MOST);
        Self {
            keys,
            clock_skew: Millis(milliseconds(skew)),
            sha256_only: config.sha256_only.clone(),
            once_only: config.once_only.clone(),
            accepted: Accepted::default(),
        }
    }

    /// The key with which the request was signed.
    pub(crate) fn key(
        &self,
        signed: &Signed<'_>,
        now: Timestamp,
    ) -> Result<Arc<AccessKey>, Refusal> {
        let id = common(signed.form, "SecretId")?;
        let time = common(signed.form, "Timestamp")?;
        let nonce = common(signed.form, "Nonce")?;
        let signature = common(signed.form, "Signature")?;
        let time = integer("Timestamp", time)?;
        integer("Nonce", nonce)?;
        let time = self.fresh(time, now).ok_or(Fault::AuthenticationFailed)?;
        let key = self.check(signed, id, signature, now)?;
        if self.once_only.has(key.account()) {
            self.accept_once(&key, time, signature, now)?;
        }
        Ok(key)
    }

    /// Refuses what was accepted before and is sent again.
    fn accept_once(
        &self,
        key: &AccessKey,
        time: Timestamp,
        signature: &[u8],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mark = mark_of(signature).ok_or(Fault::AuthenticationFailed)?;
        // A whole second more: one at the far end of the window is still inside.
        let end = time + self.clock_skew + Millis(1000);
        let accepted = self.accepted.accept(key.account(), end, mark, now);
        accepted.map_err(|why| match why {
            NotOnce::Repeated => Fault::AuthenticationFailed.into(),
            NotOnce::Full => Fault::Throttled.into(),
        })
    }

    fn check(
        &self,
        signed: &Signed<'_>,
        id: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<Arc<AccessKey>, Refusal> {
        let method = optional(signed, "SignatureMethod")?;
        let token = optional(signed, "Token")?;
        let found = std::str::from_utf8(id)
            .ok()
            .and_then(|id| self.keys.find(id));
        let key = found.ok_or(Fault::NoSuchSecretId)?;
        let algorithm = Algorithm::from_method(method);
        if !signed.verify(key.hmac(algorithm), signature) {
            return Err(Fault::AuthenticationFailed.into());
        }
        if algorithm == Algorithm::Sha1 && self.sha256_only.has(key.account()) {
            return Err(Fault::AuthenticationFailed.into());
        }
        if !key.enabled() {
            return Err(Fault::SecretIdDisabled.into());
        }
        if !key.accepts_token(token, now) {
            return Err(Fault::AuthenticationFailed.into());
        }
        Ok(key)
    }

    /// The time of a request, if it is not too far off.
    fn fresh(&self, time: Number, now: Timestamp) -> Option<Timestamp> {
        let Number::Positive(seconds) = time else {
            return None;
        };
        let time = Timestamp(seconds.saturating_mul(1000));
        // Clients count whole seconds: one at the far end of the window is still inside.
        let now = Timestamp(now.seconds() * 1000);
        let is_fresh = now - time <= self.clock_skew && time - now <= self.clock_skew;
        is_fresh.then_some(time)
    }
}

fn optional<'a>(signed: &Signed<'a>, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    let place = find(signed.form, name)?;
    Ok(place.map(|place| signed.form.value(place)))
}

fn integer(name: &str, value: &[u8]) -> Result<Number, Refusal> {
    number(value).ok_or_else(|| Refusal::about(Fault::WrongType, name.as_bytes()))
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Authenticator")
            .field("clock_skew", &self.clock_skew)
            .finish_non_exhaustive()
    }
}
