//! Messages handed to one consumer and hidden from the others until a deadline.
//!
//! A lease wakes when its deadline passes or its message's retention ends, whichever is first. Each
//! lease stands in both maps. A receipt names one lease; a message leased again has another.

use crate::{
    id::Sequence,
    list::Waiting,
    moment::Moment,
    queue::sends::Sends,
    sorted::SortedMap,
    time::{Millis, Timestamp},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    by_receipt: SortedMap<Sequence, Record>,
    by_wake: SortedMap<(Timestamp, Sequence), ()>,
    /// From when retention counts, by message, where that is not its sending.
    since: SortedMap<Sequence, Moment>,
    sends: Sends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) message: Waiting,
    /// From when retention counts.
    pub(super) since: Timestamp,
    pub(super) first_received: Timestamp,
    pub(super) deadline: Timestamp,
    /// Deliveries so far, this one included.
    pub(super) deliveries: u32,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    message: Sequence,
    deliveries: u32,
    sent: Moment,
    first_received: Moment,
    deadline: Moment,
}

impl Lease {
    pub(super) fn wake(&self, retention: Millis) -> Timestamp {
        self.deadline.min(self.since + retention)
    }
}

impl Leases {
    pub(super) fn len(&self) -> u64 {
        self.by_receipt.len() as u64
    }

    pub(super) fn first_wake(&self) -> Option<Timestamp> {
        self.by_wake.first().map(|((wake, _), ())| *wake)
    }

    pub(super) fn grant(&mut self, receipt: Sequence, lease: Lease, retention: Millis) {
        let record = Record {
            message: lease.message.sequence,
            deliveries: lease.deliveries,
            sent: lease.message.sent.into(),
            first_received: lease.first_received.into(),
            deadline: lease.deadline.into(),
        };
        if lease.since != lease.message.sent {
            self.since.insert(record.message, lease.since.into());
        }
        self.sends.add(lease.message.sent);
        self.by_receipt.insert(receipt, record);
        self.by_wake.insert((lease.wake(retention), receipt), ());
    }

    pub(super) fn get(&self, receipt: Sequence) -> Option<Lease> {
        let record = self.by_receipt.get(&receipt)?;
        Some(self.unpack(*record))
    }

    /// Takes a lease away.
    pub(super) fn end(&mut self, receipt: Sequence, retention: Millis) -> Option<Lease> {
        let record = self.by_receipt.remove(&receipt)?;
        let lease = self.unpack(record);
        let place = self.by_wake.remove(&(lease.wake(retention), receipt));
        assert!(place.is_some(), "the two lease maps disagree");
        self.forget(&record);
        Some(lease)
    }

    /// Takes the lease away that wakes first.
    pub(super) fn end_first(&mut self) -> Option<Lease> {
        let ((_, receipt), ()) = self.by_wake.pop_first()?;
        let record = self.by_receipt.remove(&receipt);
        let record = record.expect("the two lease maps disagree");
        let lease = self.unpack(record);
        self.forget(&record);
        Some(lease)
    }

    /// Puts the leases in order under another retention.
    pub(super) fn set_retention(&mut self, retention: Millis) {
        let mut wakes: Vec<_> = self
            .iter()
            .map(|(receipt, lease)| (lease.wake(retention), receipt))
            .collect();
        wakes.sort_unstable();
        self.by_wake = SortedMap::default();
        for wake in wakes {
            self.by_wake.insert(wake, ());
        }
    }

    /// When the leased message was sent that was sent first.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.sends.oldest()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Sequence, Lease)> {
        let records = self.by_receipt.iter();
        records.map(|(receipt, record)| (*receipt, self.unpack(*record)))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let maps = self.by_receipt.memory_bytes() + self.by_wake.memory_bytes();
        maps + self.since.memory_bytes() + self.sends.memory_bytes()
    }

    /// What is kept of an ended lease beside the two maps.
    fn forget(&mut self, record: &Record) {
        self.since.remove(&record.message);
        self.sends.remove(record.sent.into());
    }

    fn unpack(&self, record: Record) -> Lease {
        let sent = record.sent.into();
        Lease {
            message: Waiting {
                sequence: record.message,
                sent,
            },
            since: self
                .since
                .get(&record.message)
                .map_or(sent, |since| Timestamp::from(*since)),
            first_received: record.first_received.into(),
            deadline: record.deadline.into(),
            deliveries: record.deliveries,
        }
    }
}
