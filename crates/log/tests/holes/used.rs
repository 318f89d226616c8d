//! A log as consensus uses it, and what it acknowledged: nothing committed is replaced, and terms never fall.

use std::{collections::BTreeMap, io::Write as _};

use anser_log::{
    Change, Entry, EntryKind, HardState, Kept, Log, Opened, Options, SegmentInfo, Write,
    disk::simulated::{Image, SimulatedDisk},
};
use bytes::Bytes;

use crate::{faults::small_options, random::Random};

pub(super) const SHARDS: u16 = 3;

pub(super) fn options() -> Options {
    Options {
        wal_file_bytes: 8192,
        has_peers: true,
        ..small_options()
    }
}

pub(super) fn open(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    Log::open(disk.clone(), options()).unwrap()
}

/// What a shard has, and every log that it had.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) state: HardState,
    /// The term of each entry, from the first.
    pub(super) terms: Vec<u64>,
    pub(super) had: Vec<Vec<u64>>,
    pub(super) snapshot: u64,
    /// Up to here entries went to segments.
    pub(super) sealed: u64,
    /// Entries that segments hold.
    pub(super) alive: Vec<u64>,
}

impl Shard {
    pub(super) fn last(&self) -> u64 {
        self.terms.len() as u64
    }

    pub(super) fn term(&self, index: u64) -> u64 {
        self.terms[usize::try_from(index).unwrap() - 1]
    }
}

pub(super) fn body(shard: u16, index: u64, term: u64) -> Bytes {
    let seed = u64::from(shard) << 40 | index << 16 | term;
    let mut random = Random::new(seed);
    let length = random.below(400);
    Bytes::from(random.bytes(length))
}

pub(super) fn entry(shard: u16, index: u64, term: u64) -> Entry {
    Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: body(shard, index, term),
    }
}

/// A log in use.
pub(super) struct Used {
    pub(super) disk: SimulatedDisk,
    pub(super) shards: BTreeMap<u16, Shard>,
    pub(super) random: Random,
    pub(super) opened: Opened<SimulatedDisk>,
}

impl Used {
    pub(super) fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        for shard in 0..SHARDS {
            commit(&opened, shard, (1, 1), Vec::new());
        }
        let shard = Shard {
            state: HardState {
                term: 1,
                vote: 0,
                commit: 1,
            },
            terms: vec![1],
            had: vec![vec![1]],
            snapshot: 1,
            sealed: 1,
            alive: Vec::new(),
        };
        Self {
            disk,
            shards: (0..SHARDS).map(|number| (number, shard.clone())).collect(),
            random: Random::new(seed),
            opened,
        }
    }

    pub(super) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let number = u16::try_from(self.random.up_to(u64::from(SHARDS) - 1)).unwrap();
            match self.random.up_to(99) {
                0..80 => self.append(number),
                80..84 => self.snapshot(number),
                84..90 => self.opened.appender.mark_durable().unwrap(),
                90..96 => self.recycle(),
                _ => self.elect(number),
            }
        }
    }

    /// A new leader, of whom nothing has come yet.
    pub(super) fn elect(&mut self, number: u16) {
        let vote = 1 + self.random.up_to(2);
        let shard = self.shards.get_mut(&number).unwrap();
        shard.state.term += 1 + self.random.up_to(1);
        shard.state.vote = vote;
        let write = Write {
            shard: number,
            hard_state: Some(shard.state),
            entries: Vec::new(),
        };
        self.opened.appender.append(&[write]).unwrap();
    }

    pub(super) fn append(&mut self, number: u16) {
        let random = &mut self.random;
        let shard = self.shards.get_mut(&number).unwrap();
        let mut first = shard.last() + 1;
        let is_of_an_older_term = shard.term(shard.last()) < shard.state.term;
        if is_of_an_older_term && random.percent(50) {
            // What was not committed is replaced.
            first -= random.up_to(shard.last() - shard.state.commit);
            shard.terms.truncate(usize::try_from(first).unwrap() - 1);
        }
        let count = 1 + random.up_to(3);
        let term = shard.state.term;
        let entries = (first..first + count).map(|index| entry(number, index, term));
        let entries: Vec<Entry> = entries.collect();
        for _ in &entries {
            shard.terms.push(term);
            shard.had.push(shard.terms.clone());
        }
        let open = shard.last() - shard.state.commit;
        shard.state.commit += random.up_to(open);
        let hard_state = random.percent(60).then_some(shard.state);
        if hard_state.is_none() {
            shard.state.commit = shard.state.commit.max(shard.snapshot);
        }
        let write = Write {
            shard: number,
            hard_state,
            entries,
        };
        self.opened.appender.append(&[write]).unwrap();
    }

    /// The files of the entries stay.
    pub(super) fn snapshot(&mut self, number: u16) {
        let shard = self.shards.get_mut(&number).unwrap();
        let to = shard.state.commit;
        if to > shard.snapshot {
            commit(&self.opened, number, (to, shard.term(to)), Vec::new());
            shard.snapshot = to;
        }
    }

    /// Files are recycled; every third entry stays alive.
    pub(super) fn recycle(&mut self) {
        let Some(due) = self.opened.store.due_all() else {
            return;
        };
        let mut behind = BTreeMap::new();
        for due in &due.shards {
            let shard = self.shards.get_mut(&due.shard).unwrap();
            let to = shard.state.commit;
            if to > shard.sealed {
                let mut writer = self.opened.store.begin_segment(due.shard).unwrap();
                let from = shard.sealed + 1;
                for index in (from..=to).filter(|index| index % 3 == 0) {
                    let term = shard.term(index);
                    let payload = body(due.shard, index, term);
                    let kept = Kept {
                        index,
                        term,
                        payload,
                    };
                    writer.append(&kept).unwrap();
                    shard.alive.push(index);
                }
                let add = writer.finish().unwrap();
                commit(&self.opened, due.shard, (to, shard.term(to)), add);
                (shard.snapshot, shard.sealed) = (to, to);
            }
            behind.insert(due.shard, shard.snapshot);
        }
        if self.opened.store.carry_over(&behind).is_ok() {
            self.opened.store.recycle(due).unwrap();
        }
    }

    pub(super) fn close(self) -> (Image, BTreeMap<u16, Shard>) {
        self.opened.appender.close().unwrap();
        (self.disk.contents(), self.shards)
    }
}

pub(super) fn commit(
    opened: &Opened<SimulatedDisk>,
    shard: u16,
    (index, term): (u64, u64),
    add: Vec<SegmentInfo>,
) {
    let mut writer = opened.store.begin_snapshot(shard, index, term).unwrap();
    writer.write_all(b"state").unwrap();
    let change = Change {
        snapshot: Some(writer.finish().unwrap()),
        add,
        ..Change::default()
    };
    opened.store.commit(shard, change).unwrap();
}
