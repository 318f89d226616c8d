//! Signs of life of one connection: when something last arrived and left.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use crate::{config::Limits, counters::Counters, lane::Lane, reader::End};

#[derive(Debug)]
pub(crate) struct Pulse {
    arrived: Cell<Instant>,
    left: Cell<Instant>,
    /// Somebody wants a sign of life now.
    asked: Notify,
    /// The peer has answered a ping.
    answered: Notify,
    counters: Arc<Counters>,
}

impl Pulse {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        let now = Instant::now();
        Self {
            arrived: Cell::new(now),
            left: Cell::new(now),
            asked: Notify::new(),
            answered: Notify::new(),
            counters,
        }
    }

    pub(crate) fn arrived(&self, bytes: usize) {
        self.arrived.set(Instant::now());
        self.counters
            .bytes_in
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn left(&self, bytes: usize) {
        self.left.set(Instant::now());
        self.counters
            .bytes_out
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Asks the peer for a sign of life; whether one comes in time.
    pub(crate) async fn is_alive(&self, patience: Duration) -> bool {
        let answered = self.answered.notified();
        self.asked.notify_one();
        time::timeout(patience, answered).await.is_ok()
    }

    pub(crate) fn pong(&self) {
        self.answered.notify_waiters();
    }

    pub(crate) fn frame_in(&self) {
        self.counters.frames_in.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn frames_out(&self, count: u64) {
        self.counters.frames_out.fetch_add(count, Ordering::Relaxed);
    }

    /// Asks for a sign of life when it is quiet, and returns when none came.
    pub(crate) async fn watch(&self, lane: &Lane, limits: &Limits) -> End {
        let mut pinged = Instant::now();
        loop {
            let now = Instant::now();
            let death = self.arrived.get() + limits.silence;
            if now >= death {
                return End::Silent;
            }
            let quiet_since = self.arrived.get().min(self.left.get());
            let mut ping = quiet_since.max(pinged) + limits.ping_every;
            if now >= ping {
                lane.ping();
                pinged = now;
                ping = now + limits.ping_every;
            }
            tokio::select! {
                () = time::sleep_until(ping.min(death)) => {}
                () = self.asked.notified() => {
                    lane.ping();
                    pinged = Instant::now();
                }
            }
        }
    }
}
