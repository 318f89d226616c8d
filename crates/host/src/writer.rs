//! What the one writer of a disk does: everything that waits becomes one write and one sync.
//!
//! Jobs are done in their order. What is deferred runs after every append before it is durable, and appends after
//! it wait for the next batch.

use anser_broker::id::ShardId;
use anser_log::{Appender, Disk, Entry, EntryKind, Error, HardState, Write};
use anser_replica::{Append, Place, StoredEntry, StoredKind};

/// Bytes of entries in one write: a disk that limps is not given ever more at once.
const BATCH_BYTES: u64 = 8 << 20;

/// Work for the writer.
#[derive(Debug)]
pub enum Job {
    Append { shard: ShardId, append: Append },
    Defer(Deferred),
}

impl Job {
    /// Bytes of its entries.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Append { append, .. } => {
                let entries = append.entries.iter();
                entries.map(|entry| entry.data.len() as u64).sum()
            }
            Self::Defer(_) => 0,
        }
    }
}

/// What whoever takes in copies does, once every append before it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferred {
    /// The accepted copy becomes the beginning of the shard's log.
    Install { shard: ShardId, place: Place },
    /// The shard goes off the disk; a state of it from before this index must not come back. If it is damaged, its files
    /// are set aside.
    Forget {
        shard: ShardId,
        floor: u64,
        damaged: bool,
    },
    /// The disk has lost entries of the shard without a trace, for its log ends before what is known to be committed here.
    /// What else was lost nobody knows: the manifest says so before the node ends, and the replica promises nothing
    /// at the next start.
    Lose {
        shard: ShardId,
        committed: u64,
        last: u64,
    },
}

impl Deferred {
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Install { shard, .. } | Self::Forget { shard, .. } | Self::Lose { shard, .. } => {
                *shard
            }
        }
    }
}

/// Appends that become durable together.
#[derive(Debug, Default)]
pub struct Batch {
    pub writes: Vec<Write>,
    /// The appends by shard and number, each to be told by [`anser_replica::Input::Durable`] once it is.
    pub appends: Vec<(ShardId, u64)>,
    /// Bytes of their entries.
    pub bytes: u64,
    /// To be done afterwards.
    pub deferred: Option<Deferred>,
}

impl Batch {
    /// Takes jobs as long as they can share a write, which is not much longer than 8 MiB.
    pub fn gather(jobs: impl IntoIterator<Item = Job>) -> Self {
        let mut batch = Self::default();
        for job in jobs {
            batch.bytes += job.bytes();
            match job {
                Job::Append { shard, append } => {
                    batch.appends.push((shard, append.number));
                    batch.writes.push(write(shard, append));
                }
                Job::Defer(deferred) => {
                    batch.deferred = Some(deferred);
                    break;
                }
            }
            if batch.bytes >= BATCH_BYTES {
                break;
            }
        }
        batch
    }

    /// Makes the batch durable. Without space on the disk nothing was written, and it may be tried again.
    pub fn write<D: Disk>(&self, appender: &mut Appender<D>) -> Result<(), Error> {
        if self.writes.is_empty() {
            return Ok(());
        }
        appender.append(&self.writes)
    }
}

fn write(shard: ShardId, append: Append) -> Write {
    let entries = append.entries.into_iter().map(entry_of);
    Write {
        shard: shard.0,
        hard_state: Some(HardState {
            term: append.term,
            vote: append.vote,
            commit: append.commit,
        }),
        entries: entries.collect(),
    }
}

/// An entry as the log stores it.
pub(crate) fn entry_of(entry: StoredEntry) -> Entry {
    Entry {
        index: entry.index,
        term: entry.term,
        kind: match entry.kind {
            StoredKind::Normal => EntryKind::Normal,
            StoredKind::Membership => EntryKind::ChangeV2,
        },
        data: entry.data,
    }
}

#[cfg(test)]
mod tests {
    use anser_replica::StoredEntry;

    use super::*;

    /// Core review, finding 16: whoever has fallen behind is given everything at once.
    #[test]
    fn a_batch_ends_when_it_is_long_enough() {
        let append = |number| Job::Append {
            shard: ShardId(3),
            append: Append {
                number,
                term: 1,
                vote: 0,
                commit: 0,
                entries: vec![StoredEntry {
                    index: number,
                    term: 1,
                    kind: StoredKind::Normal,
                    data: vec![0; 3 << 20].into(),
                }],
            },
        };
        let mut jobs = (1..=5).map(append);
        let batches = [Batch::gather(&mut jobs), Batch::gather(&mut jobs)];
        let numbers = batches.each_ref().map(|batch| batch.appends.len());
        assert_eq!(numbers, [3, 2]);
        assert_eq!(batches[0].bytes, 9 << 20);
    }

    #[test]
    fn what_is_deferred_ends_a_batch_and_what_comes_after_it_waits() {
        let append = |number| Job::Append {
            shard: ShardId(3),
            append: Append {
                number,
                term: 1,
                vote: 0,
                commit: 0,
                entries: Vec::new(),
            },
        };
        let shard = ShardId(3);
        let deferred = Deferred::Forget {
            shard,
            floor: 1,
            damaged: false,
        };
        let mut jobs = vec![append(1), append(2), Job::Defer(deferred), append(3)].into_iter();
        let batch = Batch::gather(&mut jobs);
        assert_eq!(batch.appends, [(ShardId(3), 1), (ShardId(3), 2)]);
        assert_eq!(batch.deferred, Some(deferred));
        let next = Batch::gather(&mut jobs);
        assert_eq!(next.appends, [(ShardId(3), 3)]);
        assert_eq!(next.deferred, None);
    }
}
