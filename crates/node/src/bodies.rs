//! The threads that read bodies which are no longer at hand in memory.
//!
//! A shard's reads go to one thread.

use std::{
    ops::Range,
    sync::{Arc, mpsc},
};

use anser_broker::id::{Sequence, ShardId};
use anser_host::{BodyReader, Leases, Unreadable};
use anser_log::{Disk, Reader, Stored};
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{debug, error};

use crate::{
    event::{Event, HostEvent, Responder, Response},
    status::{Counters, add},
};

/// Of what is given to another node at once; a longer entry goes alone.
const GIVEN_BYTES: usize = 1 << 20;

pub(crate) enum Job {
    /// Messages that were just leased, for whoever received them.
    Deliver(Deliver),
    /// Bodies for another part of the node.
    Fetch {
        shard: ShardId,
        messages: Vec<Sequence>,
        /// Of all of them together; a larger one comes alone.
        bytes_max: usize,
        responder: oneshot::Sender<Vec<Bytes>>,
        /// Who hears of damage.
        runner: mpsc::Sender<Event>,
    },
    /// What is stored of entries that are damaged on another node.
    Give {
        shard: ShardId,
        applied: u64,
        indexes: Vec<u64>,
        responder: oneshot::Sender<Vec<Stored>>,
    },
    /// Entries that a follower is missing and that are in memory no more.
    Entries {
        shard: ShardId,
        request: u64,
        range: Range<u64>,
        bytes_max: u64,
        runner: mpsc::Sender<Event>,
    },
}

pub(crate) struct Deliver {
    pub(crate) leases: Leases,
    pub(crate) responder: Responder,
    /// Who takes back what the receiver no longer wants.
    pub(crate) runner: mpsc::Sender<Event>,
}

/// A thread's reader.
pub(crate) struct Bodies<D: Disk> {
    reader: BodyReader<D>,
    counters: Arc<Counters>,
}

impl<D: Disk> Bodies<D> {
    pub(crate) fn new(reader: Reader<D>, cache_bytes: usize, counters: Arc<Counters>) -> Self {
        Self {
            reader: BodyReader::new(reader, cache_bytes),
            counters,
        }
    }

    /// Works until every sender of jobs is gone.
    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Deliver(deliver) => self.deliver(deliver),
                Job::Fetch {
                    shard,
                    messages,
                    bytes_max,
                    responder,
                    runner,
                } => {
                    let mut unreadable = Vec::new();
                    let bodies = self
                        .reader
                        .fetch(shard, &messages, bytes_max, &mut unreadable);
                    self.complain(shard, &unreadable, &runner);
                    // Whoever asked may be gone; bodies are not theirs to give back.
                    drop(responder.send(bodies));
                }
                Job::Give {
                    shard,
                    applied,
                    indexes,
                    responder,
                } => {
                    let given = self.reader.give(shard, applied, &indexes, GIVEN_BYTES);
                    // Whoever asked may not wait any more.
                    drop(responder.send(given));
                }
                Job::Entries {
                    shard,
                    request,
                    range,
                    bytes_max,
                    runner,
                } => {
                    let read = self.reader.entries(shard, &range, bytes_max);
                    let entries = read.unwrap_or_else(|reason| {
                        if let Some(damaged) = HostEvent::damaged(shard, &reason) {
                            drop(runner.send(damaged.into()));
                        }
                        debug!(shard = shard.0, first = range.start, %reason, "entries for a follower cannot be read");
                        Vec::new()
                    });
                    let fetched = HostEvent::Fetched {
                        shard,
                        request,
                        entries,
                    };
                    drop(runner.send(fetched.into()));
                }
            }
        }
    }

    fn deliver(&mut self, job: Deliver) {
        let Deliver {
            leases,
            responder,
            runner,
        } = job;
        if responder.is_closed() {
            return give_back(&runner, &leases);
        }
        let mut unreadable = Vec::new();
        let delivered = self
            .reader
            .deliver(leases.shard, &leases.deliveries, &mut unreadable);
        self.complain(leases.shard, &unreadable, &runner);
        if !responder.send(delivered.map(Response::Messages)) {
            give_back(&runner, &leases);
        }
    }

    fn complain(&self, shard: ShardId, unreadable: &[Unreadable], runner: &mpsc::Sender<Event>) {
        for body in unreadable {
            if let Some(damaged) = body.damage(shard) {
                drop(runner.send(HostEvent::into(damaged)));
            }
            let Unreadable { message, reason } = body;
            if let Some(reason) = reason {
                error!(shard = shard.0, index = message.index(), %reason, "a body cannot be read");
            }
            add(&self.counters.body_errors, 1);
        }
    }
}

pub(crate) fn give_back(runner: &mpsc::Sender<Event>, leases: &Leases) {
    // A runner that is gone takes nothing back: the leases end by themselves.
    drop(runner.send(leases.give_back().into()));
}

#[cfg(test)]
mod tests;
