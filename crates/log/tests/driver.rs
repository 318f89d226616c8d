//! Random use of a log: appends, conflicts, marks, compaction, recycling, merges, snapshots from
//! peers, imports, forgotten shards, restarts. Every call is noted with the disk operations it took, so that a crash between
//! any two of them can be judged.

use std::{collections::BTreeMap, io::Write as _};

use anser_log::{
    Change, DueShard, Entry, EntryKind, Error, HardState, Kept, Log, Opened, Options, Stored,
    Write,
    disk::simulated::{Image, SimulatedDisk},
};
use bytes::Bytes;

use crate::{
    model::{Difference, Model, SnapshotModel},
    random::Random,
    sabotage::{Sabotage, SabotagedDisk},
};

/// The time of one call that may change what the log holds.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Disk operations before and after.
    pub(crate) began: usize,
    pub(crate) ended: usize,
    /// What the log may hold if the call is cut short, besides what it held before.
    pub(crate) partial: Vec<Model>,
    pub(crate) after: Model,
}

pub(crate) struct Driver {
    pub(crate) disk: SimulatedDisk,
    pub(crate) options: Options,
    pub(crate) calls: Vec<Call>,
    pub(crate) model: Model,
    /// How many shards' entries were carried over.
    pub(crate) carried: usize,
    start: Model,
    random: Random,
    sabotage: Sabotage,
    opened: Opened<SabotagedDisk>,
}

pub(crate) fn options(random: &mut Random) -> Options {
    Options {
        wal_file_bytes: 4096 * (1 + random.up_to(1)),
        wal_budget_bytes: 16 << 10,
        wal_held_bytes: 32 << 10,
        segment_bytes: 4096,
        open_segments: 2,
        spare_files: 1,
        boot: Some(1),
        has_peers: false,
    }
}

impl Driver {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let options = options(&mut Random::new(seed));
        Self::go_on(&Image::default(), Model::default(), options, seed, sabotage)
    }

    /// Begins with a disk that holds what the model says.
    pub(crate) fn go_on(
        image: &Image,
        model: Model,
        options: Options,
        seed: u64,
        sabotage: Sabotage,
    ) -> Self {
        let disk = SimulatedDisk::from_image(image);
        disk.record();
        let opened =
            Log::open(SabotagedDisk::new(disk.clone(), sabotage), options.clone()).unwrap();
        let random = Random::new(seed);
        let start = model.clone();
        Self {
            disk,
            options,
            calls: Vec::new(),
            start,
            model,
            carried: 0,
            random,
            sabotage,
            opened,
        }
    }

    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.up_to(99) {
                0..58 => self.append(),
                58..63 => self.opened.appender.mark_durable().unwrap(),
                63..75 => self.compact_one(),
                75..83 => self.recycle(),
                83..86 => self.merge(),
                86..88 => self.install(),
                88..91 => {
                    let number = u16::try_from(self.random.up_to(2)).unwrap();
                    self.import(number);
                }
                91..94 => self.forget(),
                94..96 => self.opened.store.prepare_files().unwrap(),
                96..98 => self.carry_one(),
                _ => self.reopen(),
            }
        }
    }

    /// Ends with everything marked durable.
    pub(crate) fn close(self) {
        self.opened.appender.close().unwrap();
    }

    pub(crate) fn append(&mut self) {
        let mut writes = Vec::new();
        let first = u16::try_from(self.random.up_to(2)).unwrap();
        for shard in first..=2 {
            if shard == first || self.random.percent(30) {
                writes.push(self.write(shard));
            }
        }
        self.append_writes(&writes);
    }

    fn append_writes(&mut self, writes: &[Write]) {
        let mut after = self.model.clone();
        after.append(writes);
        // More than half a file may have to be cut.
        let sizes = writes.iter().flat_map(|write| &write.entries);
        let bytes: usize = sizes.map(|entry| 64 + entry.data.len()).sum();
        let is_large = bytes as u64 > self.options.wal_file_bytes / 2;
        let partial = if is_large {
            self.model.parts(writes)
        } else {
            Vec::new()
        };
        let began = self.disk.recorded_count();
        self.opened.appender.append(writes).unwrap();
        self.called(began, partial, after);
    }

    fn called(&mut self, began: usize, partial: Vec<Model>, after: Model) {
        self.model = after.clone();
        self.calls.push(Call {
            began,
            ended: self.disk.recorded_count(),
            partial,
            after,
        });
    }

    fn write(&mut self, number: u16) -> Write {
        let shard = self.model.shards.entry(number).or_default().clone();
        let random = &mut self.random;
        let mut state = shard.hard_state;
        let snapshot_term = shard.snapshot.as_ref().map_or(0, |snapshot| snapshot.term);
        let last_term = shard
            .entries
            .last_key_value()
            .map_or(0, |(_, entry)| entry.term);
        state.term = state.term.max(snapshot_term).max(last_term).max(1);
        let (covered, last) = (shard.snapshot_index(), shard.last_index());
        let mut next = last + 1;
        if random.percent(12) && last > covered {
            next = covered + 1 + random.up_to(last - covered - 1);
            state.term += 1;
        }
        let longest = if random.percent(5) { 3000 } else { 300 };
        // Who was forgotten has nothing that entries could follow.
        let count = if shard.floor > 0 { 0 } else { random.up_to(4) };
        let entries: Vec<Entry> = (0..count)
            .map(|offset| {
                let length = usize::try_from(random.up_to(longest)).unwrap();
                let kind = match random.up_to(9) {
                    0 => EntryKind::Change,
                    1 => EntryKind::ChangeV2,
                    _ => EntryKind::Normal,
                };
                let data = Bytes::from(random.bytes(length));
                Entry {
                    index: next + offset,
                    term: state.term,
                    kind,
                    data,
                }
            })
            .collect();
        let last = entries.last().map_or(last, |entry| entry.index);
        state.vote = random.up_to(3);
        state.commit = state.commit.max(covered).max(random.up_to(last)).min(last);
        let hard_state = (entries.is_empty() || random.percent(60)).then_some(state);
        Write {
            shard: number,
            hard_state,
            entries,
        }
    }

    fn compact_one(&mut self) {
        let number = u16::try_from(self.random.up_to(2)).unwrap();
        let Some(shard) = self.model.shards.get(&number) else {
            return;
        };
        let (covered, last) = (shard.snapshot_index(), shard.last_index());
        if last > covered {
            let through = covered + 1 + self.random.up_to(last - covered - 1);
            self.compact(number, through);
        }
    }

    /// Keeps every third entry up to `through` and snapshots there.
    fn compact(&mut self, number: u16, through: u64) {
        let shard = &self.model.shards[&number];
        let alive: Vec<u64> = shard
            .entries
            .keys()
            .copied()
            .filter(|it| it % 3 == 0)
            .collect();
        let covered = shard.snapshot_index();
        let mut after = self.model.clone();
        let next = after.shards.get_mut(&number).unwrap();
        let mut writer = self.opened.store.begin_segment(number).unwrap();
        for index in alive
            .into_iter()
            .filter(|&index| index > covered && index <= through)
        {
            let Stored::Entry(entry) = self.opened.reader.read(number, index).unwrap() else {
                panic!("entry {index} is not in the log");
            };
            let kept = Kept {
                index,
                term: entry.term,
                payload: entry.data,
            };
            writer.append(&kept).unwrap();
            next.kept.insert(index, kept.payload);
        }
        if self.random.percent(5) {
            return;
        }
        let add = writer.finish().unwrap();
        let term = self.opened.reader.term(number, through).unwrap().unwrap();
        let mut remove = Vec::new();
        if self.random.percent(20)
            && let Some(oldest) = self.opened.store.segments(number).first()
        {
            remove.push(oldest.id);
            next.kept.retain(|&index, _| index > oldest.last_index);
        }
        self.commit(number, after, (through, term), add, remove);
    }

    fn commit(
        &mut self,
        number: u16,
        mut after: Model,
        (index, term): (u64, u64),
        add: Vec<anser_log::SegmentInfo>,
        remove: Vec<u64>,
    ) {
        let length = self.random.below(1500);
        let content = Bytes::from(self.random.bytes(length));
        let mut writer = self
            .opened
            .store
            .begin_snapshot(number, index, term)
            .unwrap();
        writer.write_all(&content).unwrap();
        let snapshot = Some(writer.finish().unwrap());
        let shard = after.shards.entry(number).or_default();
        shard.install(SnapshotModel {
            index,
            term,
            content,
        });
        let began = self.disk.recorded_count();
        self.opened
            .store
            .commit(
                number,
                Change {
                    snapshot,
                    origin: anser_log::SnapshotOrigin::Peer,
                    add,
                    remove,
                    ..Change::default()
                },
            )
            .unwrap();
        self.called(began, Vec::new(), after);
    }

    fn recycle(&mut self) {
        let due = if self.random.percent(50) {
            self.opened.store.due(&BTreeMap::new())
        } else {
            self.opened.store.due_all()
        };
        let Some(due) = due else {
            return;
        };
        let mut behind = BTreeMap::new();
        for &DueShard {
            shard, last_index, ..
        } in &due.shards
        {
            let covered = self.model.shards[&shard].snapshot_index();
            if covered >= last_index {
                continue;
            }
            // Some have not applied all of it.
            let applied = if self.random.percent(30) {
                covered + self.random.up_to(last_index - covered)
            } else {
                last_index
            };
            if covered < applied {
                self.compact(shard, applied);
            }
            behind.insert(shard, self.model.shards[&shard].snapshot_index());
        }
        if self.carry_over(&behind) {
            self.opened.store.recycle(due).unwrap();
        }
    }

    /// Writes again what these shards have behind an index; false if it is too much.
    fn carry_over(&mut self, behind: &BTreeMap<u16, u64>) -> bool {
        let began = self.disk.recorded_count();
        match self.opened.store.carry_over(behind) {
            Ok(()) => {}
            Err(Error::NotCovered { .. }) => return false,
            Err(error) => panic!("{error}"),
        }
        self.called(began, Vec::new(), self.model.clone());
        let last = |shard| self.model.shards[shard].last_index();
        let carried = behind.iter().filter(|&(shard, &after)| after < last(shard));
        self.carried += carried.count();
        true
    }

    /// A shard's last entries are written again though nothing is due.
    fn carry_one(&mut self) {
        let number = u16::try_from(self.random.up_to(2)).unwrap();
        if let Some(shard) = self.model.shards.get(&number) {
            let (covered, last) = (shard.snapshot_index(), shard.last_index());
            let after = covered + self.random.up_to(last - covered);
            self.carry_over(&BTreeMap::from([(number, after)]));
        }
    }

    /// Two neighbouring segments become one.
    fn merge(&mut self) {
        let number = u16::try_from(self.random.up_to(2)).unwrap();
        let segments = self.opened.store.segments(number);
        let [first, second, ..] = segments.as_slice() else {
            return;
        };
        let kept = self
            .opened
            .reader
            .kept(number, first.first_index, second.last_index, u64::MAX);
        let mut writer = self.opened.store.begin_segment(number).unwrap();
        for kept in kept.unwrap() {
            writer.append(&kept).unwrap();
        }
        let add = writer.finish().unwrap();
        let began = self.disk.recorded_count();
        let change = Change {
            add,
            remove: vec![first.id, second.id],
            ..Change::default()
        };
        self.opened.store.commit(number, change).unwrap();
        self.called(began, Vec::new(), self.model.clone());
    }

    /// A snapshot from a peer that is ahead, or whose history is another.
    fn install(&mut self) {
        let number = u16::try_from(self.random.up_to(2)).unwrap();
        let mut after = self.model.clone();
        let shard = after.shards.entry(number).or_default();
        let (covered, last) = (shard.snapshot_index(), shard.last_index());
        let index = shard.floor.max(covered + 1) + self.random.up_to(last + 5 - covered);
        let term = shard.hard_state.term.max(1) + 5;
        let mut writer = self.opened.store.begin_segment(number).unwrap();
        let beyond = shard
            .kept
            .last_key_value()
            .map_or(1, |(&index, _)| index + 1);
        for index in (beyond..=index).filter(|index| index % 3 == 0) {
            let payload = Bytes::from(self.random.bytes(100));
            writer
                .append(&Kept {
                    index,
                    term,
                    payload: payload.clone(),
                })
                .unwrap();
            shard.kept.insert(index, payload);
        }
        let add = writer.finish().unwrap();
        self.commit(number, after, (index, term), add, Vec::new());
    }

    /// A replica that lags, or comes new, is given all that another has.
    fn import(&mut self, number: u16) {
        let mut after = self.model.clone();
        let shard = after.shards.entry(number).or_default();
        let (covered, last) = (shard.snapshot_index(), shard.last_index());
        let index = shard.floor.max(covered + 1) + self.random.up_to(last + 5 - covered);
        let known = shard.entries.get(&index).map(|entry| entry.term);
        let last_term = shard.entries.values().map(|entry| entry.term).max();
        let other = shard.hard_state.term.max(last_term.unwrap_or(0)) + 5;
        let term = match known {
            Some(term) if self.random.percent(30) => term,
            _ => other,
        };
        let length = self.random.below(1500);
        let content = Bytes::from(self.random.bytes(length));
        let kept = (1..=index).filter(|index| index % 3 == 0);
        shard.kept = kept
            .map(|index| (index, Bytes::from(self.random.bytes(100))))
            .collect();
        let peer = peer(number, (index, term), &content, &shard.kept);
        shard.install(SnapshotModel {
            index,
            term,
            content,
        });
        let export = peer.store.export(number).unwrap();
        let store = self.opened.store.clone();
        let mut import = store
            .begin_import(number, export.snapshot, export.segments.clone())
            .unwrap();
        while let Some((file, offset)) = import.missing() {
            if self.random.percent(2) {
                return;
            }
            let most = 1 + self.random.below(3000);
            let piece = export.read(file, offset, most).unwrap();
            import.write(file, offset, &piece).unwrap();
        }
        let imported = import.finish().unwrap();
        let began = self.disk.recorded_count();
        store.install(number, &imported).unwrap();
        self.called(began, Vec::new(), after);
    }

    /// A replica moves away, and perhaps comes again soon.
    fn forget(&mut self) {
        let number = u16::try_from(self.random.up_to(2)).unwrap();
        let mut after = self.model.clone();
        let shard = after.shards.entry(number).or_default();
        // Of what it acknowledged or knew to be committed the floor is not short.
        let known = shard.last_index().max(shard.hard_state.commit);
        let floor = known + self.random.up_to(3);
        shard.forget(floor);
        let began = self.disk.recorded_count();
        self.opened.store.forget(number, floor, false).unwrap();
        self.called(began, Vec::new(), after);
        match self.random.up_to(3) {
            0 => self.import(number),
            1 => {
                let promised = self.model.shards[&number].hard_state.term;
                let vote = Write {
                    shard: number,
                    hard_state: Some(HardState {
                        term: promised + 1 + self.random.up_to(9),
                        vote: 2,
                        commit: 0,
                    }),
                    entries: Vec::new(),
                };
                self.append_writes(&[vote]);
                self.import(number);
            }
            _ => {}
        }
    }

    fn reopen(&mut self) {
        let disk = SabotagedDisk::new(self.disk.clone(), self.sabotage);
        let opened = Log::open(disk, self.options.clone()).unwrap();
        match self.model.compare(&opened) {
            Ok(()) => {}
            Err(Difference::Explicit(error)) => panic!("after a restart: {error}"),
            Err(Difference::Wrong(what)) => panic!("after a restart: {what}"),
        }
        assert_eq!(opened.report.torn_tail, None);
        self.opened = opened;
    }

    /// What the log may hold if the machine stopped after so many disk operations.
    pub(crate) fn allowed(&self, operations: usize) -> Vec<Model> {
        let acknowledged = self
            .calls
            .iter()
            .take_while(|call| call.ended <= operations)
            .count();
        let before = acknowledged
            .checked_sub(1)
            .map(|last| self.calls[last].after.clone());
        let mut allowed = vec![before.unwrap_or_else(|| self.start.clone())];
        if let Some(call) = self.calls.get(acknowledged)
            && call.began < operations
        {
            allowed.extend(call.partial.iter().cloned());
            allowed.push(call.after.clone());
        }
        allowed
    }
}

/// A log elsewhere that has a snapshot and segments of one shard.
pub(crate) fn peer(
    number: u16,
    (index, term): (u64, u64),
    content: &[u8],
    kept: &BTreeMap<u64, Bytes>,
) -> Opened<SimulatedDisk> {
    let options = Options {
        segment_bytes: 8192,
        ..options(&mut Random::new(index))
    };
    let opened = Log::open(SimulatedDisk::default(), options).unwrap();
    let mut writer = opened.store.begin_segment(number).unwrap();
    for (&index, payload) in kept {
        let payload = payload.clone();
        let record = Kept {
            index,
            term: 1,
            payload,
        };
        writer.append(&record).unwrap();
    }
    let add = writer.finish().unwrap();
    let mut snapshot = opened.store.begin_snapshot(number, index, term).unwrap();
    snapshot.write_all(content).unwrap();
    let change = Change {
        snapshot: Some(snapshot.finish().unwrap()),
        add,
        ..Change::default()
    };
    opened.store.commit(number, change).unwrap();
    opened
}

/// One shard's entries with bodies of one length, for tests that need no chance.
pub(crate) fn plain_write(
    shard: u16,
    indexes: std::ops::RangeInclusive<u64>,
    length: usize,
) -> Write {
    let last = *indexes.end();
    let entries = indexes
        .map(|index| Entry {
            index,
            term: 1,
            kind: EntryKind::Normal,
            data: Bytes::from(Random::new(index).bytes(length)),
        })
        .collect();
    let hard_state = Some(HardState {
        term: 1,
        vote: 2,
        commit: last,
    });
    Write {
        shard,
        hard_state,
        entries,
    }
}
