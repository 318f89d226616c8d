//! The newest entries, in memory, as raft-rs wants to see its storage.
//!
//! Holds every entry that is not yet applied and, up to a bound in bytes, those before, for
//! followers that lag a little. What is older lies in the log.

use std::collections::VecDeque;

use raft::{
    Error, GetEntriesContext, RaftState, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
    storage::Storage,
};

/// Bytes of applied entries that are kept for followers.
const APPLIED_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Tail {
    hard_state: HardState,
    membership: ConfState,
    /// The place before the first entry held.
    before: Place,
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// An entry of a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub index: u64,
    pub term: u64,
}

impl Tail {
    /// A tail that begins after `before`, which is applied.
    pub(crate) fn new(hard_state: HardState, membership: ConfState, before: Place) -> Self {
        Self {
            hard_state,
            membership,
            before,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds entries; those already there from the first new index on are replaced.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.before.index,
            "an applied entry is being replaced"
        );
        assert!(
            first.index <= self.last() + 1,
            "entries must follow each other"
        );
        while self.last() >= first.index {
            let replaced = self
                .entries
                .pop_back()
                .expect("the tail reaches beyond its start");
            self.bytes -= replaced.data.len();
        }
        for entry in entries {
            self.bytes += entry.data.len();
            self.entries.push_back(entry.clone());
        }
    }

    /// Lets go of entries up to `applied` while they exceed the bound.
    pub(crate) fn trim(&mut self, applied: u64) {
        while self.bytes > APPLIED_BYTES_MAX
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.index <= applied)
        {
            let entry = self.entries.pop_front().expect("the front was just seen");
            self.bytes -= entry.data.len();
            self.before = Place {
                index: entry.index,
                term: entry.term,
            };
        }
    }

    pub(crate) fn membership(&self) -> &ConfState {
        &self.membership
    }

    fn last(&self) -> u64 {
        self.before.index + self.entries.len() as u64
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.before.index - 1).expect("the tail fits in memory")
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.membership.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.before.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let wanted = self.entries.range(self.position(low)..self.position(high));
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let mut found = Vec::with_capacity(wanted.len());
        for entry in wanted {
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.before.index {
            return Ok(self.before.term);
        }
        if index < self.before.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get(self.position(index));
        entry
            .map(|entry| entry.term)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.before.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64, bytes: usize) -> Entry {
        Entry {
            index,
            term,
            data: vec![0; bytes].into(),
            ..Entry::default()
        }
    }

    fn tail() -> Tail {
        Tail::new(
            HardState::default(),
            ConfState::default(),
            Place { index: 4, term: 1 },
        )
    }

    #[test]
    fn a_conflicting_entry_replaces_everything_after_it() {
        let mut tail = tail();
        tail.append(&[entry(5, 1, 1), entry(6, 1, 1), entry(7, 1, 1)]);
        tail.append(&[entry(6, 2, 1)]);
        assert_eq!(tail.last_index().unwrap(), 6);
        assert_eq!(tail.term(6).unwrap(), 2);
        assert_eq!(tail.term(4).unwrap(), 1);
        assert!(tail.term(3).is_err());
    }

    #[test]
    fn trimming_keeps_what_is_not_applied() {
        let mut tail = tail();
        tail.append(&[
            entry(5, 1, APPLIED_BYTES_MAX),
            entry(6, 1, APPLIED_BYTES_MAX),
        ]);
        tail.trim(5);
        assert_eq!(tail.first_index().unwrap(), 6);
        assert_eq!(tail.term(5).unwrap(), 1);
        tail.trim(5);
        assert_eq!(tail.last_index().unwrap(), 6);
    }
}
