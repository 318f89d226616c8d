//! What a log should hold, in maps, and the comparison with what a recovered log does hold.

use std::{collections::BTreeMap, io::Read};

use anser_log::{Disk, Entry, Error, HardState, Opened, RecoveredShard, Stored, Write};
use bytes::Bytes;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) shards: BTreeMap<u16, ShardModel>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardModel {
    pub(crate) hard_state: HardState,
    /// Everything that was appended and not overwritten since, also below the snapshot.
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) snapshot: Option<SnapshotModel>,
    /// What live segments hold.
    pub(crate) kept: BTreeMap<u64, Bytes>,
    /// Forgotten at this entry, and not here again since.
    pub(crate) floor: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotModel {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) content: Bytes,
}

/// Why a log is not what the model says.
#[derive(Debug)]
pub(crate) enum Difference {
    /// The log said itself that something is wrong.
    Explicit(Error),
    Wrong(String),
}

impl From<Error> for Difference {
    fn from(error: Error) -> Self {
        Self::Explicit(error)
    }
}

pub(crate) fn wrong<T>(what: String) -> Result<T, Difference> {
    Err(Difference::Wrong(what))
}

impl Model {
    pub(crate) fn append(&mut self, writes: &[Write]) {
        for write in writes {
            for entry in &write.entries {
                self.append_entry(write.shard, entry);
            }
            if let Some(state) = write.hard_state {
                self.shards.entry(write.shard).or_default().hard_state = state;
            }
        }
    }

    fn append_entry(&mut self, shard: u16, entry: &Entry) {
        let entries = &mut self.shards.entry(shard).or_default().entries;
        entries.split_off(&entry.index);
        entries.insert(entry.index, entry.clone());
    }

    /// The states that a batch too large for one file goes through.
    pub(crate) fn parts(&self, writes: &[Write]) -> Vec<Self> {
        let mut model = self.clone();
        let mut parts = Vec::new();
        for write in writes {
            for entry in &write.entries {
                model.append_entry(write.shard, entry);
                parts.push(model.clone());
            }
            if let Some(state) = write.hard_state {
                model.shards.entry(write.shard).or_default().hard_state = state;
                parts.push(model.clone());
            }
        }
        parts
    }

    /// Compares everything that can be asked of a log.
    pub(crate) fn compare<D: Disk>(&self, opened: &Opened<D>) -> Result<(), Difference> {
        for found in &opened.shards {
            let is_empty = found.last_index == 0 && found.hard_state == HardState::default();
            let has_segments = !opened.store.segments(found.shard).is_empty();
            if !self.shards.contains_key(&found.shard) && (!is_empty || has_segments) {
                return wrong(format!("shard {} was made up", found.shard));
            }
        }
        for (&number, shard) in &self.shards {
            let found = opened.shards.iter().find(|found| found.shard == number);
            match found {
                Some(found) => shard.compare(found, opened)?,
                None if *shard == ShardModel::default() => {}
                None => return wrong(format!("shard {number} is gone")),
            }
        }
        Ok(())
    }
}

impl ShardModel {
    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    pub(crate) fn last_index(&self) -> u64 {
        let last = self.entries.last_key_value().map_or(0, |(&index, _)| index);
        last.max(self.snapshot_index())
    }

    /// A snapshot takes effect; entries that contradict it are void.
    pub(crate) fn install(&mut self, snapshot: SnapshotModel) {
        let known = self.entries.get(&snapshot.index).map(|entry| entry.term);
        if snapshot.index > self.snapshot_index() && known != Some(snapshot.term) {
            self.entries.clear();
        }
        self.snapshot = Some(snapshot);
        self.floor = 0;
    }

    /// All goes but what was promised.
    pub(crate) fn forget(&mut self, floor: u64) {
        if self.snapshot.is_none() && self.entries.is_empty() {
            return;
        }
        let commit = 0;
        *self = Self {
            hard_state: HardState {
                commit,
                ..self.hard_state
            },
            floor,
            ..Self::default()
        };
    }

    fn compare<D: Disk>(
        &self,
        found: &RecoveredShard,
        opened: &Opened<D>,
    ) -> Result<(), Difference> {
        let number = found.shard;
        let covered = self.snapshot_index();
        let snapshot_term = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.term);
        let expected = HardState {
            term: self.hard_state.term.max(snapshot_term),
            commit: self.hard_state.commit.max(covered),
            vote: if snapshot_term > self.hard_state.term {
                0
            } else {
                self.hard_state.vote
            },
        };
        if found.hard_state != expected {
            return wrong(format!(
                "shard {number} has {:?}, not {expected:?}",
                found.hard_state
            ));
        }
        if found.floor != self.floor {
            return wrong(format!("shard {number} has the floor {}", found.floor));
        }
        if (found.first_index, found.last_index) != (covered + 1, self.last_index()) {
            return wrong(format!("shard {number} ends at {}", found.last_index));
        }
        self.compare_snapshot(number, opened)?;
        self.compare_entries(found, opened)?;
        self.compare_terms(found, opened)?;
        self.compare_old(number, opened)
    }

    fn compare_snapshot<D: Disk>(&self, number: u16, opened: &Opened<D>) -> Result<(), Difference> {
        let found = opened.reader.snapshot(number)?;
        let Some(expected) = &self.snapshot else {
            return if found.is_none() {
                Ok(())
            } else {
                wrong("a snapshot made up".to_owned())
            };
        };
        let Some((info, mut reader)) = found else {
            return wrong(format!("the snapshot of shard {number} is gone"));
        };
        let mut content = Vec::new();
        if let Err(error) = reader.read_to_end(&mut content) {
            let error = error.into_inner().unwrap().downcast::<Error>().unwrap();
            return Err(Difference::Explicit(*error));
        }
        if (info.index, info.term) != (expected.index, expected.term) || content != expected.content
        {
            return wrong(format!(
                "shard {number} has another snapshot, of {}",
                info.index
            ));
        }
        Ok(())
    }

    fn compare_entries<D: Disk>(
        &self,
        found: &RecoveredShard,
        opened: &Opened<D>,
    ) -> Result<(), Difference> {
        let mut next = found.first_index;
        while next <= found.last_index {
            let entries = opened
                .reader
                .entries(found.shard, next, found.last_index + 1, 2000)?;
            for entry in entries {
                let term = opened.reader.term(found.shard, entry.index)?;
                if self.entries.get(&next) != Some(&entry) || term != Some(entry.term) {
                    return wrong(format!("shard {} has another entry {next}", found.shard));
                }
                next += 1;
            }
        }
        Ok(())
    }

    /// What consensus asks of old entries.
    fn compare_terms<D: Disk>(
        &self,
        found: &RecoveredShard,
        opened: &Opened<D>,
    ) -> Result<(), Difference> {
        let number = found.shard;
        let first = opened.reader.first_index(number);
        if first > found.first_index {
            return wrong(format!("the log of shard {number} begins at {first}"));
        }
        let entries = self.entries.range(first..);
        let mut expected: Vec<(u64, u64)> =
            entries.map(|(&index, entry)| (index, entry.term)).collect();
        expected.dedup_by_key(|(_, term)| *term);
        let terms = opened.reader.terms(number);
        if terms != expected {
            return wrong(format!(
                "shard {number} has terms {terms:?}, not {expected:?}"
            ));
        }
        Ok(())
    }

    /// Bodies below the snapshot: all that are kept, and nothing that never was.
    fn compare_old<D: Disk>(&self, number: u16, opened: &Opened<D>) -> Result<(), Difference> {
        for index in 1..=self.snapshot_index() {
            let kept = self.kept.get(&index);
            match opened.reader.read(number, index) {
                Ok(Stored::Entry(entry)) if self.entries.get(&index) == Some(&entry) => {}
                Ok(Stored::Kept(found)) if kept == Some(&found.payload) => {}
                Err(Error::Missing { .. }) if kept.is_none() => {}
                Ok(found) => return wrong(format!("shard {number} {index}: {found:?}")),
                Err(Error::Missing { .. }) => {
                    return wrong(format!("shard {number} lost kept {index}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let listed = opened.reader.kept(number, 1, u64::MAX - 1, u64::MAX)?;
        let listed: BTreeMap<u64, Bytes> = listed
            .into_iter()
            .map(|kept| (kept.index, kept.payload))
            .collect();
        if listed != self.kept {
            return wrong(format!("shard {number} keeps other records"));
        }
        Ok(())
    }
}
