//! The shard's log as raft-rs wants to see its storage: the newest entries in memory, the terms of
//! all, and for what is older a note that it is wanted.
//!
//! Holds every entry that is not yet applied and, up to a bound in bytes, those before. What is older
//! lies in the log and is fetched when a follower needs it; what the log no longer has comes to the
//! follower as a snapshot.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
};

use raft::{
    Error, GetEntriesContext, RaftState, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata},
    storage::Storage,
};

use crate::{EntriesHeld, SnapshotOffer, terms::Terms};

/// Bytes of applied entries that are kept for followers.
const APPLIED_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Tail {
    /// What raft-rs begins with.
    initial: RaftState,
    /// The first index that the log holds.
    log_first: u64,
    terms: Terms,
    /// The index before the first entry in memory.
    before: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
    applied_bytes_max: usize,
    /// Older entries, for as long as they are being sent.
    at_hand: Vec<Entry>,
    /// Ranges that somebody asked for and that are not in memory: first, and end (exclusive).
    wanted: RefCell<BTreeMap<u64, u64>>,
    offer: Option<SnapshotOffer>,
    /// Where the membership changed last: an older snapshot may not name the one who needs it.
    membership_index: u64,
    /// Where a node was named last that had not been a member: an older snapshot may name it as of the time when it
    /// was one before, and that one it does not take ([`crate::Tombstone::floor`]).
    newcomer_index: u64,
    wanted_snapshot: Cell<Option<u64>>,
}

/// An entry of a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub index: u64,
    pub term: u64,
}

impl Tail {
    /// A tail whose memory begins after `applied`. `terms`: where the terms that the log holds begin.
    pub(crate) fn new(
        hard_state: HardState,
        membership: ConfState,
        applied: Place,
        log_first: u64,
        terms: Vec<Place>,
    ) -> Self {
        Self {
            initial: RaftState::new(hard_state, membership),
            log_first: log_first.clamp(1, applied.index + 1),
            terms: Terms::new(terms, applied),
            before: applied.index,
            entries: VecDeque::new(),
            bytes: 0,
            applied_bytes_max: APPLIED_BYTES_MAX,
            at_hand: Vec::new(),
            wanted: RefCell::default(),
            offer: None,
            membership_index: applied.index,
            newcomer_index: applied.index,
            wanted_snapshot: Cell::default(),
        }
    }

    /// Begins anew after a snapshot.
    pub(crate) fn install(&mut self, place: Place) {
        *self = Self {
            applied_bytes_max: self.applied_bytes_max,
            ..Self::new(
                HardState::default(),
                ConfState::default(),
                place,
                place.index + 1,
                Vec::new(),
            )
        };
    }

    /// Adds entries; those already there from the first new index on are replaced.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.before,
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
        self.terms.truncate(first.index);
        for entry in entries {
            self.bytes += entry.data.len();
            self.terms.push(Place {
                index: entry.index,
                term: entry.term,
            });
            self.entries.push_back(entry.clone());
        }
    }

    /// Lets go of entries up to `applied` while they exceed the bound.
    pub(crate) fn trim(&mut self, applied: u64) {
        while self.bytes > self.applied_bytes_max
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.index <= applied)
        {
            let entry = self.entries.pop_front().expect("the front was just seen");
            self.bytes -= entry.data.len();
            self.before = entry.index;
        }
        self.terms.forget(self.first() - 1);
    }

    /// The log no longer holds entries up to this one, which is applied.
    pub(crate) fn forget(&mut self, through: u64) {
        self.log_first = self.log_first.max(through + 1);
        self.terms.forget(self.first() - 1);
    }

    /// Keeps those of the fetched entries that follow each other from `first` on and are the log's;
    /// the index after the last of them.
    pub(crate) fn put_at_hand(&mut self, first: u64, entries: Vec<Entry>) -> u64 {
        let mut next = first;
        self.at_hand = entries;
        for entry in &self.at_hand {
            if entry.index != next || self.terms.of(next) != Some(entry.term) {
                break;
            }
            next += 1;
        }
        let kept = usize::try_from(next - first).expect("there are so many entries");
        self.at_hand.truncate(kept);
        next
    }

    pub(crate) fn drop_at_hand(&mut self) {
        self.at_hand = Vec::new();
    }

    /// The ranges that somebody asked for since the last call and that are not in memory.
    pub(crate) fn take_wanted(&mut self) -> BTreeMap<u64, u64> {
        std::mem::take(self.wanted.get_mut())
    }

    /// The index that a snapshot must cover if somebody asked for one since the last call.
    pub(crate) fn take_wanted_snapshot(&mut self) -> Option<u64> {
        self.wanted_snapshot.take()
    }

    pub(crate) fn offer(&mut self, offer: SnapshotOffer) {
        let newer = |held: &SnapshotOffer| held.place.index < offer.place.index;
        if offer.place.index > 0 && self.offer.as_ref().is_none_or(newer) {
            self.offer = Some(offer);
        }
    }

    pub(crate) fn withdraw_offer(&mut self) {
        self.offer = None;
    }

    pub(crate) fn membership_changed(&mut self, index: u64, names_newcomer: bool) {
        self.membership_index = index;
        if names_newcomer {
            self.newcomer_index = index;
        }
    }

    /// Where the membership changed last, as far as is known; it did not after that.
    pub(crate) fn membership_index(&self) -> u64 {
        self.membership_index
    }

    pub(crate) fn held(&self, applied: u64) -> EntriesHeld {
        let unapplied = self.entries.iter().filter(|entry| entry.index > applied);
        let unapplied_bytes = unapplied.clone().map(|entry| entry.data.len()).sum();
        EntriesHeld {
            applied_bytes: self.bytes - unapplied_bytes,
            unapplied: unapplied.count(),
            unapplied_bytes,
        }
    }

    pub(crate) fn remembered(&self, index: u64) -> Option<&Entry> {
        let behind = index.checked_sub(self.before + 1)?;
        self.entries.get(usize::try_from(behind).ok()?)
    }

    pub(crate) fn set_applied_bytes_max(&mut self, bytes: usize) {
        self.applied_bytes_max = bytes;
    }

    /// The first index that can be had, from the log or from memory.
    fn first(&self) -> u64 {
        self.log_first.min(self.before + 1)
    }

    fn last(&self) -> u64 {
        self.before + self.entries.len() as u64
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.before - 1).expect("the tail fits in memory")
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if low > self.before {
            let wanted = self.entries.range(self.position(low)..self.position(high));
            return Ok(limited(wanted, bytes_max));
        }
        let at_hand = self
            .at_hand
            .iter()
            .skip_while(|entry| entry.index < low)
            .take_while(|entry| entry.index < high);
        let found = limited(at_hand, bytes_max);
        if found.first().is_some_and(|entry| entry.index == low) {
            return Ok(found);
        }
        // raft-rs reads without waiting only what is not applied, and that is in memory.
        assert!(context.can_async(), "an applied entry is read again");
        let end = high.min(self.before + 1);
        self.wanted.borrow_mut().insert(low, end);
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index > self.last() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let term = self.terms.of(index);
        term.ok_or(Error::Store(StorageError::Compacted))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let needed = request_index.max(self.first() - 1);
        if let Some(offer) = &self.offer
            && offer.place.index >= needed.max(self.newcomer_index)
            && offer.membership.contains(to)
        {
            let metadata = SnapshotMetadata {
                conf_state: Some(offer.membership.to_raft()).into(),
                index: offer.place.index,
                term: offer.place.term,
                ..SnapshotMetadata::default()
            };
            return Ok(Snapshot {
                metadata: Some(metadata).into(),
                ..Snapshot::default()
            });
        }
        let at_least = needed.max(self.membership_index);
        let asked = self.wanted_snapshot.get().unwrap_or(0);
        self.wanted_snapshot.set(Some(at_least.max(asked)));
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// The first entries that fit into the bytes, but at least one if there is one.
fn limited<'a>(entries: impl Iterator<Item = &'a Entry>, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let mut found = Vec::new();
    for entry in entries {
        bytes += entry.data.len() as u64;
        if bytes > bytes_max && !found.is_empty() {
            break;
        }
        found.push(entry.clone());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Membership;

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
            3,
            vec![Place { index: 2, term: 1 }],
        )
    }

    fn later() -> GetEntriesContext {
        GetEntriesContext::empty(true)
    }

    #[test]
    fn a_conflicting_entry_replaces_everything_after_it() {
        let mut tail = tail();
        tail.append(&[entry(5, 1, 1), entry(6, 1, 1), entry(7, 1, 1)]);
        tail.append(&[entry(6, 2, 1)]);
        assert_eq!(tail.last_index().unwrap(), 6);
        assert_eq!(tail.term(6).unwrap(), 2);
        assert_eq!(tail.term(4).unwrap(), 1);
        assert!(tail.term(1).is_err());
    }

    #[test]
    fn trimming_keeps_what_is_not_applied_and_the_log_stays() {
        let mut tail = tail();
        tail.append(&[
            entry(5, 1, APPLIED_BYTES_MAX),
            entry(6, 1, APPLIED_BYTES_MAX),
        ]);
        tail.trim(5);
        assert_eq!(tail.before, 5);
        assert_eq!(tail.first_index().unwrap(), 3);
        assert_eq!(tail.term(5).unwrap(), 1);
        tail.trim(5);
        assert_eq!(tail.last_index().unwrap(), 6);
    }

    #[test]
    fn what_is_not_in_memory_is_wanted_then_at_hand_then_gone() {
        let mut tail = tail();
        tail.append(&[entry(5, 1, 1)]);
        assert!(tail.entries(3, 6, None, later()).is_err());
        assert_eq!(
            tail.take_wanted().into_iter().collect::<Vec<_>>(),
            [(3, 5)],
            "what memory holds is not fetched"
        );
        let strange = entry(4, 7, 1);
        assert_eq!(tail.put_at_hand(3, vec![entry(3, 1, 1), strange]), 4);
        assert_eq!(tail.entries(3, 6, None, later()).unwrap().len(), 1);
        tail.drop_at_hand();
        tail.forget(4);
        let error = tail.entries(3, 6, None, later()).unwrap_err();
        assert_eq!(error, Error::Store(StorageError::Compacted));
        assert_eq!(tail.entries(5, 6, None, later()).unwrap().len(), 1);
    }

    #[test]
    fn a_snapshot_is_given_only_to_one_it_names() {
        let mut tail = tail();
        assert!(tail.snapshot(0, 2).is_err());
        assert_eq!(tail.take_wanted_snapshot(), Some(4));
        assert_eq!(tail.take_wanted_snapshot(), None);
        tail.offer(SnapshotOffer {
            place: Place { index: 4, term: 1 },
            membership: Membership {
                voters: vec![1, 2],
                ..Membership::default()
            },
        });
        assert_eq!(tail.snapshot(0, 2).unwrap().get_metadata().index, 4);
        tail.membership_changed(9, false);
        assert!(tail.snapshot(0, 3).is_err());
        assert_eq!(tail.take_wanted_snapshot(), Some(9));
        assert!(tail.snapshot(5, 2).is_err());
        tail.withdraw_offer();
        assert!(tail.snapshot(0, 2).is_err());
    }

    #[test]
    fn a_node_that_came_again_is_not_given_a_snapshot_of_the_time_before() {
        let mut tail = tail();
        let offer = |index| SnapshotOffer {
            place: Place { index, term: 1 },
            membership: Membership {
                voters: vec![1, 2],
                ..Membership::default()
            },
        };
        tail.offer(offer(4));
        tail.membership_changed(5, false);
        assert!(tail.snapshot(0, 2).is_ok());
        tail.membership_changed(6, true);
        assert!(tail.snapshot(0, 2).is_err());
        assert_eq!(tail.take_wanted_snapshot(), Some(6));
        tail.offer(offer(6));
        assert!(tail.snapshot(0, 2).is_ok());
    }
}
