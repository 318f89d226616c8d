//! A disk that is told when to be done, and what a node makes of it after a crash.

use std::collections::{BTreeMap, VecDeque};

use anser_broker::{id::ShardId, shard::Shard};
use anser_replica::{
    Append, Membership, MembershipChange, Place, Start, StoredEntry, StoredKind, Tombstone,
    read_snapshot,
};

pub(crate) enum Write {
    Append(Append),
    Install(Place),
}

#[derive(Default)]
pub(crate) struct Disk {
    /// Not durable yet.
    pub(crate) queue: VecDeque<Write>,
    snapshot: Option<(Place, Vec<u8>)>,
    pub(crate) log: BTreeMap<u64, StoredEntry>,
    /// Term, vote, commit.
    pub(crate) hard_state: (u64, u64, u64),
    floor: u64,
}

impl Disk {
    pub(crate) fn append(&mut self, append: Append) {
        if let Some(first) = append.entries.first() {
            let floor = self.snapshot.as_ref().map_or(0, |(place, _)| place.index);
            let last = self.log.keys().last().copied().unwrap_or(floor);
            assert!(first.index > floor && first.index <= last + 1, "a gap");
            self.log.split_off(&first.index);
        }
        self.hard_state = (append.term, append.vote, append.commit);
        let entries = append.entries.into_iter();
        self.log.extend(entries.map(|entry| (entry.index, entry)));
    }

    pub(crate) fn install(&mut self, place: Place, bytes: Vec<u8>) {
        assert!(
            place.index >= self.floor,
            "a state from before the shard was forgotten"
        );
        self.floor = 0;
        self.snapshot = Some((place, bytes));
        self.log.clear();
    }

    /// What is left of a replica that was let go of.
    pub(crate) fn forgotten(tombstone: Tombstone) -> Self {
        Self {
            hard_state: (tombstone.term, tombstone.vote, 0),
            floor: tombstone.floor,
            ..Self::default()
        }
    }

    /// Whether anything could be forgotten.
    pub(crate) fn compact(&mut self, place: Place, bytes: Vec<u8>) -> bool {
        let installs = self.queue.iter().any(|it| matches!(it, Write::Install(_)));
        let older = self.snapshot.as_ref();
        if installs || older.is_some_and(|(known, _)| known.index >= place.index) {
            return false;
        }
        self.snapshot = Some((place, bytes));
        self.log = self.log.split_off(&(place.index + 1));
        true
    }

    pub(crate) fn read(&self, first: u64, end: u64, bytes_max: u64) -> Vec<StoredEntry> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for (&index, entry) in self.log.range(first..end) {
            bytes += entry.data.len() as u64;
            if index != first + found.len() as u64 || bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        found
    }

    /// Loses the newest entries and what was promised with them.
    pub(crate) fn lose(&mut self, entries: usize, forgets_vote: bool) {
        for _ in 0..entries {
            self.log.pop_last();
        }
        let floor = self.snapshot.as_ref().map_or(0, |(place, _)| place.index);
        let last = self.log.keys().last().copied().unwrap_or(floor);
        self.hard_state.2 = self.hard_state.2.min(last);
        if forgets_vote {
            self.hard_state.1 = 0;
        }
    }

    /// Snapshot, then the entries that are known to be committed, then the rest.
    pub(crate) fn recover(&self, node: u64, jitter: u64, suspect: bool) -> Start {
        let (term, vote, commit) = self.hard_state;
        let mut applied = Place { index: 0, term: 0 };
        let mut membership = Membership::default();
        let mut shard = Shard::new(ShardId(3), 16);
        if let Some((place, bytes)) = &self.snapshot {
            let image = read_snapshot(bytes).expect("it is a snapshot");
            (applied, membership, shard) = (*place, image.membership, image.shard);
        }
        let log_first = self.log.keys().next().copied().unwrap_or(applied.index + 1);
        let mut terms: Vec<Place> = Vec::new();
        let mut entries = Vec::new();
        for entry in self.log.values() {
            let place = Place {
                index: entry.index,
                term: entry.term,
            };
            if terms.last().is_none_or(|run| run.term != entry.term) {
                terms.push(place);
            }
            if entry.index > commit {
                entries.push(entry.clone());
                continue;
            }
            assert_eq!(entry.index, applied.index + 1);
            applied = place;
            match entry.kind {
                StoredKind::Normal if entry.data.is_empty() => {}
                StoredKind::Normal => {
                    let (mut replies, mut effects) = (Vec::new(), Vec::new());
                    shard
                        .apply(entry.index, &entry.data, &mut replies, &mut effects)
                        .expect("the log is readable");
                }
                StoredKind::Membership => {
                    let change = MembershipChange::decode(&entry.data).expect("it is a change");
                    membership = membership.after(&change).unwrap_or(membership);
                }
            }
        }
        Start {
            node,
            term: term.max(applied.term),
            vote,
            applied,
            membership,
            shard,
            entries,
            log_first,
            terms,
            jitter,
            suspect,
            floor: self.floor,
        }
    }
}
