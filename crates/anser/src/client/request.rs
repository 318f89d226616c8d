//! One CMQ request: its parameters signed (version 1) and written as an HTTP form.
//!
//! The HMAC key is prepared once per client, so that a load generator spends its time elsewhere.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use anser_api::{AccessKey, Algorithm, encode_form, sign_v1};
use anser_broker::id::AccountId;

/// A name and a value, not yet encoded.
pub type Parameter<'a> = (Cow<'static, str>, Cow<'a, str>);

/// The hash of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureMethod {
    HmacSha1,
    #[default]
    HmacSha256,
}

impl SignatureMethod {
    fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HmacSHA1",
            Self::HmacSha256 => "HmacSHA256",
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::HmacSha1 => Algorithm::Sha1,
            Self::HmacSha256 => Algorithm::Sha256,
        }
    }
}

/// Writes signed requests of one key to one endpoint.
#[derive(Debug)]
pub(super) struct RequestWriter {
    /// Host and port as the endpoint was written, for the `Host` header and the signature.
    host: String,
    path: &'static str,
    key: AccessKey,
    method: SignatureMethod,
    nonce: u64,
}

impl RequestWriter {
    pub(super) fn new(
        host: &str,
        path: &'static str,
        key_id: &str,
        secret: &str,
        method: SignatureMethod,
    ) -> Self {
        // The account is the server's business; the client only signs.
        let key = AccessKey::new(key_id, secret.as_bytes(), AccountId(0), true);
        Self {
            host: host.to_owned(),
            path,
            key,
            method,
            nonce: first_nonce(),
        }
    }

    /// The whole HTTP request of one action, now.
    pub(super) fn write(&mut self, action: &str, parameters: &[Parameter<'_>]) -> Vec<u8> {
        self.nonce = self.nonce % (u64::MAX >> 1) + 1;
        let nonce = self.nonce.to_string();
        let seconds = unix_seconds().to_string();
        let mut all: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        all.extend([
            ("Action", action),
            ("Nonce", &nonce),
            ("RequestClient", "anser"),
            ("SecretId", self.key.id()),
            ("SignatureMethod", self.method.name()),
            ("Timestamp", &seconds),
        ]);
        let signature = sign_v1(
            &self.key,
            self.method.algorithm(),
            "POST",
            &self.host,
            self.path,
            &all,
        );
        all.push(("Signature", &signature));
        let form = encode_form(all);
        let (path, host, length) = (self.path, &self.host, form.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        )
        .into_bytes()
    }
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A start that other clients do not share; what follows only counts up.
fn first_nonce() -> u64 {
    let mut bytes = [0; 8];
    // Nothing rests on the nonce being secret: without random bytes it is merely the same again.
    aws_lc_rs::rand::fill(&mut bytes).ok();
    u64::from_le_bytes(bytes) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_signed_form() {
        let mut writer = RequestWriter::new(
            "h:1",
            "/v2/index.php",
            "id",
            "secret",
            SignatureMethod::HmacSha1,
        );
        let request = writer.write("SendMessage", &[("msgBody".into(), "a&b é".into())]);
        let request = String::from_utf8(request).unwrap();
        let (head, form) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v2/index.php HTTP/1.1\r\nHost: h:1\r\n"));
        assert!(head.ends_with(&format!("Content-Length: {}", form.len())));
        assert!(form.starts_with("msgBody=a%26b%20%C3%A9&Action=SendMessage&Nonce="));
        assert!(!request.contains("secret"));
        let (_, signature) = form.rsplit_once("&Signature=").unwrap();
        assert!(signature.ends_with("%3D"), "{signature}");
    }
}
