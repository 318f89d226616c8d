//! Connections that have not yet proved anything. When there are too many, the oldest one of the
//! address with the most of them goes: who is slow or many makes room for who is not.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, rc::Rc};

use tokio::task::AbortHandle;

#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    /// By age.
    taken: RefCell<BTreeMap<u64, (IpAddr, AbortHandle)>>,
}

/// The place of one connection, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Rc<Places>,
    number: u64,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            taken: RefCell::default(),
        }
    }

    /// The place with this number, which is above all before it; nothing is in it yet.
    pub(crate) fn place(self: &Rc<Self>, number: u64) -> Place {
        Place {
            places: Rc::clone(self),
            number,
        }
    }

    /// Puts a connection's task into its place. Says whether another one had to end for it.
    pub(crate) fn take(&self, number: u64, from: IpAddr, task: AbortHandle) -> bool {
        let mut taken = self.taken.borrow_mut();
        taken.insert(number, (from, task));
        if taken.len() <= self.max {
            return false;
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (address, _) in taken.values() {
            *counts.entry(*address).or_default() += 1;
        }
        let most = counts.values().copied().max();
        let oldest = taken
            .iter()
            .find(|(_, (address, _))| counts.get(address).copied() == most)
            .map(|(number, _)| *number);
        if let Some((_, task)) = oldest.and_then(|number| taken.remove(&number)) {
            task.abort();
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn the_oldest_of_the_address_with_the_most_goes() {
        let tasks = LocalSet::new();
        let places = Rc::new(Places::new(3));
        let enter = |number, address: &str| {
            let place = places.place(number);
            let task = tasks.spawn_local(async move {
                let _place = place;
                pending::<()>().await;
            });
            places.take(number, address.parse().unwrap(), task.abort_handle())
        };
        assert!(!enter(1, "10.0.0.1"));
        assert!(!enter(2, "10.0.0.2"));
        assert!(!enter(3, "10.0.0.2"));
        assert!(enter(4, "10.0.0.3"));
        let left: Vec<u64> = places.taken.borrow().keys().copied().collect();
        assert_eq!(left, [1, 3, 4]);
    }
}
