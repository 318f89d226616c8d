//! Signature v1: an HMAC over method, host, path and the sorted, decoded parameters.
//!
//! The text is fed to the HMAC piece by piece and never stands in memory as a whole. What a client
//! signed as host and path cannot be told from the request alone, so a few spellings are tried, all
//! with the same key. Nobody has proved anything by then, so that a text which is larger than that of any
//! request that can be served is hashed once only.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{host::Host, strict::MARK_BYTES};
use crate::{
    codec::form::Form,
    key::{AccessKey, Algorithm},
};

/// The path that clients sign even when they request another.
const USUAL_PATH: &str = "/v2/index.php";
/// Bytes of the largest form that is tried in all spellings: a whole batch, and more than all else that
/// comes with it.
const SPELLED_BYTES_MAX: usize = (1 << 20) + (64 << 10);
const SIGNATURE: &[u8] = b"Signature";
/// Characters of the longest signature, and some.
const SIGNATURE_CHARACTERS_MAX: usize = 64;

/// The part of a request that is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) post: bool,
    /// As in the `Host` header.
    pub(crate) host: &'a Host<'a>,
    /// Further hosts under which clients know this server.
    pub(crate) public_names: &'a [Host<'static>],
    /// As in the request line; one of those that the dialect answers.
    pub(crate) path: &'a str,
    pub(crate) form: &'a Form,
}

/// One spelling of the signed text.
#[derive(Debug, Clone, Copy)]
struct Spelling<'a> {
    host: [&'a str; 2],
    path: &'a str,
    without_at: bool,
}

impl Signed<'_> {
    /// Whether `signature`, in Base64, was made with this key for one of the spellings.
    pub(crate) fn verify(&self, key: &hmac::Key, signature: &[u8]) -> bool {
        let mut buffer = [0; SIGNATURE_CHARACTERS_MAX];
        let Some(expected) = decode_signature(signature, &mut buffer) else {
            return false;
        };
        let tries = match self.form.bytes_decoded() {
            0..=SPELLED_BYTES_MAX => usize::MAX,
            _ => 1,
        };
        self.spellings().take(tries).any(|spelling| {
            let tag = self.tag(key, spelling);
            constant_time::verify_slices_are_equal(tag.as_ref(), expected).is_ok()
        })
    }

    fn spellings(&self) -> impl Iterator<Item = Spelling<'_>> {
        let bare = !self.host.has_port();
        let host = self.host.as_str();
        let hosts = [[host, ""], [host, ":80"], [host, ":443"]]
            .into_iter()
            .take(if bare { 3 } else { 1 })
            .chain(self.public_names.iter().map(|name| [name.as_str(), ""]));
        let paths = if self.path == USUAL_PATH { 1 } else { 2 };
        let values = if self.post && self.has_at() { 2 } else { 1 };
        hosts.flat_map(move |host| {
            [self.path, USUAL_PATH]
                .into_iter()
                .take(paths)
                .flat_map(move |path| {
                    [false, true]
                        .into_iter()
                        .take(values)
                        .map(move |without_at| Spelling {
                            host,
                            path,
                            without_at,
                        })
                })
        })
    }

    fn has_at(&self) -> bool {
        self.form.pairs().any(|(_, value)| value.starts_with(b"@"))
    }

    fn tag(&self, key: &hmac::Key, spelling: Spelling<'_>) -> hmac::Tag {
        let method: &[u8] = if self.post { b"POST" } else { b"GET" };
        let mut feed = Feed::new(key);
        feed.put(method);
        feed.put(spelling.host[0].as_bytes());
        feed.put(spelling.host[1].as_bytes());
        feed.put(spelling.path.as_bytes());
        let mut mark = b"?";
        for (name, value) in self.form.pairs() {
            let left_out =
                name.trim_ascii() == SIGNATURE || (spelling.without_at && value.starts_with(b"@"));
            if left_out {
                continue;
            }
            feed.put(mark);
            feed.put_name(name);
            feed.put(b"=");
            feed.put(value);
            mark = b"&";
        }
        feed.finish()
    }
}

fn decode_signature<'a>(
    signature: &[u8],
    buffer: &'a mut [u8; SIGNATURE_CHARACTERS_MAX],
) -> Option<&'a [u8]> {
    let mut text = [0; SIGNATURE_CHARACTERS_MAX];
    let text = text.get_mut(..signature.len())?;
    for (place, &byte) in text.iter_mut().zip(signature) {
        // A client that does not escape its signature sends `+`, which arrives as a blank.
        *place = if byte == b' ' { b'+' } else { byte };
    }
    let length = STANDARD.decode_slice(text, buffer).ok()?;
    Some(&buffer[..length])
}

/// What tells a signature from all others, however it is spelled.
pub(crate) fn mark_of(signature: &[u8]) -> Option<[u8; MARK_BYTES]> {
    let mut buffer = [0; SIGNATURE_CHARACTERS_MAX];
    let bytes = decode_signature(signature, &mut buffer)?;
    bytes.first_chunk().copied()
}

/// Signs a request as a client does; `parameters` in any order, without `Signature`.
pub fn sign_v1(
    key: &AccessKey,
    algorithm: Algorithm,
    method: &str,
    host: &str,
    path: &str,
    parameters: &[(&str, &str)],
) -> String {
    let mut sorted: Vec<_> = parameters.to_vec();
    sorted.sort_unstable();
    let mut feed = Feed::new(key.hmac(algorithm));
    for part in [method, host, path] {
        feed.put(part.as_bytes());
    }
    let mut mark = b"?";
    for (name, value) in sorted {
        feed.put(mark);
        feed.put_name(name.as_bytes());
        feed.put(b"=");
        feed.put(value.as_bytes());
        mark = b"&";
    }
    STANDARD.encode(feed.finish())
}

/// An HMAC that takes small pieces: they are gathered, because a call costs more than a copy.
struct Feed {
    context: hmac::Context,
    gathered: [u8; Feed::BYTES],
    length: usize,
}

impl Feed {
    const BYTES: usize = 512;

    fn new(key: &hmac::Key) -> Self {
        Self {
            context: hmac::Context::with_key(key),
            gathered: [0; Self::BYTES],
            length: 0,
        }
    }

    fn put(&mut self, piece: &[u8]) {
        if piece.len() > Self::BYTES - self.length {
            self.flush();
            if piece.len() > Self::BYTES {
                self.context.update(piece);
                return;
            }
        }
        self.gathered[self.length..self.length + piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }

    /// Signed names have dots where the parameters have underscores.
    fn put_name(&mut self, name: &[u8]) {
        for (place, part) in name.split(|&byte| byte == b'_').enumerate() {
            if place > 0 {
                self.put(b".");
            }
            self.put(part);
        }
    }

    fn flush(&mut self) {
        self.context.update(&self.gathered[..self.length]);
        self.length = 0;
    }

    fn finish(mut self) -> hmac::Tag {
        self.flush();
        self.context.sign()
    }
}

#[cfg(test)]
mod tests;
