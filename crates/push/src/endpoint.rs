//! Endpoints: URLs that users give, read once and strictly.
//!
//! The host is read as browsers read it, so that `0x7f000001` and `127.1` are the addresses that they
//! mean. Path and query are sent as they were given.

use std::net::IpAddr;

use hyper::http::uri::PathAndQuery;
use url::{Host, Url};

/// Where the messages of a subscription go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) security: Security,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    /// What the header `Host` says.
    pub(crate) authority: String,
    /// As it was given.
    pub(crate) path: PathAndQuery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEndpoint {
    #[error("the URL begins neither with http:// nor with https://")]
    Scheme,
    #[error("the URL holds a blank, a control character, a backslash or a fragment")]
    Character,
    #[error("the URL holds a user name or a password")]
    User,
    #[error("the URL's host or port cannot be read")]
    Host,
    #[error("the URL's path or query holds a character that must be escaped")]
    Path,
}

impl Endpoint {
    /// Reads a URL. Whether its host may be dialled is found out when it is.
    pub fn parse(text: &str) -> Result<Self, NotAnEndpoint> {
        let (security, rest) = scheme(text)?;
        // Readers of URLs disagree about these: some drop them, some stop at them.
        if text.contains(|character: char| {
            character.is_whitespace() || character.is_control() || matches!(character, '\\' | '#')
        }) {
            return Err(NotAnEndpoint::Character);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(NotAnEndpoint::User);
        }
        if authority.is_empty() {
            return Err(NotAnEndpoint::Host);
        }
        let url = Url::parse(text).map_err(|_| NotAnEndpoint::Host)?;
        let host = url.host().ok_or(NotAnEndpoint::Host)?.to_owned();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Ok(Self {
            security,
            port: url.port_or_known_default().ok_or(NotAnEndpoint::Host)?,
            authority,
            host,
            path: read_path(path)?,
        })
    }

    /// The host's name, or its address if it is given as one.
    pub(crate) fn address(&self) -> Result<IpAddr, &str> {
        match &self.host {
            Host::Domain(name) => Err(name),
            Host::Ipv4(address) => Ok((*address).into()),
            Host::Ipv6(address) => Ok((*address).into()),
        }
    }
}

fn scheme(text: &str) -> Result<(Security, &str), NotAnEndpoint> {
    for (scheme, security) in [("http://", Security::Plain), ("https://", Security::Tls)] {
        if let Some((given, rest)) = text.split_at_checked(scheme.len())
            && given.eq_ignore_ascii_case(scheme)
        {
            return Ok((security, rest));
        }
    }
    Err(NotAnEndpoint::Scheme)
}

fn read_path(path: &str) -> Result<PathAndQuery, NotAnEndpoint> {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    PathAndQuery::try_from(path).map_err(|_| NotAnEndpoint::Path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn path_and_query_stay_as_they_were_given() {
        for (text, path) in [
            ("http://a.example", "/"),
            ("http://a.example?x=1", "/?x=1"),
            (
                "http://a.example/a/../b//c/%2e%2E/;p?q=/../%41?&",
                "/a/../b//c/%2e%2E/;p?q=/../%41?&",
            ),
            ("HTTP://a.example/A?", "/A?"),
            ("https://a.example/?u=http://b@c", "/?u=http://b@c"),
            ("http://a.example/推送?标签=红", "/推送?标签=红"),
        ] {
            assert_eq!(endpoint(text).path.as_str(), path, "{text}");
        }
    }

    #[test]
    fn the_host_header_has_the_port_unless_it_is_the_usual_one() {
        for (text, authority, port) in [
            ("http://A.Example:80/", "a.example", 80),
            ("https://a.example", "a.example", 443),
            ("https://a.example:80", "a.example:80", 80),
            ("http://[::1]:8080/", "[::1]:8080", 8080),
            ("http://127.1/", "127.0.0.1", 80),
        ] {
            let endpoint = endpoint(text);
            assert_eq!(endpoint.authority, authority);
            assert_eq!(endpoint.port, port);
        }
    }

    #[test]
    fn row_66_other_schemes_are_refused() {
        for text in [
            "file:///etc/passwd",
            "gopher://a.example/",
            "ftp://a.example/",
            "ws://a.example/",
            "data:text/plain,a",
            "unix:/run/docker.sock",
            "javascript:alert(1)",
            "//a.example/",
            "a.example",
            "http:a.example",
            "http:/a.example",
            "",
        ] {
            assert_eq!(Endpoint::parse(text), Err(NotAnEndpoint::Scheme), "{text}");
        }
    }

    #[test]
    fn row_67_urls_that_readers_disagree_about_are_refused() {
        for (text, error) in [
            ("http://good@evil.example/", NotAnEndpoint::User),
            ("http://good:word@evil.example", NotAnEndpoint::User),
            ("http://@evil.example", NotAnEndpoint::User),
            (
                "http://good.example\\@evil.example/",
                NotAnEndpoint::Character,
            ),
            (
                "http://good.example#@evil.example/",
                NotAnEndpoint::Character,
            ),
            ("http://good.example/#part", NotAnEndpoint::Character),
            ("http://go\tod.example/", NotAnEndpoint::Character),
            (
                "http://good.example/\r\nX-Evil: 1",
                NotAnEndpoint::Character,
            ),
            ("http://good.example/a b", NotAnEndpoint::Character),
            ("http://good.example/\u{a0}", NotAnEndpoint::Character),
            (" http://good.example/", NotAnEndpoint::Scheme),
            ("http:///evil.example/", NotAnEndpoint::Host),
            ("http://", NotAnEndpoint::Host),
            ("http://?x", NotAnEndpoint::Host),
            ("http://:80/", NotAnEndpoint::Host),
            ("http://a.example:99999/", NotAnEndpoint::Host),
            ("http://1.2.3.256/", NotAnEndpoint::Host),
            ("http://[fe80::1%25eth0]/", NotAnEndpoint::Host),
            ("http://a.example/<script>", NotAnEndpoint::Path),
        ] {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn row_67_a_name_in_another_script_is_its_punycode() {
        let authority = endpoint("http://gооgle.example/").authority;
        assert_eq!(authority, "xn--ggle-55da.example");
        assert_eq!(endpoint("http://１２７.０.０.１/").authority, "127.0.0.1");
    }
}
