//! From an opened log to replicas: restores snapshots and replays what came after.
//!
//! A fresh log is given a first snapshot for every shard, so that from then on a shard whose
//! manifest is missing is damage and never an empty shard.

use std::collections::BTreeMap;

use anser_broker::{codec, id::ShardId, shard::Shard};
use anser_log::{
    Change, Disk, Entry, EntryKind, Opened, Reader, RecoveredShard, RecoveryReport, Store,
};
use anser_replica::{
    Image, Membership, MembershipChange, Place, Replica, SnapshotImage, Start, StoredEntry,
    StoredKind, Tombstone, applying,
};

use crate::{
    runner::Closed,
    snapshots::{self, ReadError},
};

/// Where a fresh shard begins: raft-rs wants a place before its first entry.
pub(crate) const BEGINNING: Place = Place { index: 1, term: 1 };
/// How often a shard is read before it counts as one that cannot be.
const READ_TRIES: usize = 3;
/// Bytes of entries read at once while replaying.
const REPLAY_BYTES: u64 = 8 << 20;

/// Why what the log holds does not become replicas.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Log(#[from] anser_log::Error),
    #[error("shard {shard} cannot be restored: {reason}")]
    Snapshot { shard: u16, reason: String },
    #[error("entry {index} of shard {shard} cannot be replayed: {reason}")]
    Replay {
        shard: u16,
        index: u64,
        reason: String,
    },
    #[error("shard {shard} cannot be opened: {reason}")]
    Lost { shard: u16, reason: &'static str },
    #[error("a repair of it was cut short: run anser repair with --yes again")]
    HalfRepaired,
    #[error("shard {shard} holds what only a newer program can read: {reason}")]
    Newer { shard: u16, reason: String },
}

/// Whether no shard of a log has been used yet.
pub fn is_untouched<D: Disk>(log: &Opened<D>) -> bool {
    let mut shards = log.shards.iter();
    shards.all(|shard| shard.last_index <= BEGINNING.index)
}

/// Gives every shard its first snapshot. Repeating it after a crash in the middle changes nothing. The log must
/// be opened again afterwards.
pub fn begin<D: Disk>(
    store: &Store<D>,
    shards: u16,
    voters: &[u64],
) -> Result<(), anser_log::Error> {
    let membership = Membership {
        voters: voters.to_vec(),
        ..Membership::default()
    };
    // The catalog's shard comes last: with it, all are there.
    for number in (0..shards).rev() {
        let shard = Shard::new(ShardId(number), shards);
        let image = Image::initial(BEGINNING, membership.clone(), shard);
        let snapshot = Some(snapshots::save(store, number, &image)?);
        store.commit(
            number,
            Change {
                snapshot,
                ..Change::default()
            },
        )?;
    }
    Ok(())
}

/// Makes replicas of what the log holds.
#[derive(Debug)]
pub struct Opener<'a, D: Disk> {
    pub node: u64,
    /// Whether other nodes give it copies of shards.
    pub is_member: bool,
    /// Shards of the whole cluster.
    pub shards: u16,
    /// The end of the log may be lost.
    pub suspect: bool,
    /// Names this start: no other of the node has the same.
    pub run: u64,
    /// Shards that are not to be tried again.
    pub given_up: BTreeMap<ShardId, GivenUp>,
    pub reader: &'a Reader<D>,
}

/// Why a shard is not to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The entry that ends the process.
    pub index: u64,
    pub why: String,
}

impl OpenError {
    /// Whether something of one shard is not what was written: the others are not touched by it. A read that failed may
    /// succeed at the next start.
    fn is_damage(&self) -> bool {
        match self {
            Self::Log(error) => error.is_damage() && !error.may_pass(),
            Self::Snapshot { .. } | Self::Replay { .. } | Self::Lost { .. } => true,
            Self::HalfRepaired | Self::Newer { .. } => false,
        }
    }
}

/// What the log holds, ready to run.
#[derive(Debug, Default)]
pub struct Restored {
    pub replicas: Vec<(ShardId, Replica)>,
    /// What is damaged of these.
    pub damaged: Vec<(ShardId, String)>,
    /// Shards of which too much is damaged.
    pub closed: Vec<Closed>,
    /// Of these, those of which nobody else knows what they lack: to be remembered ([`Store::note_lost`]).
    pub unknown: Vec<u16>,
}

impl<D: Disk> Opener<'_, D> {
    /// Restores every shard. One that cannot be stays closed, if others may have copies of it: to a node for
    /// itself, and to one whose program is too old, it is an error.
    pub fn restore_all(
        &self,
        shards: &[RecoveredShard],
        report: &RecoveryReport,
    ) -> Result<Restored, OpenError> {
        if report.mended {
            return Err(OpenError::HalfRepaired);
        }
        let mut restored = Restored::default();
        for recovered in shards {
            let shard = ShardId(recovered.shard);
            if let Some(given_up) = self.given_up(recovered) {
                restored
                    .closed
                    .push(closed(recovered, given_up.why.clone()));
                continue;
            }
            match self.restore_patiently(recovered) {
                Ok(replica) => restored.replicas.push((shard, replica)),
                Err(error) if self.is_member && error.is_damage() => {
                    let what = what(&error, report);
                    restored.closed.push(closed(recovered, what));
                    let is_unknown = recovered.doubtful && !recovered.lost;
                    restored
                        .unknown
                        .extend(is_unknown.then_some(recovered.shard));
                }
                Err(error) => return Err(error),
            }
            let mut damage = report.damage.iter();
            let found = damage.find(|damage| damage.shard == recovered.shard);
            let what = found.map(|damage| damage.error.to_string());
            let earlier = || String::from("something stood where the log was damaged");
            let what = what.or_else(|| recovered.damaged.then(earlier));
            restored.damaged.extend(what.map(|what| (shard, what)));
        }
        Ok(restored)
    }

    /// A read that failed may succeed at once.
    fn restore_patiently(&self, recovered: &RecoveredShard) -> Result<Replica, OpenError> {
        let mut tries = 1;
        loop {
            match self.restore(recovered) {
                Err(OpenError::Log(error)) if error.may_pass() && tries < READ_TRIES => tries += 1,
                restored => return restored,
            }
        }
    }

    /// A state that has come since then is behind the entry, and where none has come yet, the entry is not here.
    fn given_up(&self, recovered: &RecoveredShard) -> Option<&GivenUp> {
        let covered = recovered.snapshot?.index;
        let given_up = self.given_up.get(&ShardId(recovered.shard));
        given_up.filter(|it| covered < it.index)
    }

    pub fn restore(&self, recovered: &RecoveredShard) -> Result<Replica, OpenError> {
        let number = recovered.shard;
        if recovered.lost {
            return Err(OpenError::Lost {
                shard: number,
                reason: "the log is damaged where a vote of it may have stood",
            });
        }
        if recovered.has_gap {
            return Err(OpenError::Snapshot {
                shard: number,
                reason: "entries between it and the end of the log are missing".into(),
            });
        }
        let Some((mut state, mut applied)) = self.snapshot(recovered)? else {
            return self.unfinished(recovered);
        };
        let replay = Replay {
            number,
            reader: self.reader,
            node: self.node,
            committed: recovered.hard_state.commit,
        };
        replay.run(&mut state, &mut applied, recovered.last_index)?;
        let is_alone = state.membership.is_sole_voter(self.node);
        if recovered.doubtful && is_alone {
            return Err(OpenError::Lost {
                shard: number,
                reason: "the log is damaged where entries of it may have stood, and no other node has them",
            });
        }
        let mut entries = Vec::new();
        each_entry(
            number,
            self.reader,
            applied.index + 1,
            recovered.last_index,
            |entry| {
                entries.push(entry);
                Ok(true)
            },
        )?;
        let terms = self.reader.terms(number).into_iter();
        Ok(Replica::new(Start {
            node: self.node,
            term: recovered.hard_state.term.max(applied.term),
            vote: recovered.hard_state.vote,
            applied,
            suspect: (self.suspect || recovered.doubtful) && !is_alone,
            floor: 0,
            membership: state.membership,
            shard: state.shard,
            entries,
            jitter: self.run ^ (u64::from(number) << 32),
            log_first: self.reader.first_index(number).max(1),
            terms: terms.map(|(index, term)| Place { index, term }).collect(),
        }))
    }

    fn snapshot(
        &self,
        recovered: &RecoveredShard,
    ) -> Result<Option<(SnapshotImage, Place)>, OpenError> {
        let shard = recovered.shard;
        snapshots::read(self.reader, shard).map_err(|error| match error {
            ReadError::Log(error) => OpenError::Log(error),
            ReadError::State(error) => OpenError::Snapshot {
                shard,
                reason: error.to_string(),
            },
        })
    }

    /// A replica whose first copy had not arrived when the node stopped.
    fn unfinished(&self, recovered: &RecoveredShard) -> Result<Replica, OpenError> {
        if recovered.last_index > 0 || !self.is_member {
            return Err(OpenError::Snapshot {
                shard: recovered.shard,
                reason: "it has no snapshot".into(),
            });
        }
        let tombstone = Tombstone {
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            floor: recovered.floor,
        };
        let shard = Shard::new(ShardId(recovered.shard), self.shards);
        let jitter = self.run ^ (u64::from(recovered.shard) << 32);
        Ok(Replica::new(Start::empty(
            self.node, shard, tombstone, jitter,
        )))
    }
}

/// With the place, where it is the log's.
fn what(error: &OpenError, report: &RecoveryReport) -> String {
    match (error, report.holes.first()) {
        (OpenError::Lost { .. }, Some(place)) => format!("{error}: {place}"),
        _ => error.to_string(),
    }
}

fn closed(recovered: &RecoveredShard, what: String) -> Closed {
    Closed {
        shard: ShardId(recovered.shard),
        tombstone: Tombstone {
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            // It acknowledged no entry behind this one, unless the end of the log is lost too. The floor is laid at
            // the decision of those who let go of it, which is behind that.
            floor: recovered.last_index.max(recovered.floor).max(1),
        },
        what,
    }
}

/// Applies what is certainly committed to the state of a snapshot.
pub(crate) struct Replay<'a, D: Disk> {
    pub(crate) number: u16,
    pub(crate) reader: &'a Reader<D>,
    pub(crate) node: u64,
    pub(crate) committed: u64,
}

impl<D: Disk> Replay<'_, D> {
    pub(crate) fn run(
        &self,
        state: &mut SnapshotImage,
        applied: &mut Place,
        last: u64,
    ) -> Result<(), OpenError> {
        let first = applied.index + 1;
        each_entry(self.number, self.reader, first, last, |entry| {
            // What a sole voter has on its disk is what a majority has.
            let alone = state.membership.is_sole_voter(self.node);
            if entry.index > self.committed && !alone {
                return Ok(false);
            }
            applying(ShardId(self.number), entry.index, || {
                self.apply(state, &entry)
            })?;
            *applied = Place {
                index: entry.index,
                term: entry.term,
            };
            Ok(true)
        })
    }

    fn apply(&self, state: &mut SnapshotImage, entry: &StoredEntry) -> Result<(), OpenError> {
        let damaged = |reason: String| OpenError::Replay {
            shard: self.number,
            index: entry.index,
            reason,
        };
        match entry.kind {
            StoredKind::Membership => {
                let change = MembershipChange::decode(&entry.data)
                    .map_err(|error| damaged(error.to_string()))?;
                if let Some(after) = state.membership.after(&change) {
                    state.membership = after;
                }
            }
            StoredKind::Normal if entry.data.is_empty() => {}
            StoredKind::Normal => {
                // Whoever waited for these is long gone.
                let (mut replies, mut effects) = (Vec::new(), Vec::new());
                let shard = &mut state.shard;
                let applied = shard.apply(entry.index, &entry.data, &mut replies, &mut effects);
                applied.map_err(|reason| match reason {
                    codec::Error::UnknownKind(_) | codec::Error::UnknownFormat(_) => {
                        OpenError::Newer {
                            shard: self.number,
                            reason: reason.to_string(),
                        }
                    }
                    damage => damaged(damage.to_string()),
                })?;
            }
        }
        Ok(())
    }
}

/// An entry as consensus knows it.
pub fn stored(entry: Entry) -> StoredEntry {
    StoredEntry {
        index: entry.index,
        term: entry.term,
        kind: match entry.kind {
            EntryKind::Normal => StoredKind::Normal,
            EntryKind::Change | EntryKind::ChangeV2 => StoredKind::Membership,
        },
        data: entry.data,
    }
}

/// Visits entries in order until `visit` says that it has enough.
fn each_entry<D: Disk>(
    shard: u16,
    reader: &Reader<D>,
    first: u64,
    last: u64,
    mut visit: impl FnMut(StoredEntry) -> Result<bool, OpenError>,
) -> Result<(), OpenError> {
    let mut next = first;
    while next <= last {
        for entry in reader.entries(shard, next, last + 1, REPLAY_BYTES)? {
            next = entry.index + 1;
            if !visit(stored(entry))? {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
