//! Which subscriptions have something for their pushers.
//!
//! A subscription is announced once and then no more until its pusher has found nothing to take. What
//! becomes ready in between may be missed by the last look: then it is announced again at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anser_broker::id::SubscriptionId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Announcements {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they will be heard.
    unheard: VecDeque<SubscriptionId>,
    announced: HashMap<SubscriptionId, Since>,
    closed: bool,
}

/// What happened to an announced subscription since its pusher began its last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Nothing,
    ReadyAgain,
}

impl Announcements {
    /// Says that a subscription has something.
    pub(crate) fn announce(&self, subscription: SubscriptionId) {
        let mut state = self.lock();
        let before = state.announced.insert(subscription, Since::ReadyAgain);
        if before.is_none() {
            self.tell(&mut state, subscription);
        }
    }

    /// The next one that was announced; `None` when there will be none any more.
    pub(crate) async fn next(&self) -> Option<SubscriptionId> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if let Some(subscription) = state.unheard.pop_front() {
                    if !state.unheard.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(subscription);
                }
            }
            changed.await;
        }
    }

    /// The pusher of a subscription begins to look what there is.
    pub(crate) fn look_begins(&self, subscription: SubscriptionId) {
        if let Some(since) = self.lock().announced.get_mut(&subscription) {
            *since = Since::Nothing;
        }
    }

    /// It found nothing.
    pub(crate) fn nothing_found(&self, subscription: SubscriptionId) {
        let mut state = self.lock();
        if state.announced.remove(&subscription) == Some(Since::ReadyAgain) {
            state.announced.insert(subscription, Since::Nothing);
            self.tell(&mut state, subscription);
        }
    }

    /// The subscription is no more.
    pub(crate) fn forget(&self, subscription: SubscriptionId) {
        self.lock().announced.remove(&subscription);
    }

    /// Ends every wait.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    fn tell(&self, state: &mut State, subscription: SubscriptionId) {
        state.unheard.push_back(subscription);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(announcements: &Announcements) -> Vec<u64> {
        let state = announcements.lock();
        state.unheard.iter().map(|id| id.0).collect()
    }

    #[test]
    fn nothing_that_becomes_ready_is_missed() {
        let announcements = Announcements::default();
        let subscription = SubscriptionId(7);
        announcements.announce(subscription);
        announcements.announce(subscription);
        assert_eq!(heard(&announcements), [7], "once is enough");
        announcements.lock().unheard.clear();
        announcements.look_begins(subscription);
        announcements.nothing_found(subscription);
        assert_eq!(heard(&announcements), [0; 0]);
        announcements.announce(subscription);
        announcements.lock().unheard.clear();
        announcements.look_begins(subscription);
        announcements.announce(subscription);
        announcements.nothing_found(subscription);
        assert_eq!(heard(&announcements), [7], "the look may have missed it");
    }
}
