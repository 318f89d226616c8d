//! A log that is damaged before its end, of a node whose shards others have too: it opens, tells what each shard may have
//! lost, and never more than that is missing.

mod used;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::Arc,
};

use anser_log::{
    Change, Entry, HardState, Log, Opened, Options, RecoveredShard, SnapshotOrigin, Stored, Write,
    disk::simulated::{Durability, Image, SECTOR_BYTES, SimulatedDisk},
};

use self::used::{SHARDS, Shard, Used, body, commit, entry, open, options};
use crate::random::Random;

/// What became of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    doubtful: bool,
    lost: bool,
    damaged: bool,
    state: HardState,
    terms: Vec<(u64, u64)>,
    last: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcomes {
    holes: usize,
    /// That are named, in all of these logs.
    places: usize,
    whole: usize,
    doubtful: usize,
    shorter: usize,
    lost: usize,
    damaged: usize,
}

fn found(opened: &Opened<SimulatedDisk>) -> BTreeMap<u16, Found> {
    let shards = opened.shards.iter().map(|it| {
        let found = Found {
            doubtful: it.doubtful,
            lost: it.lost,
            damaged: it.damaged,
            state: it.hard_state,
            terms: opened.reader.terms(it.shard),
            last: it.last_index,
        };
        (it.shard, found)
    });
    shards.collect()
}

/// Panics if more is missing than is said.
fn judge(
    opened: &Opened<SimulatedDisk>,
    truth: &BTreeMap<u16, Shard>,
    what: &str,
    outcomes: &mut Outcomes,
) {
    outcomes.holes += usize::from(!opened.report.holes.is_empty());
    outcomes.places += opened.report.holes.len();
    for it in &opened.shards {
        let truth = &truth[&it.shard];
        let what = format!("{what}: shard {}, {it:?}, {truth:?}", it.shard);
        assert!(!it.has_gap, "{what}");
        outcomes.damaged += usize::from(it.damaged);
        let promised = (it.hard_state.term, it.hard_state.vote);
        if it.lost {
            outcomes.lost += 1;
        } else {
            assert_eq!(promised, (truth.state.term, truth.state.vote), "{what}");
        }
        assert!(
            it.hard_state.commit <= truth.state.commit.max(truth.snapshot),
            "{what}"
        );
        assert_eq!(it.snapshot.unwrap().index, truth.snapshot, "{what}");
        let entries = entries(opened, it.shard, it.first_index, it.last_index, &what);
        let is = |had: &Vec<u64>| {
            let has = |entry: &Entry| {
                let place = usize::try_from(entry.index).unwrap() - 1;
                had.get(place) == Some(&entry.term)
            };
            entries.iter().all(has)
        };
        let is_whole = is(&truth.terms) && it.last_index == truth.last();
        assert!(is_whole || it.doubtful, "{what}");
        assert!(truth.had.iter().any(is), "{what}");
        let committed = entries
            .iter()
            .filter(|entry| entry.index <= it.hard_state.commit);
        for entry in committed {
            assert_eq!(entry.term, truth.term(entry.index), "{what}");
        }
        outcomes.doubtful += usize::from(it.doubtful);
        outcomes.shorter += usize::from(!is_whole);
        outcomes.whole += usize::from(!it.doubtful && !it.lost);
        judge_bodies(opened, it, truth, &what);
    }
}

/// What is part of the state is what was written, or said to be missing.
fn judge_bodies(opened: &Opened<SimulatedDisk>, it: &RecoveredShard, truth: &Shard, what: &str) {
    for index in 2..=truth.snapshot {
        let (term, data) = match opened.reader.read(it.shard, index) {
            Ok(Stored::Entry(entry)) => (entry.term, entry.data),
            Ok(Stored::Kept(kept)) => (kept.term, kept.payload),
            Err(error) => {
                let is_alive = index > truth.sealed || truth.alive.contains(&index);
                assert!(
                    !is_alive || it.damaged,
                    "{what}: {index}: {error}, sealed {}",
                    truth.sealed
                );
                continue;
            }
        };
        assert_eq!(term, truth.term(index), "{what}: {index}");
        assert_eq!(data, body(it.shard, index, term), "{what}: {index}");
    }
}

fn entries(
    opened: &Opened<SimulatedDisk>,
    shard: u16,
    first: u64,
    last: u64,
    what: &str,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut next = first;
    while next <= last {
        let more = opened.reader.entries(shard, next, last + 1, u64::MAX);
        let more = more.unwrap_or_else(|error| panic!("{what}: {error}"));
        next = more.last().unwrap().index + 1;
        entries.extend(more);
    }
    for entry in &entries {
        assert_eq!(entry.data, body(shard, entry.index, entry.term), "{what}");
    }
    entries
}

/// Each way in which a log file may be damaged, and what is left of it.
fn damages(content: &[u8], random: &mut Random) -> Vec<(String, Option<Vec<u8>>)> {
    let used = content
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    let mut damages = vec![("gone".to_owned(), None)];
    if used == 0 {
        return damages;
    }
    for _ in 0..6 {
        let mut flipped = content.to_vec();
        let at = random.below(used);
        flipped[at] ^= 1 << random.below(8);
        damages.push((format!("flip at {at}"), Some(flipped)));
    }
    let at = random.below(used);
    damages.push((format!("cut at {at}"), Some(content[..at].to_vec())));
    for page in [512, 4096] {
        let place = |random: &mut Random| random.below(content.len() / page) * page;
        let (one, other) = (place(random), place(random));
        let mut zeroed = content.to_vec();
        zeroed[one..one + page].fill(0);
        damages.push((format!("zeros at {one}"), Some(zeroed)));
        let mut swapped = content.to_vec();
        swapped[one..one + page].copy_from_slice(&content[other..other + page]);
        swapped[other..other + page].copy_from_slice(&content[one..one + page]);
        damages.push((format!("swapped {one} and {other}"), Some(swapped)));
    }
    damages
}

fn damaged(image: &Image, path: &str, content: Option<Vec<u8>>) -> Image {
    let mut image = image.clone();
    match content {
        Some(content) => drop(image.files.insert(path.to_owned(), Arc::new(content))),
        None => drop(image.files.remove(path)),
    }
    image
}

fn is_log(path: &str) -> bool {
    path.starts_with("wal/0")
}

fn each_damage(
    seeds: std::ops::Range<u64>,
    mut visit: impl FnMut(&str, &Image, &BTreeMap<u16, Shard>),
) {
    for seed in seeds {
        let mut used = Used::new(seed);
        used.run(60);
        let (image, shards) = used.close();
        let mut random = Random::new(!seed);
        for (path, content) in image.files.iter().filter(|(path, _)| is_log(path)) {
            for (what, content) in damages(content, &mut random) {
                let image = damaged(&image, path, content);
                visit(&format!("seed {seed}, {path}, {what}"), &image, &shards);
            }
            let sector = random.below(content.len().div_ceil(SECTOR_BYTES));
            let mut unreadable = image.clone();
            let bad = BTreeSet::from([sector]);
            unreadable.unreadable.insert(path.clone(), bad);
            let what = format!("seed {seed}, {path}, sector {sector} cannot be read");
            visit(&what, &unreadable, &shards);
        }
    }
}

#[test]
fn a_damaged_log_opens_and_says_what_each_shard_may_have_lost() {
    let mut outcomes = Outcomes::default();
    each_damage(0..150, |what, image, shards| {
        let disk = SimulatedDisk::from_image(image);
        judge(&open(&disk), shards, what, &mut outcomes);
    });
    // The logs and the damages are the same in every run: who changes what recovery makes of them sees here by how much
    // it became more careful than it must be, or less.
    let expected = Outcomes {
        holes: 4_657,
        places: 5_447,
        whole: 6_336,
        doubtful: 10_551,
        shorter: 8_772,
        lost: 1_050,
        damaged: 2_814,
    };
    assert_eq!(outcomes, expected);
}

#[test]
fn without_peers_it_stays_closed_if_anything_may_be_lost_and_names_the_place() {
    let (mut refused, mut opened) = (0, 0);
    each_damage(0..20, |what, image, _| {
        let with_peers = open(&SimulatedDisk::from_image(image));
        let alone = Options {
            has_peers: false,
            ..options()
        };
        match Log::open(SimulatedDisk::from_image(image), alone) {
            Ok(alone) => {
                // Nothing is missing, or only where nothing had begun.
                assert_eq!(alone.shards, with_peers.shards, "{what}");
                let is_whole = |it: &RecoveredShard| !it.doubtful && !it.lost && !it.damaged;
                assert!(alone.shards.iter().all(is_whole), "{what}");
                opened += usize::from(!with_peers.report.holes.is_empty());
            }
            Err(error) => {
                assert!(!with_peers.report.holes.is_empty(), "{what}: {error}");
                let names_it = error.to_string().contains("wal/");
                assert!(error.is_damage() && names_it, "{what}: {error}");
                refused += 1;
            }
        }
    });
    assert!(refused > 100 && opened > 10, "{refused} {opened}");
}

/// What was found stays so at the next start, also if the first was cut short anywhere; a start that knows of it
/// changes nothing.
#[test]
fn what_a_hole_cost_is_never_forgotten() {
    let mut random = Random::new(7);
    let mut images = 0;
    each_damage(200..230, |what, image, shards| {
        let disk = SimulatedDisk::from_image(image);
        disk.record();
        let first = found(&open(&disk));
        assert_eq!(found(&open(&disk)), first, "{what}");
        if !random.percent(20) {
            return;
        }
        let mut durability = Durability::new(image);
        for operation in disk.recorded() {
            durability.apply(&operation);
            let choices = durability.choices(512);
            for _ in 0..2 {
                let picks: Vec<usize> = choices.iter().map(|most| random.below(most + 1)).collect();
                let disk = SimulatedDisk::from_image(&durability.image(512, &picks));
                let opened = open(&disk);
                judge(&opened, shards, what, &mut Outcomes::default());
                let again = found(&opened);
                for (shard, found) in &again {
                    let first = &first[shard];
                    assert_eq!(found.lost, first.lost, "{what}: {found:?}, {first:?}");
                    assert!(
                        found.doubtful || !first.doubtful,
                        "{what}: {found:?}, {first:?}"
                    );
                    assert!(
                        found.damaged || !first.damaged,
                        "{what}: {found:?}, {first:?}"
                    );
                }
                images += 1;
            }
        }
    });
    assert!(images > 1000, "{images}");
}

/// The others give back what was missing, and from then on the log is as any other.
#[test]
fn a_shard_that_was_given_back_what_it_lacked_is_whole_again() {
    let mut given = 0;
    each_damage(300..340, |what, image, shards| {
        let disk = SimulatedDisk::from_image(image);
        let mut opened = open(&disk);
        let before = found(&opened);
        let lost: Vec<u16> = opened
            .shards
            .iter()
            .filter(|it| it.lost)
            .map(|it| it.shard)
            .collect();
        for it in opened.shards.clone() {
            if it.lost {
                opened
                    .store
                    .forget(it.shard, shards[&it.shard].last(), true)
                    .unwrap();
                continue;
            }
            let truth = &shards[&it.shard];
            let terms = entries(&opened, it.shard, it.first_index, it.last_index, what);
            let differs = terms
                .iter()
                .find(|entry| entry.index > truth.last() || truth.term(entry.index) != entry.term);
            let first = differs.map_or(it.last_index + 1, |entry| entry.index);
            given += usize::from(first <= truth.last());
            for index in first..=truth.last() {
                let write = Write {
                    shard: it.shard,
                    hard_state: Some(HardState {
                        commit: it.hard_state.commit.max(index.min(truth.state.commit)),
                        ..truth.state
                    }),
                    entries: vec![entry(it.shard, index, truth.term(index))],
                };
                opened.appender.append(&[write]).unwrap();
            }
        }
        opened.store.clear_suspicion().unwrap();
        drop(opened);
        let opened = open(&disk);
        for it in opened.shards.iter().filter(|it| !lost.contains(&it.shard)) {
            let truth = &shards[&it.shard];
            let what = format!("{what}: {it:?} {truth:?}");
            assert!(!it.doubtful && !it.lost, "{what}");
            assert_eq!(it.damaged, before[&it.shard].damaged, "{what}");
            let entries = entries(&opened, it.shard, it.first_index, it.last_index, &what);
            // What was there in vain before may be there still, behind all that counts.
            let is_whole =
                |entry: &Entry| entry.index > truth.last() || entry.term == truth.term(entry.index);
            assert!(
                it.last_index >= truth.last() && entries.iter().all(is_whole),
                "{what}"
            );
        }
        for shard in lost {
            let it = opened.shards.iter().find(|it| it.shard == shard).unwrap();
            assert!(!it.lost && !it.doubtful && it.floor > 0, "{what}");
        }
    });
    assert!(given > 100, "{given}");
}

/// Entries of shard 0 from one to another, each in a batch of its own.
fn append_each(opened: &mut Opened<SimulatedDisk>, entries: std::ops::RangeInclusive<u64>) {
    for index in entries {
        let write = Write {
            shard: 0,
            hard_state: None,
            entries: vec![entry(0, index, 1)],
        };
        opened.appender.append(&[write]).unwrap();
    }
}

/// A copy, or letting go of a shard, voids what stood before it. If the end of the log is lost to before that place, what comes
/// next stands where that stood, and is not void.
#[test]
fn what_is_written_where_the_end_was_lost_counts_whatever_was_void_there() {
    let mut given = 0;
    for is_let_go_first in [false, true] {
        let disk = SimulatedDisk::default();
        let mut opened = open(&disk);
        for shard in 0..SHARDS {
            commit(&opened, shard, (1, 1), Vec::new());
        }
        append_each(&mut opened, 2..=5);
        if is_let_go_first {
            opened.store.forget(0, 9, false).unwrap();
        }
        let mut writer = opened.store.begin_snapshot(0, 10, 1).unwrap();
        writer.write_all(b"state").unwrap();
        let change = Change {
            snapshot: Some(writer.finish().unwrap()),
            origin: SnapshotOrigin::Peer,
            ..Change::default()
        };
        opened.store.commit(0, change).unwrap();
        append_each(&mut opened, 11..=15);
        opened.appender.close().unwrap();
        let image = disk.contents();
        let path = image.files.keys().find(|path| is_log(path)).unwrap();
        let content = &image.files[path];
        let written = content.iter().rposition(|&byte| byte != 0).unwrap();
        for place in (0..written).step_by(24) {
            let mut flipped = content.to_vec();
            flipped[place] ^= 0x40;
            let what = format!("let go first: {is_let_go_first}, byte {place}");
            let disk = SimulatedDisk::from_image(&damaged(&image, path, Some(flipped)));
            let mut opened = open(&disk);
            let it = opened.shards[0];
            if it.lost {
                continue; // Nothing is left of the only file.
            }
            assert_eq!((it.shard, it.has_gap), (0, false), "{what}");
            given += usize::from(it.last_index == 10);
            append_each(&mut opened, it.last_index + 1..=15);
            commit(&opened, 0, (13, 1), Vec::new());
            append_each(&mut opened, 16..=16);
            opened.store.clear_suspicion().unwrap();
            drop(opened);
            let opened = open(&disk);
            let it = opened.shards[0];
            assert_eq!((it.first_index, it.last_index), (14, 16), "{what}");
            entries(&opened, 0, 14, 16, &what);
        }
    }
    assert!(given > 20, "{given}");
}

/// A vote is heard of once its mark is there: if the mark is gone too, nothing says that the end held none.
#[test]
fn who_lost_its_marks_and_the_end_of_its_log_may_have_lost_a_vote() {
    let mut lost = 0;
    for seed in 400..430 {
        let mut used = Used::new(seed);
        used.run(30);
        used.elect(0);
        let (image, shards) = used.close();
        let mut unmarked = image.clone();
        drop(unmarked.files.remove("wal/durable"));
        let written = |(path, content): &(&String, &Arc<Vec<u8>>)| {
            is_log(path) && content.iter().any(|&byte| byte != 0)
        };
        let (path, content) = image.files.iter().rfind(written).unwrap();
        let last = content.iter().rposition(|&byte| byte != 0).unwrap();
        let mut flipped = content.to_vec();
        flipped[last] ^= 1;
        let cut = content[..last].to_vec();
        for (what, content) in [("flipped", flipped), ("cut", cut)] {
            let disk = SimulatedDisk::from_image(&damaged(&unmarked, path, Some(content)));
            let opened = open(&disk);
            let what = format!("seed {seed}, {what}");
            judge(&opened, &shards, &what, &mut Outcomes::default());
            lost += usize::from(opened.shards.iter().all(|it| it.lost));
        }
        let opened = open(&SimulatedDisk::from_image(&unmarked));
        assert!(
            opened.shards.iter().all(|it| !it.lost),
            "nothing is missing"
        );
    }
    // The last file that holds anything may be one that waits to be used again.
    assert!(lost > 20, "{lost}");
}

/// A shard that stays closed has learnt nothing from others when the rest has.
#[test]
fn a_shard_that_stays_closed_keeps_its_doubt_when_the_others_are_clear() {
    for suspect in [false, true] {
        let used = Used::new(500);
        let disk = SimulatedDisk::from_image(&used.close().0);
        let opened = open(&disk);
        opened.store.leave_closed(&[1], suspect).unwrap();
        opened.store.clear_suspicion().unwrap();
        drop(opened);
        // What it may lack it lacks still at the next start, and at the one after.
        for _ in 0..2 {
            let opened = open(&disk);
            let doubtful: Vec<bool> = opened.shards.iter().map(|it| it.doubtful).collect();
            assert_eq!(doubtful, [false, suspect, false]);
            opened.store.leave_closed(&[1], false).unwrap();
            opened.store.clear_suspicion().unwrap();
        }
        let opened = open(&disk);
        opened.store.leave_closed(&[], false).unwrap();
        opened.store.clear_suspicion().unwrap();
        drop(opened);
        assert!(open(&disk).shards.iter().all(|it| !it.doubtful));
    }
}
