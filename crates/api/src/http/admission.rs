//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::limits::Limits;

#[derive(Debug)]
pub(super) struct Admission {
    total_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The right to be connected, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            total_max: limits.connections,
            per_address_max: limits.connections_per_address,
            open: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Permit {
    /// `None` if there are too many connections already.
    pub(super) fn take(admission: &Arc<Admission>, address: IpAddr) -> Option<Self> {
        let address = network(address);
        let mut open = admission.lock();
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        if open.total >= admission.total_max || here >= admission.per_address_max {
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, here + 1);
        drop(open);
        Some(Self {
            admission: Arc::clone(admission),
            address,
        })
    }

    /// The network that counts as one client.
    pub(super) fn network(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.total -= 1;
        let here = open.by_address.get_mut(&self.address);
        let here = here.expect("an open connection is counted");
        *here -= 1;
        if *here == 0 {
            open.by_address.remove(&self.address);
        }
    }
}

/// The part of an address that one client has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << 64;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_address: usize) -> Arc<Admission> {
        Arc::new(Admission::new(&Limits {
            connections,
            connections_per_address,
            ..Limits::default()
        }))
    }

    fn take(admission: &Arc<Admission>, address: &str) -> Option<Permit> {
        Permit::take(admission, address.parse().unwrap())
    }

    #[test]
    fn one_address_does_not_take_all() {
        let admission = admission(3, 2);
        let first = take(&admission, "10.0.0.1");
        let _second = take(&admission, "10.0.0.1");
        assert!(take(&admission, "10.0.0.1").is_none());
        assert!(take(&admission, "::ffff:10.0.0.1").is_none());
        let _third = take(&admission, "10.0.0.2");
        assert!(take(&admission, "10.0.0.3").is_none(), "the total");
        drop(first);
        assert!(take(&admission, "10.0.0.1").is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let admission = admission(9, 1);
        let _first = take(&admission, "2001:db8::1");
        assert!(take(&admission, "2001:db8::2").is_none());
        assert!(take(&admission, "2001:db8:0:1::1").is_some());
    }
}
