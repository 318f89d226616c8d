//! How many pushes are under way to each address and port, by whatever names they go there.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{address, config::Config, hosts};

#[derive(Debug)]
pub(crate) struct Peers {
    known: RefCell<HashMap<SocketAddr, Arc<Semaphore>>>,
    pushes: usize,
}

impl Peers {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            known: RefCell::default(),
            pushes: config.host_pushes,
        }
    }

    pub(crate) async fn place(&self, peer: SocketAddr) -> OwnedSemaphorePermit {
        let places = self.places(peer);
        hosts::acquire(&places).await
    }

    fn places(&self, peer: SocketAddr) -> Arc<Semaphore> {
        let peer = SocketAddr::new(address::carried(peer.ip()), peer.port());
        let mut known = self.known.borrow_mut();
        let places = known.entry(peer);
        let places = places.or_insert_with(|| Arc::new(Semaphore::new(self.pushes)));
        Arc::clone(places)
    }

    /// Forgets addresses to which nothing is pushed.
    pub(crate) fn sweep(&self) {
        let mut known = self.known.borrow_mut();
        known.retain(|_, places| Arc::strong_count(places) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_the_same_in_all_its_forms() {
        let peers = Peers::new(&Config::default());
        let place = peers.place("8.8.8.8:80".parse().unwrap()).await;
        for same in ["[::ffff:8.8.8.8]:80", "[64:ff9b::8.8.8.8]:80"] {
            let places = peers.places(same.parse().unwrap());
            assert_eq!(places.available_permits(), 63, "{same}");
        }
        let other = peers.places("8.8.8.8:81".parse().unwrap());
        assert_eq!(other.available_permits(), 64);
        drop(other);
        peers.sweep();
        assert_eq!(peers.known.borrow().len(), 1);
        drop(place);
        peers.sweep();
        assert_eq!(peers.known.borrow().len(), 0);
    }
}
