//! Where a subscription delivers: `protocol` and `endpoint`, in requests and in answers.
//!
//! Only the writing of a URL is judged here. Whether its host may be dialled is found out by whoever
//! dials it.

use std::net::Ipv6Addr;

use anser_broker::{attributes::Endpoint, name::QueueName, op::EndpointName};

use super::{errors::Fault, limits, parameters::is_name};

const PLAIN: &str = "http://";
/// An extension: in CMQ a URL begins with `http://`.
const SECURE: &str = "https://";

/// Reads an endpoint in the way of its protocol.
pub(crate) fn read(protocol: &[u8], endpoint: &[u8]) -> Result<EndpointName, Fault> {
    if protocol.eq_ignore_ascii_case(b"queue") {
        return queue(endpoint);
    }
    let is_secure = protocol.eq_ignore_ascii_case(b"https");
    if !is_secure && !protocol.eq_ignore_ascii_case(b"http") {
        return Err(Fault::ProtocolUndefined);
    }
    let text = String::from_utf8_lossy(endpoint);
    let is_blank = |character: char| character.is_whitespace() || character.is_control();
    if text.contains(is_blank) {
        return Err(Fault::UrlBlank);
    }
    if text.chars().count() > limits::URL_CHARACTERS {
        return Err(Fault::EndpointFormat);
    }
    check(&text)?;
    if is_secure && without_prefix(&text, SECURE).is_none() {
        return Err(Fault::EndpointFormat);
    }
    let url = text.into_owned();
    Ok(EndpointName::Http { url })
}

fn queue(endpoint: &[u8]) -> Result<EndpointName, Fault> {
    let name = std::str::from_utf8(endpoint)
        .ok()
        .filter(|name| is_name(name.as_bytes()))
        .and_then(|name| QueueName::new(name).ok());
    Ok(EndpointName::Queue(name.ok_or(Fault::EndpointFormat)?))
}

/// Whether a text is a URL that leaves no doubt about its host: `http://` or `https://`, a host,
/// perhaps a port, perhaps a path and a query, all in visible ASCII characters.
pub(crate) fn check(url: &str) -> Result<(), Fault> {
    let rest = without_prefix(url, PLAIN).or_else(|| without_prefix(url, SECURE));
    let rest = rest.ok_or(Fault::EndpointFormat)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let is_clear = rest.bytes().all(is_plain) && is_authority(&rest[..end]);
    // The libraries that deliveries are made with refuse a few more characters, and hosts that look
    // like IPv4 addresses and are none. They would refuse them at each delivery.
    let is_usable = || url.parse::<hyper::Uri>().is_ok() && url::Url::parse(url).is_ok();
    if is_clear && is_usable() {
        Ok(())
    } else {
        Err(Fault::EndpointFormat)
    }
}

fn without_prefix<'a>(url: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = url.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A host, perhaps with a port; no user and no password.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<Ipv6Addr>().is_ok() => {
                return after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    is_host(host) && port.is_none_or(is_port)
}

/// Characters of a name or an IPv4 address. Escapes and foreign letters, which each reader takes
/// otherwise, are none.
fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The protocol's word and the endpoint's text.
pub(crate) fn shown(endpoint: Endpoint) -> (&'static str, String) {
    match endpoint {
        Endpoint::Http { url } => ("http", url.into()),
        Endpoint::Queue { name, .. } => ("queue", name.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_leave_no_doubt_are_taken() {
        for url in [
            "http://h",
            "http://h/",
            "http://h?a=1&b=2",
            "HTTP://Host.example:8080/a/b;c?d=@e:f",
            "https://10.0.0.1:65535/x%20y",
            "http://[::1]:1/x",
            "http://[2001:db8::1]",
            "http://under_score-1.example./",
            "http://127.1/",
            "http://0x7f000001/",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "h",
            "ftp://h",
            "http:/h",
            "http:h",
            "http://",
            "http:///x",
            "http://?x",
            "http://:80/",
            "http://user@h/",
            "http://user:secret@h/",
            "http://h:0/",
            "http://h:/",
            "http://h:65536/",
            "http://h:+80/",
            "http://h:8x/",
            "http://h:80:80/",
            "http://h\\x",
            "http://a\\@b/",
            "http://h/#part",
            "http://h#part",
            "http://h/\u{e9}",
            "http://h\u{e9}/",
            "http://%68/",
            "http://a,b/",
            "http://[::1",
            "http://[::1]x/",
            "http://[::g]/",
            "http://[fe80::1%25eth0]/",
            "http://h/\u{7f}",
            "http://h/<x>",
            // These look like IPv4 addresses and are none.
            "http://1.2.3.256/",
            "http://1.2.3.4.5/",
            "http://0x100000000/",
            "http://1.2.3.09/",
            "http://08/",
            "https://name.256:8443/x",
        ] {
            assert_eq!(check(url), Err(Fault::EndpointFormat), "{url}");
        }
    }

    #[test]
    fn each_protocol_has_its_endpoints() {
        let url = |url: &str| {
            Ok(EndpointName::Http {
                url: url.to_owned(),
            })
        };
        assert_eq!(read(b"http", b"http://h/"), url("http://h/"));
        assert_eq!(read(b"HTTP", b"https://h/"), url("https://h/"));
        assert_eq!(read(b"https", b"hTTps://h/"), url("hTTps://h/"));
        assert_eq!(read(b"https", b"http://h/"), Err(Fault::EndpointFormat));
        assert_eq!(read(b"http", b"orders"), Err(Fault::EndpointFormat));
        assert_eq!(read(b"http", b""), Err(Fault::EndpointFormat));
        assert_eq!(read(b"http", b"http://h/\xff"), Err(Fault::EndpointFormat));
        let queue = EndpointName::Queue(QueueName::new("Orders").unwrap());
        assert_eq!(read(b"Queue", b"Orders"), Ok(queue));
        let long = [b'q'; 65];
        for bad in [&b"http://h/"[..], b"", b"a b", b"1q", &long, b"q\xff"] {
            assert_eq!(read(b"queue", bad), Err(Fault::EndpointFormat));
        }
        for bad in [&b""[..], b"sms", b"http ", b"\xff"] {
            assert_eq!(read(bad, b"http://h/"), Err(Fault::ProtocolUndefined));
        }
    }

    #[test]
    fn blanks_are_told_before_all_else_and_urls_end_at_500_characters() {
        for blank in [
            "http://h/a b",
            " http://h",
            "no\turl",
            "http://h\n",
            "\0",
            "x\u{3000}",
        ] {
            assert_eq!(read(b"http", blank.as_bytes()), Err(Fault::UrlBlank));
        }
        let url = |length: usize| format!("http://h/{}", "x".repeat(length - "http://h/".len()));
        assert!(read(b"http", url(500).as_bytes()).is_ok());
        assert_eq!(
            read(b"http", url(501).as_bytes()),
            Err(Fault::EndpointFormat)
        );
    }
}
