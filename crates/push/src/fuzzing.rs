//! Doors for fuzz targets: each takes any bytes and panics only if something is wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anser_network::Network;

use crate::{address::Class, endpoint::Endpoint};

/// Every range that is refused, in another form than the one that is used.
const REFUSED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Where IPv6 addresses carry IPv4 addresses, and how many bits stand before them.
const CARRIERS: &[(&str, u32)] = &[
    ("::ffff:0:0/96", 96),
    ("64:ff9b::/96", 96),
    ("2002::/16", 16),
];

/// Reads a URL.
pub fn endpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(endpoint) = Endpoint::parse(text) else {
        return;
    };
    let path = endpoint.path.as_str();
    assert!(path.starts_with('/'));
    assert!(text.ends_with(path) || text.ends_with(&path[1..]));
    assert!(
        !endpoint
            .authority
            .contains(['@', '/', '\\', ' ', '\r', '\n'])
    );
}

/// Judges the address of the first 4 or 16 bytes.
pub fn address(bytes: &[u8]) {
    if let Some(octets) = bytes.first_chunk::<4>() {
        compare(Ipv4Addr::from(*octets).into());
    }
    if let Some(octets) = bytes.first_chunk::<16>() {
        compare(Ipv6Addr::from(*octets).into());
    }
}

fn compare(address: IpAddr) {
    assert_eq!(
        Class::of(address).is_some(),
        is_refused(address),
        "{address}"
    );
}

fn is_refused(address: IpAddr) -> bool {
    if let IpAddr::V6(outer) = address {
        for (carrier, before) in CARRIERS {
            if network(carrier).contains(address) {
                let shifted = outer.to_bits() << before >> 96;
                let inner = u32::try_from(shifted).expect("32 bits are left");
                return is_refused(Ipv4Addr::from_bits(inner).into());
            }
        }
        if !network("2000::/3").contains(address) {
            return true;
        }
    }
    REFUSED.iter().any(|text| network(text).contains(address))
}

fn network(text: &str) -> Network {
    text.parse().expect("the tables above hold networks")
}
