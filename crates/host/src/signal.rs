//! A value that tasks wait on. Who waits is woken in the order of waiting, so that a simulated node does the same
//! thing each time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Signal<T> {
    pub fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Notify::new(),
        }
    }

    pub fn get(&self) -> T {
        self.lock().clone()
    }

    pub fn set(&self, value: T) {
        *self.lock() = value;
        self.changed.notify_waiters();
    }

    /// Waits until the value is such a one.
    pub async fn wait_for(&self, is_such: impl Fn(&T) -> bool) {
        loop {
            // Made before the look: a change after the look wakes it.
            let changed = self.changed.notified();
            if is_such(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signal<u64> {
    /// One more.
    pub fn count(&self) {
        *self.lock() += 1;
        self.changed.notify_waiters();
    }
}
