//! Where requests come from: the other end of the connection, or, if that is a trusted proxy, where the proxy says
//! that it had them from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anser_network::Network;
use hyper::{HeaderMap, header::HeaderName};

/// Each proxy appends the address that it was asked from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of those in front of this server whose word counts.
#[derive(Debug)]
pub(super) struct Proxies(Vec<Network>);

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The network that counts as one client.
    Client(IpAddr),
    /// A trusted proxy, at this address, with requests of many clients.
    Proxy(IpAddr),
}

impl Proxies {
    pub(super) fn new(trusted: Vec<Network>) -> Self {
        Self(trusted)
    }

    /// What is at the other end of a connection.
    pub(super) fn judge(&self, address: IpAddr) -> Source {
        let address = address.to_canonical();
        if self.contains(address) {
            Source::Proxy(address)
        } else {
            Source::Client(network(address))
        }
    }

    /// The network that a request is from. What a client wrote into the header itself stands left of what the
    /// outermost trusted proxy appended, and is not looked at.
    pub(super) fn client(&self, source: Source, headers: &HeaderMap) -> IpAddr {
        match source {
            Source::Client(network) => network,
            Source::Proxy(address) => network(self.asked_from(address, headers)),
        }
    }

    /// The last address, read from the nearest proxy on, that is no trusted proxy's; if the list ends before or has
    /// something else in it, the last one that was understood.
    fn asked_from(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lists = headers.get_all(FORWARDED_FOR).iter().rev();
        let texts = lists.flat_map(|list| list.as_bytes().rsplit(|byte| *byte == b','));
        let mut nearest = proxy;
        for text in texts {
            let Some(address) = std::str::from_utf8(text).ok().and_then(read) else {
                break;
            };
            nearest = address;
            if !self.contains(address) {
                break;
            }
        }
        nearest
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// An address, with or without a port, as proxies write it.
fn read(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address
        .or_else(with_port)
        .map(|address: IpAddr| address.to_canonical())
}

/// The part of an address that one client has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let mask = u128::MAX << 64;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn proxies() -> Proxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network"));
        Proxies::new(networks.to_vec())
    }

    fn client(peer: &str, lists: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(
                FORWARDED_FOR,
                HeaderValue::from_str(list).expect("a header's value"),
            );
        }
        let proxies = proxies();
        let source = proxies.judge(peer.parse().expect("an address"));
        proxies.client(source, &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.1.1.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("::ffff:10.1.1.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_a_client_made_up_is_not_looked_at() {
        assert_eq!(
            client("10.1.1.1", &["1.1.1.1, 198.51.100.7"]),
            "198.51.100.7"
        );
        assert_eq!(
            client("10.1.1.1", &["1.1.1.1", "198.51.100.7"]),
            "198.51.100.7"
        );
        assert_eq!(
            client("10.1.1.1", &["10.9.9.9, 198.51.100.7, 10.2.2.2"]),
            "198.51.100.7"
        );
    }

    #[test]
    fn without_a_usable_list_it_is_the_last_proxy_that_is_known() {
        for lists in [
            &[][..],
            &[""],
            &["unknown"],
            &["1.1.1.1, _hidden"],
            &["\u{e4}"],
        ] {
            assert_eq!(client("10.1.1.1", lists), "10.1.1.1", "{lists:?}");
        }
        assert_eq!(client("10.1.1.1", &["x, 10.2.2.2"]), "10.2.2.2");
    }

    #[test]
    fn an_address_is_read_with_or_without_its_port_and_a_network_of_ipv6_is_one_client() {
        for text in ["198.51.100.7:4711", " 198.51.100.7 ", "::ffff:198.51.100.7"] {
            assert_eq!(client("fd00::1", &[text]), "198.51.100.7", "{text}");
        }
        for text in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4711"] {
            assert_eq!(client("fd00::1", &[text]), "2001:db8::", "{text}");
        }
        assert_eq!(client("2001:db8::7", &[]), "2001:db8::");
    }
}
