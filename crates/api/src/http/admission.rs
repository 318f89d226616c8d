//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use super::proxies::Source;
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
    source: Source,
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
    /// `None` if there are too many connections already. Those of a trusted proxy are bounded with all others only:
    /// whose they are is not known before they ask.
    pub(super) fn take(admission: &Arc<Admission>, source: Source) -> Option<Self> {
        let mut open = admission.lock();
        if open.total >= admission.total_max {
            return None;
        }
        if let Source::Client(network) = source {
            let here = open.by_address.entry(network).or_default();
            if *here >= admission.per_address_max {
                return None;
            }
            *here += 1;
        }
        open.total += 1;
        drop(open);
        Some(Self {
            admission: Arc::clone(admission),
            source,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.total -= 1;
        let Source::Client(network) = self.source else {
            return;
        };
        let here = open.by_address.get_mut(&network);
        let here = here.expect("an open connection is counted");
        *here -= 1;
        if *here == 0 {
            open.by_address.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::proxies::Proxies;

    fn admission(connections: usize, connections_per_address: usize) -> Arc<Admission> {
        Arc::new(Admission::new(&Limits {
            connections,
            connections_per_address,
            ..Limits::default()
        }))
    }

    fn take(admission: &Arc<Admission>, address: &str) -> Option<Permit> {
        let proxies = Proxies::new(vec!["10.9.0.0/16".parse().unwrap()]);
        Permit::take(admission, proxies.judge(address.parse().unwrap()))
    }

    #[test]
    fn a_trusted_proxy_is_bounded_with_all_others_only() {
        let admission = admission(3, 1);
        let first = take(&admission, "10.9.0.1");
        let _second = take(&admission, "10.9.0.1");
        let _third = take(&admission, "10.0.0.1");
        assert!(take(&admission, "10.9.0.1").is_none(), "the total");
        drop(first);
        assert!(take(&admission, "10.9.0.1").is_some());
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
