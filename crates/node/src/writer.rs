//! The thread that makes appends durable: one write and one sync for all that wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anser_host::{Batch, WriterJob as Job};
use anser_log::{Appender, Disk, Write};
use tracing::{error, warn};

use crate::{
    cluster::copies::Copies,
    event::HostEvent,
    failure::Failed,
    inboxes::Inboxes,
    status::{Counters, add},
};

/// After this long without work, a record says what is durable, so that a later torn tail is known
/// to be torn.
const IDLE: Duration = Duration::from_millis(5);

/// How often to look whether a full disk has space again.
const SPACE_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) struct Writer<D: Disk> {
    pub(crate) appender: Appender<D>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    /// Who is told what is durable.
    pub(crate) inboxes: Inboxes,
    /// Who does what was deferred; `None`: a node for itself, which takes in no copies.
    pub(crate) copies: Option<Copies>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    /// The node stops: what waits for space is given up. Nothing of it was acknowledged.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl<D: Disk> Writer<D> {
    /// Works until every sender of jobs is gone; then the log is closed.
    pub(crate) fn run(mut self) {
        let mut idle = true;
        loop {
            let next = if idle {
                self.jobs
                    .recv()
                    .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                self.jobs.recv_timeout(IDLE)
            };
            let result = match next {
                Ok(first) => {
                    idle = false;
                    self.append(first)
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    idle = true;
                    self.appender.mark_durable()
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            if let Err(reason) = result {
                error!(%reason, "the write-ahead log failed; the node stops");
                self.failed
                    .set(format!("the write-ahead log failed: {reason}"));
                return;
            }
        }
        if let Err(reason) = self.appender.close() {
            error!(%reason, "closing the write-ahead log failed");
            self.failed
                .set(format!("closing the write-ahead log failed: {reason}"));
        }
    }

    fn append(&mut self, first: Job) -> Result<(), anser_log::Error> {
        let batch = Batch::gather(std::iter::once(first).chain(self.jobs.try_iter()));
        if !batch.writes.is_empty() {
            self.write(&batch)?;
        }
        let unwritten = &self.counters.unwritten_bytes;
        unwritten.fetch_sub(batch.bytes, Ordering::Relaxed);
        for (shard, number) in batch.appends {
            // A runner that is gone has nobody left to tell.
            let durable = HostEvent::Durable { shard, number };
            drop(self.inboxes.of(shard).send(durable.into()));
        }
        if let (Some(deferred), Some(copies)) = (batch.deferred, &self.copies) {
            copies.take_deferred(deferred);
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), anser_log::Error> {
        self.count(&batch.writes);
        let started = Instant::now();
        self.counters.write_begins(started);
        let written = self.append_when_there_is_space(batch);
        self.counters.write_ends();
        written?;
        self.counters
            .synced(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// A full disk is not a broken one: nothing was written, and maintenance frees files.
    fn append_when_there_is_space(&mut self, batch: &Batch) -> Result<(), anser_log::Error> {
        let mut told = false;
        loop {
            match batch.write(&mut self.appender) {
                Err(error @ anser_log::Error::NoSpace { .. })
                    if self.stopping.load(Ordering::Relaxed) =>
                {
                    return Err(error);
                }
                Err(anser_log::Error::NoSpace { file }) => {
                    if !told {
                        warn!(file, "the write-ahead log waits for space on the disk");
                        told = true;
                    }
                    thread::sleep(SPACE_INTERVAL);
                }
                result => return result,
            }
        }
    }

    fn count(&self, writes: &[Write]) {
        let entries = || writes.iter().flat_map(|write| &write.entries);
        add(&self.counters.appended_entries, entries().count() as u64);
        add(
            &self.counters.appended_bytes,
            entries().map(|entry| entry.data.len() as u64).sum(),
        );
    }
}
