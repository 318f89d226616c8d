//! The host of a request: a name or an address, and perhaps a port.
//!
//! It is signed without a mark between it and the path. What is no host here holds neither `/` nor
//! `?`, so that a signed text has one host, one path and one set of parameters.

use std::{borrow::Cow, fmt, net::Ipv6Addr, str::FromStr};

/// Characters of the longest name in the DNS.
const NAME_CHARACTERS_MAX: usize = 253;
const PORT_DIGITS_MAX: usize = 5;

/// A text that is nothing but a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a>(Cow<'a, str>);

/// A text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host is a name of letters, digits, \".\", \"-\" and \"_\", or an IPv6 address in brackets, \
     with or without \":\" and a port"
)]
pub struct NoHost;

impl<'a> Host<'a> {
    /// As a `Host` header has it.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, NoHost> {
        let text = std::str::from_utf8(text).map_err(|_| NoHost)?;
        if is_host(text) {
            return Ok(Self(Cow::Borrowed(text)));
        }
        Err(NoHost)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn has_port(&self) -> bool {
        split(&self.0).1.is_some()
    }
}

impl FromStr for Host<'static> {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let host = Host::read(text.as_bytes())?;
        Ok(Self(Cow::Owned(host.0.into_owned())))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = split(text);
    (is_name(name) || is_ipv6(name)) && port.is_none_or(is_port)
}

/// The name, and what follows its colon; the colons of an IPv6 address stand in brackets.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    }
}

fn is_name(text: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(usable)
}

fn is_ipv6(text: &str) -> bool {
    let address = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn is_port(text: &str) -> bool {
    (1..=PORT_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts_with_or_without_a_port() {
        let longest = "n".repeat(253);
        for (text, has_port) in [
            ("h", false),
            ("127.0.0.1:9324", true),
            ("cmq-queue-gz.api.qcloud.com", false),
            ("my_service.", false),
            ("MQ.example.com:1", true),
            ("[::1]", false),
            ("[2001:db8::7]:65535", true),
            (&longest, false),
        ] {
            let host = Host::read(text.as_bytes()).unwrap();
            assert_eq!((host.as_str(), host.has_port()), (text, has_port));
            assert_eq!(text.parse::<Host<'static>>(), Ok(host));
        }
    }

    #[test]
    fn nothing_else_is_a_host() {
        let long = "n".repeat(254);
        for text in [
            "",
            ":",
            ":80",
            "h:",
            "h:x",
            "h:123456",
            "h:80:80",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[h]",
            "[::1]x",
            "[::1]:",
            "[fe80::1%eth0]",
            "a b",
            "h/",
            "h/v2/index.php",
            "h?x",
            "h&y=1",
            "h#",
            "u@h",
            "h%41",
            "h,h",
            "h\u{e9}",
            "h\0",
            &long,
        ] {
            assert_eq!(Host::read(text.as_bytes()), Err(NoHost), "{text:?}");
        }
        assert_eq!(Host::read(b"h\xff"), Err(NoHost));
    }
}
