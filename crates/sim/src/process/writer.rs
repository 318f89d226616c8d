//! When the writer's batches reach the disk: `anser-host` says what they are.

use std::collections::VecDeque;

use anser_host::{Batch, Event, WriterJob};
use anser_log::Error;

use super::Process;
use crate::{
    coverage::sometimes,
    event::{Happening, MILLISECOND, Micros},
    world::Common,
};

#[derive(Debug, Default)]
pub(super) struct Writer {
    jobs: VecDeque<WriterJob>,
    pub(super) under_way: Option<UnderWay>,
}

/// Work of the disk that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) batch: Batch,
    is_written: bool,
    began: Micros,
}

impl Writer {
    /// The batch that is not on the disk yet.
    pub(super) fn unwritten(&self) -> Option<&Batch> {
        let under_way = self.under_way.as_ref()?;
        (!under_way.is_written).then_some(&under_way.batch)
    }

    /// How long the batch has been under way.
    pub(super) fn age(&self, now: Micros) -> Micros {
        let under_way = self.under_way.as_ref();
        under_way.map_or(0, |under_way| now - under_way.began)
    }

    fn is_done(&self) -> bool {
        let under_way = self.under_way.as_ref();
        under_way.is_some_and(|under_way| under_way.is_written)
    }
}

impl Process {
    pub(super) fn give_writer(&mut self, job: WriterJob, common: &mut Common) {
        self.writer.jobs.push_back(job);
        self.begin_batch(common);
    }

    fn begin_batch(&mut self, common: &mut Common) {
        let is_busy = self.writer.under_way.is_some() || self.writer.jobs.is_empty();
        if is_busy || self.failed.is_some() {
            return;
        }
        let jobs = &mut self.writer.jobs;
        let batch = Batch::gather(std::iter::from_fn(|| jobs.pop_front()));
        let usual = if batch.writes.is_empty() {
            10
        } else {
            common.plan.sync
        };
        let length = common.random.spread(usual) * self.slowness;
        let at_once = common.random.permille(400);
        self.writer.under_way = Some(UnderWay {
            batch,
            is_written: false,
            began: common.now,
        });
        if at_once {
            self.write(common);
        }
        let what = Happening::Written;
        common.later(self.node, self.life, length, what);
    }

    /// The time that a batch takes has passed.
    pub(super) fn written(&mut self, common: &mut Common) {
        self.write(common);
        if self.failed.is_some() || !self.writer.is_done() {
            return;
        }
        let UnderWay { batch, began, .. } = self.writer.under_way.take().expect("it was just seen");
        self.cluster.synced(common.now - began);
        for (shard, number) in batch.appends {
            self.tell(Event::Durable { shard, number }, common);
        }
        if let Some(deferred) = batch.deferred {
            let length = common.random.spread(500) * self.slowness;
            self.incoming_at = self.incoming_at.max(common.now + length);
            let length = self.incoming_at - common.now;
            common.later(self.node, self.life, length, Happening::Deferred(deferred));
        }
        if self.writer.jobs.is_empty() && common.random.permille(200) {
            // A mark is written without a sync, and its failure ends the process like any other.
            if let Err(error) = self.appender.mark_durable() {
                self.fail_for("a mark", &error, common);
            }
        }
        self.begin_batch(common);
    }

    /// Writes all that was handed in; false if that cannot be done now.
    pub(super) fn finish_writing(&mut self, common: &mut Common) -> bool {
        self.write(common);
        let is_stuck = self.writer.unwritten().is_some();
        while self.failed.is_none() && !is_stuck && !self.writer.jobs.is_empty() {
            let jobs = &mut self.writer.jobs;
            let batch = Batch::gather(std::iter::from_fn(|| jobs.pop_front()));
            self.writer.under_way = Some(UnderWay {
                batch,
                is_written: false,
                began: common.now,
            });
            self.write(common);
            if self.writer.unwritten().is_some() {
                return false;
            }
        }
        self.failed.is_none() && !is_stuck
    }

    /// Writes the batch to the disk, unless it is there.
    pub(super) fn write(&mut self, common: &mut Common) {
        let waits = self.writer.under_way.as_mut();
        let Some(under_way) = waits.filter(|under_way| !under_way.is_written) else {
            return;
        };
        match under_way.batch.write(&mut self.appender) {
            Ok(()) => {
                under_way.is_written = true;
                if !self.disk.unsynced(".wal").is_empty() {
                    let text = format!("node {}: the log says durable before it is", self.node);
                    common.checks.fail(text);
                }
                let writes = &under_way.batch.writes;
                common.checks.written(self.node, writes);
                common.statistics.syncs += 1;
            }
            Err(Error::NoSpace { .. }) => {
                sometimes("an append waited for space");
                common.later(
                    self.node,
                    self.life,
                    20 * MILLISECOND,
                    Happening::WriteAgain,
                );
            }
            Err(error) => self.fail_for("the write-ahead log", &error, common),
        }
    }
}
