//! The end of a connection that stays in one phase for too long.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::time::Sleep;
use tracing::debug;

use super::link::Link;
use crate::metrics::add;

/// Ready when a phase of the connection lasts too long.
pub(super) struct Watch<'a> {
    link: &'a Link,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        let deadline = link.deadline().expect("a first head has a deadline");
        Self {
            link,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
        }
    }

    /// Counts the connection when it is ready.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.link.deadline() else {
                return Poll::Pending;
            };
            // A timer that rings early is set anew; setting it at every change would cost more.
            if self.timer.is_elapsed() || deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if self.timer.deadline() >= deadline {
                add(&self.link.metrics.connections_overdue, 1);
                debug!(phase = ?self.link.phase(), "a connection took too long");
                return Poll::Ready(());
            }
        }
    }
}

/// What comes of it; nothing if a phase of the connection lasts too long meanwhile.
pub(super) async fn within<T>(link: &Link, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut overdue = Watch::new(link);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => overdue.poll(context).map(|()| None),
    })
    .await
}
