//! Which addresses are not of the public internet, and why.
//!
//! The ranges are those of IANA's registries of special-purpose addresses. An IPv6 address that
//! carries an IPv4 address is judged by what it carries, because a gateway would send it there.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Why an address is not of the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    Shared,
    Multicast,
    Broadcast,
    Documentation,
    Benchmarking,
    Tunnel,
    Reserved,
    /// Of whatever network it is, this machine has it.
    ThisMachine,
}

impl Class {
    /// `None` for an address of the public internet.
    pub(crate) fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => of_ipv4(address),
            IpAddr::V6(address) => of_ipv6(address),
        }
    }
}

fn of_ipv4(address: Ipv4Addr) -> Option<Class> {
    let class = match address.octets() {
        [0, 0, 0, 0] => Class::Unspecified,
        [127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [169, 254, ..] => Class::LinkLocal,
        [100, 64..=127, ..] => Class::Shared,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18..=19, ..] => Class::Benchmarking,
        [192, 88, 99, _] => Class::Tunnel,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        // The last one is in a public range, but Azure's machines reach services of their host there.
        [0 | 240..=255, ..] | [192, 0, 0, _] | [168, 63, 129, 16] => Class::Reserved,
        _ => return None,
    };
    Some(class)
}

fn of_ipv6(address: Ipv6Addr) -> Option<Class> {
    if let Some(carried) = embedded(address) {
        return of_ipv4(carried);
    }
    let class = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        [0x2001, 0, ..] => Class::Tunnel,
        [0x2001, 2, 0, ..] => Class::Benchmarking,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        [0x2001, 0..=0x01ff, ..] => Class::Reserved,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Class::Private,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2000..=0x3fff, ..] => return None,
        // Nothing else has been given to anybody. IPv4-compatible addresses and the discard prefix
        // are here too.
        _ => Class::Reserved,
    };
    Some(class)
}

/// The address that this one leads to: the IPv4 address that it carries, or itself.
pub(crate) fn carried(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(outer) => embedded(outer).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => {
            let bits = u32::from(high) << 16 | u32::from(low);
            Some(Ipv4Addr::from_bits(bits))
        }
        _ => None,
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "for documentation",
            Self::Benchmarking => "for benchmarks",
            Self::Tunnel => "a tunnel's",
            Self::Reserved => "reserved",
            Self::ThisMachine => "this machine's",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Option<Class> {
        Class::of(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_have_no_class() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.255.255",
            "172.32.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(class(text), None, "{text}");
        }
    }

    #[test]
    fn every_other_range_has_a_class() {
        for (text, expected) in [
            ("0.0.0.0", Class::Unspecified),
            ("0.1.2.3", Class::Reserved),
            ("127.255.255.255", Class::Loopback),
            ("10.255.255.255", Class::Private),
            ("172.16.0.0", Class::Private),
            ("172.31.255.255", Class::Private),
            ("192.168.0.1", Class::Private),
            ("169.254.169.254", Class::LinkLocal),
            ("100.64.0.0", Class::Shared),
            ("100.127.255.255", Class::Shared),
            ("192.0.0.1", Class::Reserved),
            ("192.0.2.1", Class::Documentation),
            ("198.51.100.1", Class::Documentation),
            ("203.0.113.1", Class::Documentation),
            ("198.18.0.1", Class::Benchmarking),
            ("198.19.255.255", Class::Benchmarking),
            ("192.88.99.1", Class::Tunnel),
            ("168.63.129.16", Class::Reserved),
            ("::ffff:168.63.129.16", Class::Reserved),
            ("224.0.0.1", Class::Multicast),
            ("240.0.0.1", Class::Reserved),
            ("255.255.255.255", Class::Broadcast),
            ("::", Class::Unspecified),
            ("::1", Class::Loopback),
            ("::8.8.8.8", Class::Reserved),
            ("::ffff:127.0.0.1", Class::Loopback),
            ("64:ff9b::7f00:1", Class::Loopback),
            ("64:ff9b:1::1", Class::Private),
            ("100::1", Class::Reserved),
            ("2001::1", Class::Tunnel),
            ("2001:2::1", Class::Benchmarking),
            ("2001:1ff::1", Class::Reserved),
            ("2001:db8::1", Class::Documentation),
            ("2002:a00:1::", Class::Private),
            ("3fff::1", Class::Documentation),
            ("fc00::1", Class::Private),
            ("fd12::1", Class::Private),
            ("fe80::1", Class::LinkLocal),
            ("fec0::1", Class::Private),
            ("ff02::1", Class::Multicast),
            ("4000::1", Class::Reserved),
        ] {
            assert_eq!(class(text), Some(expected), "{text}");
        }
    }
}
