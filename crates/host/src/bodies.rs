//! Reading what is no longer at hand in memory: bodies of messages, and entries for followers.
//!
//! A shard's reads go to one reader, so that its own cache sees them all: a backlog is read in order
//! and one record of the log holds many messages.

use std::ops::Range;

use anser_broker::{
    codec,
    command::Delivery,
    error::Error,
    id::{MessageId, Sequence, ShardId},
    op::ReceivedMessage,
};
use anser_log::{Disk, Reader, Stored};
use anser_replica::StoredEntry;
use bytes::Bytes;

use crate::{
    cache::{EntryCache, Payload},
    event::Event,
    opening::stored,
};

/// How often a body is read of which nothing is known but that reading it failed.
const READ_TRIES: u32 = 3;

#[derive(Debug)]
pub struct BodyReader<D: Disk> {
    reader: Reader<D>,
    cache: EntryCache<Stored>,
}

impl Unreadable {
    /// What it means for the shard, if damage is the reason.
    pub fn damage<T>(&self, shard: ShardId) -> Option<Event<T>> {
        Event::damaged(shard, self.reason.as_ref()?)
    }
}

/// A body that the log should hold and cannot give.
#[derive(Debug)]
pub struct Unreadable {
    pub message: Sequence,
    /// `None`: the log gave the entry, and the body is not in it.
    pub reason: Option<anser_log::Error>,
}

impl Payload for Stored {
    fn payload(&self) -> &Bytes {
        Stored::payload(self)
    }
}

impl<D: Disk> BodyReader<D> {
    pub fn new(reader: Reader<D>, cache_bytes: usize) -> Self {
        Self {
            reader,
            cache: EntryCache::new(cache_bytes),
        }
    }

    /// Messages that were just leased, as their receiver sees them. What cannot be read stays leased, and the
    /// others must not suffer for it.
    pub fn deliver(
        &mut self,
        shard: ShardId,
        deliveries: &[Delivery],
        unreadable: &mut Vec<Unreadable>,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let mut delivered = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match self.body(shard, delivery.message) {
                Ok(body) => delivered.push(message(shard, delivery, body)),
                Err(reason) => unreadable.push(reason),
            }
        }
        if delivered.is_empty() {
            return Err(Error::Unknown); // They are leased.
        }
        Ok(delivered)
    }

    /// The first of these bodies, up to so many bytes of all of them together or to the first that cannot be
    /// read; a larger one comes alone.
    pub fn fetch(
        &mut self,
        shard: ShardId,
        messages: &[Sequence],
        bytes_max: usize,
        unreadable: &mut Vec<Unreadable>,
    ) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        let mut bytes = 0;
        for &message in messages {
            let body = match self.body(shard, message) {
                Ok(body) => body,
                Err(reason) => {
                    unreadable.push(reason);
                    break;
                }
            };
            bytes += body.len();
            if bytes > bytes_max && !bodies.is_empty() {
                break;
            }
            bodies.push(body);
        }
        bodies
    }

    /// The first entries of a range; an error if the log no longer has them.
    pub fn entries(
        &self,
        shard: ShardId,
        range: &Range<u64>,
        bytes_max: u64,
    ) -> Result<Vec<StoredEntry>, anser_log::Error> {
        let read = self
            .reader
            .entries(shard.0, range.start, range.end, bytes_max);
        Ok(read?.into_iter().map(stored).collect())
    }

    /// What is stored of these entries, of those that are applied: about `bytes_max`, and less than one only if none is here.
    /// For a node whose own cannot be read.
    pub fn give(
        &self,
        shard: ShardId,
        applied: u64,
        indexes: &[u64],
        bytes_max: usize,
    ) -> Vec<Stored> {
        let mut given = Vec::new();
        let mut left = bytes_max;
        for &index in indexes.iter().filter(|&&index| index <= applied) {
            let Ok(stored) = self.reader.read(shard.0, index) else {
                continue;
            };
            let bytes = stored.payload().len();
            if bytes > left && !given.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            given.push(stored);
        }
        given
    }

    /// Whether a message's body is there. A read that failed may succeed at the next time; what fails time and again cannot be
    /// read any more.
    pub fn has(&mut self, shard: ShardId, message: Sequence) -> Result<bool, anser_log::Error> {
        let mut tries = READ_TRIES;
        loop {
            let reason = match self.body(shard, message) {
                Ok(_) => return Ok(true),
                Err(unreadable) => unreadable.reason,
            };
            tries -= 1;
            match reason {
                None
                | Some(anser_log::Error::Missing { .. } | anser_log::Error::Compacted { .. }) => {
                    return Ok(false);
                }
                Some(error) if error.is_damage() && (tries == 0 || !error.may_pass()) => {
                    return Ok(false);
                }
                Some(error) if tries == 0 => return Err(error),
                Some(_) => {}
            }
        }
    }

    fn body(&mut self, shard: ShardId, message: Sequence) -> Result<Bytes, Unreadable> {
        let unreadable = |reason| Unreadable { message, reason };
        let body = if let Some(stored) = self.cache.get(shard, message.index()) {
            body_of(stored, message)
        } else {
            let read = self.reader.read(shard.0, message.index());
            let stored = read.map_err(|reason| unreadable(Some(reason)))?;
            let body = body_of(&stored, message);
            self.cache.put(shard, message.index(), stored);
            body
        };
        body.ok_or_else(|| unreadable(None))
    }
}

fn body_of(stored: &Stored, message: Sequence) -> Option<Bytes> {
    match stored {
        Stored::Entry(entry) => codec::body(&entry.data, message.ordinal()),
        Stored::Kept(kept) => codec::kept_body(&kept.payload, message.ordinal()),
    }
}

/// Leases and bodies as a receiver sees them.
pub fn messages(
    shard: ShardId,
    deliveries: &[Delivery],
    bodies: Vec<Bytes>,
) -> Vec<ReceivedMessage> {
    let messages = deliveries.iter().zip(bodies);
    messages
        .map(|(delivery, body)| message(shard, delivery, body))
        .collect()
}

fn message(shard: ShardId, delivery: &Delivery, body: Bytes) -> ReceivedMessage {
    ReceivedMessage {
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
    }
}
