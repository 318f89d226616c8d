//! The thread that makes appends durable: one write and one sync for all that wait.

use std::collections::VecDeque;

use anser_log::{Entry, EntryKind, Error, HardState, Write};
use anser_replica::{Append, Input, StoredKind};

use super::Process;
use crate::{
    coverage::sometimes,
    event::{Happening, Incoming, MILLISECOND},
    world::Common,
};

#[derive(Debug, Default)]
pub(super) struct Writer {
    jobs: VecDeque<Job>,
    pub(super) batch: Option<Batch>,
}

#[derive(Debug)]
enum Job {
    Append {
        shard: u16,
        append: Append,
    },
    /// To be done when every append before it is durable.
    Then(Incoming),
}

/// Work of the disk that is under way.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    told: Vec<(u16, u64)>,
    then: Option<Incoming>,
    pub(super) is_written: bool,
}

impl Process {
    pub(super) fn append(&mut self, shard: u16, append: Append, common: &mut Common) {
        self.writer.jobs.push_back(Job::Append { shard, append });
        self.begin_batch(common);
    }

    pub(super) fn then(&mut self, incoming: Incoming, common: &mut Common) {
        self.writer.jobs.push_back(Job::Then(incoming));
        self.begin_batch(common);
    }

    fn begin_batch(&mut self, common: &mut Common) {
        if self.writer.batch.is_some() || self.writer.jobs.is_empty() || self.failed.is_some() {
            return;
        }
        let mut batch = Batch::default();
        while let Some(job) = self.writer.jobs.pop_front() {
            match job {
                Job::Append { shard, append } => {
                    batch.told.push((shard, append.number));
                    batch.writes.push(write(shard, append));
                }
                Job::Then(then) => {
                    batch.then = Some(then);
                    break;
                }
            }
        }
        let usual = if batch.writes.is_empty() {
            10
        } else {
            common.plan.sync
        };
        let length = common.random.spread(usual) * self.slowness;
        let at_once = common.random.permille(400);
        self.writer.batch = Some(batch);
        if at_once {
            self.write(common);
        }
        let what = Happening::Written;
        common.later(self.node, self.life, length, what);
    }

    /// The time that a batch takes has passed.
    pub(super) fn written(&mut self, common: &mut Common) {
        if self
            .writer
            .batch
            .as_ref()
            .is_some_and(|batch| !batch.is_written)
        {
            self.write(common);
        }
        if self.failed.is_some()
            || self
                .writer
                .batch
                .as_ref()
                .is_none_or(|batch| !batch.is_written)
        {
            return;
        }
        let batch = self.writer.batch.take().expect("it was just seen");
        for (shard, number) in batch.told {
            self.step(shard, Input::Durable { number }, common);
        }
        if let Some(incoming) = batch.then {
            let length = common.random.spread(500) * self.slowness;
            self.incoming_at = self.incoming_at.max(common.now + length);
            let length = self.incoming_at - common.now;
            common.later(self.node, self.life, length, Happening::Incoming(incoming));
        }
        if self.writer.jobs.is_empty() && common.random.permille(200) {
            // A mark is written without a sync, and its failure ends the process like any other.
            if let Err(error) = self.appender.mark_durable() {
                self.fail(format!("a mark: {error}"), true);
            }
        }
        self.begin_batch(common);
    }

    /// Writes the batch to the disk.
    pub(super) fn write(&mut self, common: &mut Common) {
        let Some(batch) = self.writer.batch.as_mut().filter(|one| !one.is_written) else {
            return;
        };
        match self.appender.append(&batch.writes) {
            Ok(()) => {
                batch.is_written = true;
                if !self.disk.is_synced(".wal") {
                    let text = format!("node {}: the log says durable before it is", self.node);
                    common.checks.fail(text);
                }
                common.checks.written(self.node, &batch.writes);
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
            Err(error) => {
                sometimes("a sync failed");
                self.fail(format!("the write-ahead log: {error}"), true);
            }
        }
    }
}

fn write(shard: u16, append: Append) -> Write {
    let entries = append.entries.into_iter().map(|entry| Entry {
        index: entry.index,
        term: entry.term,
        kind: match entry.kind {
            StoredKind::Normal => EntryKind::Normal,
            StoredKind::Membership => EntryKind::ChangeV2,
        },
        data: entry.data,
    });
    Write {
        shard,
        hard_state: Some(HardState {
            term: append.term,
            vote: append.vote,
            commit: append.commit,
        }),
        entries: entries.collect(),
    }
}
