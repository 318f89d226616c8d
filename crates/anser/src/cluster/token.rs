//! The cluster's token: who has it may join the cluster, read its access keys and change its nodes.
//!
//! A file with one line of text, the same on every node, readable by its owner only.

use std::path::Path;

use anyhow::{Context, Result};
use aws_lc_rs::{hmac, rand};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{exit::Exit, files};

/// Shorter ones could be guessed.
const BYTES_LEAST: usize = 16;
const BYTES_MADE: usize = 32;

/// A shared secret of all nodes of a cluster.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(..)")
    }
}

impl Token {
    /// From a file of one line; spaces and line ends around it do not count.
    pub fn read(path: &Path) -> Result<Self> {
        let advice = "make a new token for all nodes";
        let text = files::read_secret(path, "cluster token file", advice)?.with_context(|| {
            Exit::Configuration.reason(format!(
                "there is no cluster token file {path}: make one with anser cluster token {path}, \
                 or copy the one of another node",
                path = path.display()
            ))
        })?;
        Self::parse(&text).with_context(|| {
            Exit::Configuration.reason(format!(
                "the cluster token file {} is not usable",
                path.display()
            ))
        })
    }

    /// Makes a file with a token that nobody has guessed; `false` if there is such a file already.
    pub fn create(path: &Path) -> Result<bool> {
        let mut bytes = [0; BYTES_MADE];
        rand::fill(&mut bytes)
            .ok()
            .context("the system gives no random bytes")?;
        let line = format!("{}\n", BASE64_STANDARD.encode(bytes));
        files::create_new(path, line.as_bytes())
    }

    fn parse(text: &str) -> Result<Self> {
        let token = text.trim();
        let wrong = |what: &str| {
            Err(Exit::Configuration
                .error(format!("{what}: make one with anser cluster token FILE")))
        };
        if token.len() < BYTES_LEAST {
            return wrong(&format!(
                "a token has to be at least {BYTES_LEAST} characters"
            ));
        }
        // A blank or a line end that got lost on the way would make it another token.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("a token has to be one line of printable characters without spaces");
        }
        Ok(Self(token.to_owned()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// A key for one purpose, from which neither the token nor another key can be worked out.
    pub(crate) fn key(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let tag = hmac::sign(&key, purpose.as_bytes());
        let bytes = tag.as_ref().try_into();
        bytes.expect("a tag of SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
pub(crate) fn token_of(text: &str) -> Token {
    Token::parse(text).unwrap()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_made_token_is_private_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(Token::create(&path).unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let token = Token::read(&path).unwrap();
        assert_eq!(token.text().len(), 44);
        assert!(!Token::create(&path).unwrap());
        assert_eq!(token.text(), Token::read(&path).unwrap().text());
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn what_is_wrong_with_a_token_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let refusal = |exit: Exit| {
            let error = Token::read(&path).unwrap_err();
            assert_eq!(Exit::of(&error), exit, "{error:#}");
            format!("{error:#}")
        };
        assert!(refusal(Exit::Configuration).contains("anser cluster token"));
        let write = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("0123456789abcdef\n", 0o640);
        assert!(refusal(Exit::Permission).contains("chmod 600"));
        write("0123456789abcde\n", 0o600);
        assert!(refusal(Exit::Configuration).contains("at least 16"));
        write("0123456789 abcdef\n", 0o600);
        assert!(refusal(Exit::Configuration).contains("without spaces"));
        write("  0123456789abcdef\n", 0o600);
        assert_eq!(Token::read(&path).unwrap().text(), "0123456789abcdef");
    }

    #[test]
    fn each_purpose_and_each_token_has_a_key_of_its_own() {
        let token = token_of("0123456789abcdef");
        assert_eq!(token.key("a"), token.key("a"));
        assert_ne!(token.key("a"), token.key("b"));
        assert_ne!(token.key("a"), token_of("0123456789abcdeF").key("a"));
    }
}
