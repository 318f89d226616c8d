//! Damaged places of the log with which it goes on all the same, and what each shard may have lost there
//! (`docs/decisions/0014-a-hole-in-the-log.md`).
//!
//! The log goes on only with a file: its first batch repeats the term and the vote of every shard, and nothing that
//! a message holds can stand at the beginning of a file. What a shard has behind a hole counts if it follows what
//! is known of it. Otherwise the shard's log ends before the hole, as it once did, and the shard is doubtful.
//! What was found is remembered in the manifest, before anything is written behind it, and is judged once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::replay::Replayed;
use crate::{
    disk::Disk,
    entry::{HardState, Position, SnapshotInfo},
    error::Error,
    index::Index,
    manifest::{Hole, Manifest, ShardManifest},
    names,
    record::Header,
    runs::Runs,
};

/// More would not be damage to a place but a disk of which nothing is left.
const HOLES_MAX: usize = 1_000;

/// What is known of holes while the log is followed.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// In order.
    pub(super) found: Vec<Hole>,
    /// Some of them are not in the manifest yet.
    any_new: bool,
    /// Since which hole it is not known whether a shard's entries follow.
    open: BTreeMap<u16, Open>,
    /// Of what stood in a hole and is part of their state they may miss something.
    damaged: BTreeSet<u16>,
    /// What follows entries that stood in a hole.
    void: BTreeMap<u16, Vec<Range<Position>>>,
    /// Nothing that the log has can follow the snapshots of these.
    contradicted: BTreeSet<u16>,
    /// The log's end is not where it was.
    pub(super) tail: Option<Tail>,
    /// Files with which the log does not go on, and where each cannot be read.
    pub(super) unreadable: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    from: Position,
    /// What was committed before.
    commit: u64,
    /// Something came that does not follow.
    skips: bool,
}

/// What is missing at the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Entries at most.
    Entries,
    /// Perhaps a term or a vote.
    Promises,
}

impl Holes {
    /// The log goes on behind a hole. One that is known was judged: what it cost stands with the shards.
    pub(super) fn cross<D: Disk>(&mut self, hole: Hole, manifest: &Manifest, index: &Index<D>) {
        self.found.push(hole);
        if manifest.holes.contains(&hole) {
            return;
        }
        self.any_new = true;
        self.open_all(hole.from, hole.to, manifest, index);
    }

    /// Who has a state may have had entries there. Without one it has no vote either.
    fn open_all<D: Disk>(
        &mut self,
        from: Position,
        to: u64,
        manifest: &Manifest,
        index: &Index<D>,
    ) {
        let listed = manifest.shards.iter();
        let counts = listed.filter(|(_, it)| it.snapshot.is_some() && it.void_before.sequence < to);
        for (&number, _) in counts {
            let state = index.shards.get(&number).and_then(|it| it.hard_state);
            let commit = state.unwrap_or_default().commit;
            let skips = false;
            let open = Open {
                from,
                commit,
                skips,
            };
            self.open.entry(number).or_insert(open);
        }
    }

    /// The hard state that counts: what it calls committed may have stood in a hole.
    pub(super) fn hard_state(&self, shard: u16, state: HardState) -> HardState {
        let commit = self.open.get(&shard).map(|open| open.commit);
        let commit = commit.map_or(state.commit, |known| known.min(state.commit));
        HardState { commit, ..state }
    }

    /// Whether an entry counts.
    pub(super) fn admit<D: Disk>(
        &mut self,
        header: &Header,
        listed: Option<&ShardManifest>,
        index: &mut Index<D>,
    ) -> bool {
        let Some(open) = self.open.get_mut(&header.shard) else {
            return true;
        };
        let snapshot = listed.and_then(|listed| listed.snapshot);
        let follows = follows(header, open, snapshot, index);
        if !follows && snapshot.is_none_or(|snapshot| header.index > snapshot.index + 1) {
            open.skips = true;
            return false;
        }
        let open = *open;
        if !follows {
            self.cut(header.shard, open, index);
        }
        let void = open.from..header.position;
        if open.skips {
            self.void.entry(header.shard).or_default().push(void);
        }
        self.open.remove(&header.shard);
        if header.index > known_through(header.shard, listed, index) + 1 {
            self.damaged.insert(header.shard);
        }
        true
    }

    /// The log was followed to its end.
    pub(super) fn close<D: Disk>(
        &mut self,
        end: Position,
        manifest: &Manifest,
        index: &mut Index<D>,
    ) {
        if self.tail.is_some() {
            self.open_all(end, u64::MAX, manifest, index);
        }
        if !self.any_new && self.tail.is_none() {
            return;
        }
        for (&number, listed) in &manifest.shards {
            let covered = listed.snapshot.map_or(0, |snapshot| snapshot.index);
            let is_contradicted = contradicts(number, listed, index);
            if is_contradicted {
                let shard = index.shard(number);
                shard.runs = Runs::default();
                let commit = covered;
                shard.hard_state = shard.hard_state.map(|state| HardState { commit, ..state });
                self.contradicted.insert(number);
            }
            let open = self.open.get(&number).copied();
            // Who has the snapshot's last entry has those before it.
            if let Some(open) = open
                && covered > open.commit
                && !ends_as_the_snapshot(number, listed.snapshot, index)
            {
                self.cut(number, open, index);
            }
            let is_cut = is_contradicted || self.open.contains_key(&number);
            if is_cut && known_through(number, Some(listed), index) < covered {
                self.damaged.insert(number);
            }
        }
        for (&number, open) in self.open.iter().filter(|(_, open)| open.from < end) {
            self.void.entry(number).or_default().push(open.from..end);
        }
    }

    /// Entries that were not known to be committed may have been replaced in the hole, by what the snapshot holds. All that
    /// stands before the hole counts no more: an older entry must not come back in the place of a newer one that is void.
    fn cut<D: Disk>(&mut self, shard: u16, open: Open, index: &mut Index<D>) {
        let runs = &mut index.shard(shard).runs;
        if runs.last().is_none_or(|last| last <= open.commit) {
            return;
        }
        *runs = Runs::default();
        let void = self.void.entry(shard).or_default();
        void.push(Position::default()..open.from);
    }

    /// Where they are.
    pub(super) fn places(&self) -> Vec<Error> {
        let corrupt = |sequence, offset| {
            let what = "the log cannot be read from here on, and goes on with a later file or ends";
            Error::corrupt(&names::wal_file(sequence), offset, what)
        };
        let places = self.unreadable.iter();
        places
            .map(|&(sequence, offset)| corrupt(sequence, offset))
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.tail.is_none()
    }
}

/// Whether the entry before this one is the one that is known here, and was not replaced in the hole: it has the same
/// term, and so the same leader, or was committed; or the entry is one that the shard already had. One that does not may
/// count all the same, if it is part of the snapshot's state or the next: then what is here may not.
fn follows<D: Disk>(
    header: &Header,
    open: &Open,
    snapshot: Option<SnapshotInfo>,
    index: &Index<D>,
) -> bool {
    let runs = index.shards.get(&header.shard).map(|shard| &shard.runs);
    let term = |index| runs.and_then(|runs| runs.term(index));
    let before = header.index - 1;
    let covered = snapshot.map_or(0, |snapshot| snapshot.index);
    let is_committed = before <= open.commit
        || before == covered && ends_as_the_snapshot(header.shard, snapshot, index);
    term(header.index) == Some(header.term)
        || term(before).is_some_and(|term| term == header.term || is_committed)
}

fn ends_as_the_snapshot<D: Disk>(
    shard: u16,
    snapshot: Option<SnapshotInfo>,
    index: &Index<D>,
) -> bool {
    let shard = index.shards.get(&shard);
    snapshot
        .zip(shard)
        .is_some_and(|(snapshot, shard)| shard.runs.term(snapshot.index) == Some(snapshot.term))
}

/// The last entry of those of which nothing is missing here: what the log has, or had before it went to segments. A log
/// that begins further on lacks what was carried over.
fn known_through<D: Disk>(shard: u16, listed: Option<&ShardManifest>, index: &Index<D>) -> u64 {
    let recycled = listed.map_or(0, |listed| listed.recycled);
    let runs = index.shards.get(&shard).map(|shard| &shard.runs);
    let follows = runs.filter(|runs| runs.first().is_some_and(|first| first <= recycled + 1));
    follows.and_then(Runs::last).unwrap_or(0).max(recycled)
}

/// Whether the log has something else than the snapshot's last entry, or behind it what is older or does not follow: what
/// replaced that, or was carried over, stood in a hole.
fn contradicts<D: Disk>(shard: u16, listed: &ShardManifest, index: &Index<D>) -> bool {
    let (Some(snapshot), Some(shard)) = (listed.snapshot, index.shards.get(&shard)) else {
        return false;
    };
    let differs = |term| term != snapshot.term;
    let is_behind = |first| first > snapshot.index + 1;
    shard.runs.first().is_some_and(is_behind)
        || shard.runs.term(snapshot.index).is_some_and(differs)
        || shard
            .runs
            .term(snapshot.index + 1)
            .is_some_and(|term| term < snapshot.term)
}

/// Puts what the holes cost into the manifest; gives it if it is another one now. The caller makes it durable before anything
/// is written to the log.
pub(super) fn judged(manifest: &Manifest, replayed: &Replayed) -> Result<Option<Manifest>, Error> {
    let holes = &replayed.holes;
    #[cfg(feature = "sabotage")]
    if crate::sabotage::is_planted("the hole is forgotten") {
        return Ok(None);
    }
    if holes.found.len() > HOLES_MAX {
        let place = holes.found[HOLES_MAX].from;
        let file = names::wal_file(place.sequence);
        let what = "so many other places of the log cannot be read either";
        return Err(Error::corrupt(&file, place.offset.into(), what));
    }
    if !holes.any_new && holes.tail.is_none() {
        return Ok(None);
    }
    let end = replayed.end;
    let mut next = manifest.clone();
    next.durable = next.durable.min(end);
    next.holes.clone_from(&holes.found);
    for (number, listed) in &mut next.shards {
        if holes.tail.is_some() {
            listed.end_void_at(end);
        }
        listed.damaged |= holes.damaged.contains(number);
        listed.doubtful |= holes.open.contains_key(number);
        listed
            .void
            .extend(holes.void.get(number).cloned().into_iter().flatten());
        if holes.contradicted.contains(number) {
            listed.doubtful = true;
            listed.void_before = end;
            listed.void = vec![Position::default()..end];
        }
        listed.lost |= holes.tail == Some(Tail::Promises) && listed.snapshot.is_some();
    }
    Ok(Some(next))
}
