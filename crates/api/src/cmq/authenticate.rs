//! The common parameters: who asks, when, and whether the signature agrees.
//!
//! An unknown id, a disabled key and a wrong signature take the same work.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_broker::{
    id::AccountId,
    time::{Millis, Timestamp},
};

use super::{
    Config,
    errors::{Fault, Refusal},
    number::{Number, number},
    parameters::{common, find},
};
use crate::{
    auth::{
        guard::Guard,
        signature::{Algorithm, Signed},
    },
    key::{AccessKey, KeyStore},
};

pub(crate) struct Authenticator {
    keys: Arc<dyn KeyStore>,
    guard: Guard,
    /// Stands in for keys that do not exist.
    nobody: AccessKey,
    clock_skew: Millis,
}

impl Authenticator {
    pub(crate) fn new(config: &Config, keys: Arc<dyn KeyStore>) -> Self {
        let skew = config.clock_skew.min(Config::CLOCK_SKEW_MOST);
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).expect("the system has random bytes");
        Self {
            keys,
            guard: Guard::default(),
            nobody: AccessKey::new("", &secret, AccountId(0), true),
            clock_skew: Millis(milliseconds(skew)),
        }
    }

    /// The account for which the request was signed.
    pub(crate) fn account(
        &self,
        signed: &Signed<'_>,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<AccountId, Refusal> {
        let id = common(signed.form, "SecretId")?;
        let time = common(signed.form, "Timestamp")?;
        let nonce = common(signed.form, "Nonce")?;
        let signature = common(signed.form, "Signature")?;
        let time = integer("Timestamp", time)?;
        integer("Nonce", nonce)?;
        if !self.is_fresh(time, now) {
            return Err(Fault::AuthenticationFailed.into());
        }
        let instant = Instant::now();
        if !self.guard.admits(id, address, instant) {
            return Err(Fault::AuthenticationFailed.into());
        }
        let result = self.check(signed, id, signature, now);
        if result.is_err() {
            self.guard.failed(id, address, instant);
        }
        result
    }

    fn check(
        &self,
        signed: &Signed<'_>,
        id: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<AccountId, Refusal> {
        let method = optional(signed, "SignatureMethod")?;
        let token = optional(signed, "Token")?;
        let found = std::str::from_utf8(id)
            .ok()
            .and_then(|id| self.keys.find(id));
        let key = found.as_deref().unwrap_or(&self.nobody);
        let algorithm = Algorithm::from_method(method);
        let verified = signed.verify(key.hmac(algorithm), signature);
        if found.is_none() {
            return Err(Fault::NoSuchSecretId.into());
        }
        if !verified {
            return Err(Fault::AuthenticationFailed.into());
        }
        if !key.enabled() {
            return Err(Fault::SecretIdDisabled.into());
        }
        if !key.accepts_token(token, now) {
            return Err(Fault::AuthenticationFailed.into());
        }
        Ok(key.account())
    }

    fn is_fresh(&self, time: Number, now: Timestamp) -> bool {
        let Number::Positive(seconds) = time else {
            return false;
        };
        let time = Timestamp(seconds.saturating_mul(1000));
        // Clients count whole seconds: one at the far end of the window is still inside.
        let now = Timestamp(now.seconds() * 1000);
        now - time <= self.clock_skew && time - now <= self.clock_skew
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
