//! Proof of who pushes: the scheme of Standard Webhooks, with a secret for each subscription.
//!
//! Secrets are derived from one key, so that none of them is stored.

use anser_broker::id::SubscriptionId;
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

const PURPOSE: &[u8] = b"anser push signature v1";

/// The secret of a subscription in the form that receivers are given: `whsec_` and Base64.
pub fn secret_of(signing_key: &[u8; 32], subscription: SubscriptionId) -> String {
    format!(
        "whsec_{}",
        STANDARD.encode(derive(signing_key, subscription))
    )
}

/// The header `webhook-signature` for a body that is sent as the message `id` at `seconds`.
pub(crate) fn sign(
    signing_key: &[u8; 32],
    subscription: SubscriptionId,
    id: u64,
    seconds: u64,
    body: &[u8],
) -> String {
    let secret = derive(signing_key, subscription);
    let mut signed = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()));
    signed.update(format!("{id}.{seconds}.").as_bytes());
    signed.update(body);
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

fn derive(signing_key: &[u8; 32], subscription: SubscriptionId) -> hmac::Tag {
    let mut secret = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, signing_key));
    secret.update(PURPOSE);
    secret.update(&subscription.0.to_be_bytes());
    secret.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subscription_has_its_own_secret() {
        let one = secret_of(&[7; 32], SubscriptionId(1));
        assert!(one.starts_with("whsec_"));
        assert_eq!(one.len(), "whsec_".len() + 44);
        assert_eq!(one, secret_of(&[7; 32], SubscriptionId(1)));
        assert_ne!(one, secret_of(&[7; 32], SubscriptionId(2)));
        assert_ne!(one, secret_of(&[8; 32], SubscriptionId(1)));
    }
}
