//! The guard: where a push may go.
//!
//! It judges addresses, never names: after a name was resolved and before anything is dialled. Only
//! what it let pass is dialled, so that a name that changes its answer gains nothing.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anser_network::Network;

use crate::{
    address::{self, Class},
    config::{Config, OtherNodes},
    machine,
};

pub(crate) struct Guard {
    allow: Vec<Network>,
    own: Vec<SocketAddr>,
    other_nodes: OtherNodes,
    denied_ports: Vec<u16>,
    machine: fn() -> io::Result<Vec<IpAddr>>,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("address {address} is {class}: not allowed")]
    Address { address: IpAddr, class: Class },
    #[error("port {port} is not allowed")]
    Port { port: u16 },
    #[error("address {address} is this server's own")]
    Own { address: SocketAddr },
    #[error("address {address} is that of another node of the cluster")]
    OtherNode { address: SocketAddr },
    #[error("this machine's own addresses cannot be read, so that none is allowed")]
    Unknown,
}

impl Guard {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            allow: config.allow.clone(),
            own: config.own_addresses.clone(),
            other_nodes: Arc::clone(&config.other_nodes),
            denied_ports: config.denied_ports.clone(),
            machine: machine::addresses,
        }
    }

    /// Lets all of the addresses pass, or none: a name with one address that is refused is up to no
    /// good.
    pub(crate) fn judge(&self, addresses: &[IpAddr], port: u16) -> Result<(), Refusal> {
        self.judge_port(port)?;
        let machine = (self.machine)().map_err(|_| Refusal::Unknown)?;
        let nodes = (self.other_nodes)();
        addresses.iter().try_for_each(|address| {
            let socket = SocketAddr::new(*address, port);
            if nodes.iter().any(|node| self.is_of_node(*node, socket)) {
                return Err(Refusal::OtherNode { address: socket });
            }
            self.judge_one(socket, &machine)
        })
    }

    /// Lets a port pass, whatever the address.
    pub(crate) fn judge_port(&self, port: u16) -> Result<(), Refusal> {
        if self.denied_ports.contains(&port) {
            return Err(Refusal::Port { port });
        }
        Ok(())
    }

    /// Whether another node serves there: others, or clients and operators on the ports that this one
    /// has for them, since nodes of a cluster are set up alike.
    fn is_of_node(&self, node: SocketAddr, target: SocketAddr) -> bool {
        let is_port_of_ours = self.own.iter().any(|own| own.port() == target.port());
        node.ip().to_canonical() == address::carried(target.ip())
            && (node.port() == target.port() || is_port_of_ours)
    }

    fn judge_one(&self, socket: SocketAddr, machine: &[IpAddr]) -> Result<(), Refusal> {
        let address = socket.ip();
        let is_local = machine.contains(&address::carried(address));
        let is_own = |own: &SocketAddr| leads_to(*own, socket, is_local);
        if self.own.iter().any(is_own) {
            return Err(Refusal::Own { address: socket });
        }
        match Class::of(address).or(is_local.then_some(Class::ThisMachine)) {
            Some(class) if !self.allow.iter().any(|allowed| allowed.contains(address)) => {
                Err(Refusal::Address { address, class })
            }
            _ => Ok(()),
        }
    }
}

/// Whether a listener on `own` would answer who dials `target`.
fn leads_to(own: SocketAddr, target: SocketAddr, is_local: bool) -> bool {
    let listener = own.ip().to_canonical();
    let target_ip = address::carried(target.ip());
    own.port() == target.port()
        && (listener == target_ip
            || target_ip.is_loopback()
            || target_ip.is_unspecified()
            || listener.is_unspecified() && is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], own: &[&str]) -> Guard {
        Guard::new(&Config {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            own_addresses: own.iter().map(|text| text.parse().unwrap()).collect(),
            ..Config::default()
        })
    }

    /// A guard on a machine with addresses of the public internet.
    fn public_guard(allow: &[&str], own: &[&str]) -> Guard {
        Guard {
            machine: || {
                Ok(["9.9.9.9", "2620:fe::fe"]
                    .map(|text| text.parse().unwrap())
                    .into())
            },
            ..guard(allow, own)
        }
    }

    fn judge(guard: &Guard, addresses: &[&str], port: u16) -> Result<(), String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        guard
            .judge(&addresses, port)
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn only_the_public_internet_is_allowed_at_first() {
        let guard = guard(&[], &[]);
        assert_eq!(judge(&guard, &["8.8.8.8", "2606:4700::1111"], 443), Ok(()));
        assert_eq!(
            judge(&guard, &["10.0.0.1"], 80).unwrap_err(),
            "address 10.0.0.1 is private: not allowed"
        );
    }

    #[test]
    fn row_63_one_private_address_refuses_the_name() {
        let guard = guard(&[], &[]);
        assert!(judge(&guard, &["8.8.8.8", "10.0.0.1"], 80).is_err());
        assert!(judge(&guard, &["10.0.0.1", "8.8.8.8"], 80).is_err());
    }

    #[test]
    fn the_allow_list_opens_what_it_names_and_nothing_else() {
        let guard = guard(&["10.1.0.0/16", "::1/128"], &[]);
        assert_eq!(judge(&guard, &["10.1.2.3", "::1", "8.8.8.8"], 80), Ok(()));
        assert!(judge(&guard, &["10.2.0.1"], 80).is_err());
        assert!(judge(&guard, &["127.0.0.1"], 80).is_err());
        assert!(judge(&guard, &["::ffff:10.1.2.3"], 80).is_err());
    }

    #[test]
    fn row_68_own_ports_are_refused_even_when_loopback_is_allowed() {
        let guard = guard(
            &["0.0.0.0/0", "::/0"],
            &["0.0.0.0:9324", "192.168.7.7:9325", "127.0.0.1:9326"],
        );
        for (address, port) in [
            ("127.0.0.1", 9324),
            ("127.9.9.9", 9324),
            ("0.0.0.0", 9324),
            ("::1", 9324),
            ("::", 9324),
            ("::ffff:127.0.0.1", 9324),
            ("192.168.7.7", 9325),
            ("127.0.0.1", 9325),
            ("127.0.0.2", 9326),
        ] {
            let refused = judge(&guard, &[address], port).unwrap_err();
            assert!(refused.ends_with("is this server's own"), "{refused}");
        }
        assert_eq!(judge(&guard, &["127.0.0.1"], 9327), Ok(()));
        assert_eq!(judge(&guard, &["192.168.7.8"], 9325), Ok(()));
    }

    #[test]
    fn security_finding_8_other_nodes_are_refused_on_their_port_and_on_those_of_this_server() {
        let nodes = || {
            vec![
                "10.1.0.2:9326".parse().unwrap(),
                "[fd00::3]:9326".parse().unwrap(),
            ]
        };
        let own = ["10.1.0.1:9324", "127.0.0.1:9325", "10.1.0.1:9326"];
        let guard = Guard::new(&Config {
            allow: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
            own_addresses: own.map(|text| text.parse().unwrap()).into(),
            other_nodes: Arc::new(nodes),
            ..Config::default()
        });
        for address in ["10.1.0.2", "fd00::3"] {
            for port in [9324, 9325, 9326] {
                let refused = judge(&guard, &[address], port).unwrap_err();
                assert!(
                    refused.ends_with("another node of the cluster"),
                    "{refused}"
                );
            }
            assert_eq!(judge(&guard, &[address], 8080), Ok(()));
        }
        assert_eq!(judge(&guard, &["10.1.0.4"], 9324), Ok(()));
        assert!(judge(&guard, &["10.1.0.4", "10.1.0.2"], 9324).is_err());
    }

    #[test]
    fn row_68_this_machines_public_addresses_are_refused_on_every_port() {
        let guard = public_guard(&[], &["0.0.0.0:9324"]);
        for address in [
            "9.9.9.9",
            "::ffff:9.9.9.9",
            "64:ff9b::9.9.9.9",
            "2002:909:909::",
            "2620:fe::fe",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let refused = judge(&guard, &[&address.to_string()[..]], 80).unwrap_err();
            let expected = format!("address {address} is this machine's: not allowed");
            assert_eq!(refused, expected);
        }
        assert!(judge(&guard, &["8.8.8.8", "9.9.9.9"], 80).is_err());
        assert_eq!(judge(&guard, &["9.9.9.10", "2620:fe::ff"], 80), Ok(()));
    }

    #[test]
    fn row_68_this_machines_addresses_can_be_allowed_but_not_its_own_ports() {
        let guard = public_guard(&["9.9.9.9", "2620:fe::fe"], &["0.0.0.0:9324", "[::]:9325"]);
        assert_eq!(judge(&guard, &["9.9.9.9", "2620:fe::fe"], 80), Ok(()));
        for (address, port) in [
            ("9.9.9.9", 9324),
            ("2620:fe::fe", 9325),
            ("64:ff9b::9.9.9.9", 9324),
        ] {
            let refused = judge(&guard, &[address], port).unwrap_err();
            assert!(refused.ends_with("is this server's own"), "{refused}");
        }
        assert_eq!(judge(&guard, &["8.8.8.8"], 9324), Ok(()));
    }

    #[test]
    fn nothing_is_dialled_while_this_machines_addresses_are_unknown() {
        let guard = Guard {
            machine: || Err(io::Error::other("no more files")),
            ..guard(&["127.0.0.0/8"], &[])
        };
        assert!(judge(&guard, &["8.8.8.8"], 80).is_err());
    }

    #[test]
    fn row_68_ports_of_other_protocols_are_refused() {
        let guard = guard(&[], &[]);
        for port in [22, 25, 465, 587, 2375, 2376, 3306, 5432, 6379, 11211] {
            assert!(judge(&guard, &["8.8.8.8"], port).is_err(), "{port}");
        }
        assert_eq!(judge(&guard, &["8.8.8.8"], 8080), Ok(()));
    }
}
