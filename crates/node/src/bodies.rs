//! The threads that read bodies which are no longer at hand in memory.
//!
//! A shard's reads go to one thread, so that its own cache sees them all: a backlog is read in order
//! and one record of the log holds many messages.

use std::{
    ops::Range,
    sync::{Arc, mpsc},
};

use anser_broker::{
    codec,
    command::Delivery,
    error::Error,
    id::{MessageId, QueueId, Sequence, ShardId},
    op::ReceivedMessage,
};
use anser_log::{Disk, Reader, Stored};
use anser_replica::StoredEntry;
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{debug, error};

use crate::{
    cache::{EntryCache, Payload},
    event::{Event, Responder, Response},
    startup,
    status::{Counters, add},
};

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
    pub(crate) shard: ShardId,
    pub(crate) queue: QueueId,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) responder: Responder,
    /// Who takes back what the receiver no longer wants.
    pub(crate) runner: mpsc::Sender<Event>,
}

pub(crate) struct BodyReader<D: Disk> {
    reader: Reader<D>,
    cache: EntryCache<Stored>,
    counters: Arc<Counters>,
}

impl Payload for Stored {
    fn payload(&self) -> &Bytes {
        match self {
            Stored::Entry(entry) => &entry.data,
            Stored::Kept(kept) => &kept.payload,
        }
    }
}

impl<D: Disk> BodyReader<D> {
    pub(crate) fn new(reader: Reader<D>, cache_bytes: usize, counters: Arc<Counters>) -> Self {
        Self {
            reader,
            cache: EntryCache::new(cache_bytes),
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
                } => {
                    // Whoever asked may be gone; bodies are not theirs to give back.
                    drop(responder.send(self.fetch(shard, &messages, bytes_max)));
                }
                Job::Entries {
                    shard,
                    request,
                    range,
                    bytes_max,
                    runner,
                } => {
                    let entries = self.entries(shard, &range, bytes_max);
                    drop(runner.send(Event::Fetched {
                        shard,
                        request,
                        entries,
                    }));
                }
            }
        }
    }

    /// The first of these bodies, up to so many bytes or to the first that cannot be read.
    fn fetch(&mut self, shard: ShardId, messages: &[Sequence], bytes_max: usize) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        let mut bytes = 0;
        for &message in messages {
            let Some(body) = self.body(shard, message) else {
                break;
            };
            bytes += body.len();
            if bytes > bytes_max && !bodies.is_empty() {
                break;
            }
            bodies.push(body);
        }
        bodies
    }

    /// The first entries of a range; none if the log no longer has them.
    fn entries(&self, shard: ShardId, range: &Range<u64>, bytes_max: u64) -> Vec<StoredEntry> {
        let read = self
            .reader
            .entries(shard.0, range.start, range.end, bytes_max);
        match read {
            Ok(entries) => entries.into_iter().map(startup::stored).collect(),
            Err(reason) => {
                debug!(shard = shard.0, first = range.start, %reason, "entries for a follower cannot be read");
                Vec::new()
            }
        }
    }

    fn deliver(&mut self, job: Deliver) {
        let Deliver {
            shard,
            queue,
            deliveries,
            responder,
            runner,
        } = job;
        if responder.is_closed() {
            return give_back(&runner, shard, queue, &deliveries);
        }
        // What cannot be read stays leased; the others must not suffer for it.
        let (readable, bodies): (Vec<Delivery>, Vec<Bytes>) = deliveries
            .iter()
            .filter_map(|&delivery| Some((delivery, self.body(shard, delivery.message)?)))
            .unzip();
        let response = if readable.is_empty() {
            Err(Error::Unknown) // They are leased.
        } else {
            Ok(Response::Messages(messages(shard, &readable, bodies)))
        };
        if !responder.send(response) {
            give_back(&runner, shard, queue, &deliveries);
        }
    }

    /// `None` if the log cannot give it; that is logged and counted here.
    fn body(&mut self, shard: ShardId, message: Sequence) -> Option<Bytes> {
        let body = match self.cache.get(shard, message.index()) {
            Some(stored) => body_of(stored, message),
            None => match self.reader.read(shard.0, message.index()) {
                Ok(stored) => {
                    let body = body_of(&stored, message);
                    self.cache.put(shard, message.index(), stored);
                    body
                }
                Err(reason) => {
                    error!(shard = shard.0, index = message.index(), %reason, "a body cannot be read");
                    None
                }
            },
        };
        if body.is_none() {
            add(&self.counters.body_errors, 1);
        }
        body
    }
}

fn body_of(stored: &Stored, message: Sequence) -> Option<Bytes> {
    match stored {
        Stored::Entry(entry) => codec::body(&entry.data, message.ordinal()),
        Stored::Kept(kept) => codec::kept_body(&kept.payload, message.ordinal()),
    }
}

/// Leases and bodies as a receiver sees them.
pub(crate) fn messages(
    shard: ShardId,
    deliveries: &[Delivery],
    bodies: Vec<Bytes>,
) -> Vec<ReceivedMessage> {
    let message = |(delivery, body): (&Delivery, Bytes)| ReceivedMessage {
        message: MessageId {
            shard,
            sequence: delivery.message,
        },
        receipt: MessageId {
            shard,
            sequence: delivery.receipt,
        },
        body,
        sent: delivery.sent,
        first_received: delivery.first_received,
        visible_again: delivery.visible_again,
        deliveries: delivery.deliveries,
    };
    deliveries.iter().zip(bodies).map(message).collect()
}

pub(crate) fn give_back(
    runner: &mpsc::Sender<Event>,
    shard: ShardId,
    queue: QueueId,
    deliveries: &[Delivery],
) {
    let receipts = deliveries.iter().map(|delivery| delivery.receipt).collect();
    // A runner that is gone takes nothing back: the leases end by themselves.
    drop(runner.send(Event::GiveBack {
        shard,
        queue,
        receipts,
    }));
}
