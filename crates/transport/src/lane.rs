//! What waits to be written to one connection, bounded in bytes: bulk apart from the rest, which goes
//! first. Any thread may add to it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    batch::Batch,
    frame::{Frame, Kind},
};

#[derive(Debug)]
pub(crate) struct Lane {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    pub(crate) wake: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    /// Of what waits, and of what was taken but is not yet written.
    bytes: usize,
    bulk: VecDeque<Frame>,
    /// The same of bulk.
    bulk_bytes: usize,
    /// One of each at most, however many the peer asks for.
    ping: bool,
    pong: bool,
}

/// It does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Lane {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Notify::new(),
            bytes_max,
        }
    }

    pub(crate) fn push(&self, frame: Frame) -> Result<(), Full> {
        self.push_beyond(frame, 0)
    }

    /// Adds a frame that must not be lost, and may take this many bytes beyond the bound.
    pub(crate) fn push_beyond(&self, frame: Frame, beyond: usize) -> Result<(), Full> {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(frame.cost());
        if bytes > self.bytes_max.saturating_add(beyond) {
            return Err(Full);
        }
        waiting.bytes = bytes;
        waiting.frames.push_back(frame);
        // Who writes looks again before it sleeps.
        let is_first = waiting.frames.len() == 1;
        drop(waiting);
        if is_first {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Adds a frame that everything else may overtake. It has a bound of its own, of the same size.
    pub(crate) fn push_bulk(&self, frame: Frame) -> Result<(), Full> {
        let mut waiting = self.lock();
        let bytes = waiting.bulk_bytes.saturating_add(frame.cost());
        if bytes > self.bytes_max {
            return Err(Full);
        }
        waiting.bulk_bytes = bytes;
        waiting.bulk.push_back(frame);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn ping(&self) {
        self.lock().ping = true;
        self.wake.notify_one();
    }

    pub(crate) fn pong(&self) {
        self.lock().pong = true;
        self.wake.notify_one();
    }

    /// Moves what waits into a batch, until it is full, but for bulk. Frames for which `keep` says no are
    /// dropped.
    pub(crate) fn fill(&self, batch: &mut Batch, mut keep: impl FnMut(&mut Frame) -> bool) {
        let mut waiting = self.lock();
        for (is_due, kind) in [(waiting.ping, Kind::Ping), (waiting.pong, Kind::Pong)] {
            if is_due {
                batch.push_free(&Frame::bare(kind, 0));
            }
        }
        waiting.ping = false;
        waiting.pong = false;
        while !batch.is_full()
            && let Some(mut frame) = waiting.frames.pop_front()
        {
            if keep(&mut frame) {
                batch.push(frame);
            } else {
                waiting.bytes -= frame.cost();
            }
        }
    }

    /// Moves the first frame of bulk for which `keep` says yes into a batch, full or not; those before it
    /// are dropped.
    pub(crate) fn fill_bulk(&self, batch: &mut Batch, mut keep: impl FnMut(&mut Frame) -> bool) {
        let mut waiting = self.lock();
        while let Some(mut frame) = waiting.bulk.pop_front() {
            if keep(&mut frame) {
                batch.push_bulk(frame);
                return;
            }
            waiting.bulk_bytes -= frame.cost();
        }
    }

    /// What was taken into a batch has been written.
    pub(crate) fn release(&self, batch: &Batch) {
        let mut waiting = self.lock();
        waiting.bytes -= batch.cost;
        waiting.bulk_bytes -= batch.bulk_cost;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().bytes >= self.bytes_max
    }

    pub(crate) fn bytes(&self) -> usize {
        let waiting = self.lock();
        waiting.bytes + waiting.bulk_bytes
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Waiting::default();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
