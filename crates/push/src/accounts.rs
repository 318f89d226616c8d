//! What one account may take of what all share: a quarter, so that the others go on.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use anser_broker::{id::AccountId, limits};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{LOOKUP_THREADS, config::Config, hosts};

/// The part of an account: one in so many.
const PART: usize = 4;
const LOOKUPS_MAX: usize = LOOKUP_THREADS / PART;

#[derive(Debug)]
pub(crate) struct Accounts {
    known: RefCell<HashMap<AccountId, Rc<Account>>>,
    pushes: usize,
    bodies_bytes: usize,
}

/// What an account has left.
#[derive(Debug)]
pub(crate) struct Account {
    pushes: Cell<usize>,
    bodies_bytes: Cell<usize>,
    lookups: Arc<Semaphore>,
    changed: Notify,
}

/// What an account has taken, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    account: Rc<Account>,
    pushes: usize,
    bodies_bytes: usize,
}

impl Accounts {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            known: RefCell::default(),
            pushes: (config.pushes / PART).max(1),
            bodies_bytes: (config.bodies_bytes / PART).max(limits::BODY_BYTES_MAX as usize),
        }
    }

    pub(crate) fn of(&self, account: AccountId) -> Rc<Account> {
        let mut known = self.known.borrow_mut();
        let account = known.entry(account).or_insert_with(|| {
            Rc::new(Account {
                pushes: Cell::new(self.pushes),
                bodies_bytes: Cell::new(self.bodies_bytes),
                lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
                changed: Notify::new(),
            })
        });
        Rc::clone(account)
    }

    /// Forgets accounts that take nothing.
    pub(crate) fn sweep(&self) {
        self.known
            .borrow_mut()
            .retain(|_, account| Rc::strong_count(account) > 1 || account.is_looking_up());
    }
}

impl Account {
    /// A push and the memory of its body, if both are left.
    pub(crate) fn share_now(self: &Rc<Self>, bodies_bytes: usize) -> Option<(Share, Share)> {
        if !self.has_left(bodies_bytes) {
            return None;
        }
        self.pushes.update(|left| left - 1);
        self.bodies_bytes.update(|left| left - bodies_bytes);
        let mut push = Share {
            account: Rc::clone(self),
            pushes: 1,
            bodies_bytes,
        };
        let memory = push.split(bodies_bytes);
        Some((push, memory))
    }

    /// Whether a push with so much memory is left.
    fn has_left(&self, bodies_bytes: usize) -> bool {
        self.pushes.get() > 0 && self.bodies_bytes.get() >= bodies_bytes
    }

    /// Waits until something may have been given back. Of those who wait one is told at a time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// For one who was told and has no use for it: tells the next one, but only if there is
    /// something left, or those who wait would wake each other without end.
    pub(crate) fn pass_on(&self, bodies_bytes: usize) {
        if self.has_left(bodies_bytes) {
            self.changed.notify_one();
        }
    }

    pub(crate) async fn place_to_look_up(&self) -> OwnedSemaphorePermit {
        hosts::acquire(&self.lookups).await
    }

    fn is_looking_up(&self) -> bool {
        self.lookups.available_permits() < LOOKUPS_MAX
    }
}

impl Share {
    /// Gives back the memory that a body of this size does not need.
    pub(crate) fn fit(&mut self, body_bytes: usize) {
        let spare = self.bodies_bytes.saturating_sub(body_bytes);
        drop(self.split(spare));
    }

    fn split(&mut self, bodies_bytes: usize) -> Self {
        self.bodies_bytes -= bodies_bytes;
        Self {
            account: Rc::clone(&self.account),
            pushes: 0,
            bodies_bytes,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let account = &self.account;
        account.pushes.update(|left| left + self.pushes);
        account.bodies_bytes.update(|left| left + self.bodies_bytes);
        account.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::new(&Config {
            pushes: 8,
            bodies_bytes: 12 << 20,
            ..Config::default()
        })
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let account = accounts().of(AccountId(1));
        let first = account.share_now(1 << 20).unwrap();
        let second = account.share_now(1 << 20).unwrap();
        assert!(account.share_now(0).is_none());
        drop(first);
        assert!(account.share_now(3 << 20).is_none());
        assert!(account.share_now(2 << 20).is_some());
        let (push, mut memory) = second;
        memory.fit(1);
        assert_eq!(account.bodies_bytes.get(), (3 << 20) - 1);
        memory.fit(1 << 20);
        drop((push, memory));
        assert_eq!(account.bodies_bytes.get(), 3 << 20);
        assert_eq!(account.pushes.get(), 2);
    }

    #[test]
    fn accounts_are_known_for_as_long_as_they_take_something() {
        let accounts = accounts();
        let share = accounts.of(AccountId(1)).share_now(1);
        accounts.of(AccountId(2));
        accounts.sweep();
        assert_eq!(accounts.known.borrow().len(), 1);
        drop(share);
        accounts.sweep();
        assert_eq!(accounts.known.borrow().len(), 0);
    }
}
