//! Whether the client of a request that waits is still there.
//!
//! The HTTP library reads on while it carries out a request, and so sees the client's end, but only
//! until it has some bytes of what follows. From there on the stream looks, while somebody wants to
//! know. All this happens in the connection's own task.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Presence {
    is_watched: AtomicBool,
    is_lost: AtomicBool,
    changed: Notify,
}

impl Presence {
    /// Done when the client has left, or has sent so much behind its request that nobody can tell.
    pub(crate) async fn lost(&self) {
        let _watched = Watched::begin(self);
        while !self.is_lost.load(Ordering::Relaxed) {
            self.changed.notified().await;
        }
    }

    /// Whether somebody wants to know.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// For as long as somebody wants to know. What was so for an earlier request counts no more.
struct Watched<'a>(&'a Presence);

impl<'a> Watched<'a> {
    fn begin(presence: &'a Presence) -> Self {
        presence.is_lost.store(false, Ordering::Relaxed);
        presence.is_watched.store(true, Ordering::Relaxed);
        Self(presence)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.is_watched.store(false, Ordering::Relaxed);
    }
}
