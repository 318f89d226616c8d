//! One flipped bit anywhere in a log of which everything is durable: all of it is there, or the log
//! says that it may have lost something, or it stays closed. Young logs above all: where next to nothing
//! was written, damage must not pass for nothing written.

use std::sync::Arc;

use anser_log::{
    Entry, HardState, Log, Options, Write,
    disk::simulated::{Image, SimulatedDisk},
};

use crate::{
    driver::{Driver, plain_write},
    faults::small_options,
    model::{Difference, Model},
    sabotage::Sabotage,
};

#[derive(Debug, Default)]
struct Outcomes {
    whole: usize,
    suspect: usize,
    refused: usize,
}

fn vote(shard: u16, term: u64) -> Write {
    let hard_state = Some(HardState {
        term,
        vote: 2,
        commit: 0,
    });
    Write {
        shard,
        hard_state,
        entries: Vec::<Entry>::new(),
    }
}

/// Every bit of what was written, one bit of each byte that was not.
fn flip_everything(image: &Image, model: &Model, options: &Options, what: &str) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (path, content) in &image.files {
        for (at, &byte) in content.iter().enumerate() {
            let near = at.saturating_sub(8)..(at + 8).min(content.len());
            let is_written = byte != 0 || content[near].iter().any(|&byte| byte != 0);
            for bit in 0..if is_written { 8 } else { 1 } {
                let mut damaged = image.clone();
                Arc::make_mut(damaged.files.get_mut(path).unwrap())[at] ^= 1 << bit;
                let context = || format!("{what}: {path}, byte {at}, bit {bit}");
                judge(&damaged, model, options, &mut outcomes, context);
            }
        }
    }
    outcomes
}

fn judge(
    damaged: &Image,
    model: &Model,
    options: &Options,
    outcomes: &mut Outcomes,
    context: impl Fn() -> String,
) {
    let disk = SimulatedDisk::from_image(damaged);
    let Ok(opened) = Log::open(disk.clone(), options.clone()) else {
        outcomes.refused += 1;
        return;
    };
    let suspect = opened.report.suspect;
    // Whoever opens the log may lack entries, and can ask others. Of its promises nobody else knows.
    for (&number, shard) in &model.shards {
        let found = opened.shards.iter().find(|found| found.shard == number);
        let found = found.map_or_else(HardState::default, |found| found.hard_state);
        let (HardState { term, vote, .. }, sealed) = (shard.hard_state, &shard.snapshot);
        let kept = sealed.as_ref().is_none_or(|sealed| sealed.term <= term);
        let kept = !kept || (found.term, found.vote) == (term, vote);
        assert!(kept, "{}: shard {number} has {found:?}", context());
    }
    match model.compare(&opened) {
        Ok(()) => outcomes.whole += 1,
        Err(Difference::Explicit(_)) => outcomes.refused += 1,
        Err(Difference::Wrong(_)) if suspect => outcomes.suspect += 1,
        Err(Difference::Wrong(wrong)) => panic!("{}: {wrong}", context()),
    }
    drop(opened);
    // What is suspect stays so until somebody clears it.
    if suspect {
        let again = Log::open(disk, options.clone()).unwrap();
        assert!(again.report.suspect, "{}", context());
    }
}

#[test]
fn the_first_batches_of_a_disk_are_never_taken_for_nothing() {
    let batches = [
        vec![vote(0, 1)],
        vec![vote(0, 2), vote(1, 1)],
        vec![plain_write(2, 1..=2, 30), vote(1, 2)],
        vec![plain_write(2, 3..=3, 700)],
    ];
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), small_options()).unwrap();
    let mut model = Model::default();
    for (number, batch) in batches.iter().enumerate() {
        opened.appender.append(batch).unwrap();
        model.append(batch);
        let what = format!("after batch {number}");
        let outcomes = flip_everything(&disk.contents(), &model, &small_options(), &what);
        assert!(
            outcomes.refused > 100 && outcomes.whole > 1000,
            "{what}: {outcomes:?}"
        );
        // Terms and votes are marked at once, entries are not.
        assert_eq!(outcomes.suspect > 100, number == 3, "{what}: {outcomes:?}");
    }
    opened.appender.mark_durable().unwrap();
    let outcomes = flip_everything(&disk.contents(), &model, &small_options(), "marked");
    assert_eq!(outcomes.suspect, 0, "{outcomes:?}");
}

/// The last batch may be the first of a file.
#[test]
fn the_first_batch_of_a_later_file_is_never_taken_for_nothing() {
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), small_options()).unwrap();
    let mut model = Model::default();
    for index in 1..=6 {
        let batch = vec![plain_write(0, index..=index, 1500)];
        opened.store.prepare_files().unwrap();
        opened.appender.append(&batch).unwrap();
        model.append(&batch);
        let what = format!("after batch {index}");
        let outcomes = flip_everything(&disk.contents(), &model, &small_options(), &what);
        assert_eq!(outcomes.suspect > 100, index > 1, "{what}: {outcomes:?}");
    }
    assert!(disk.contents().files.len() > 4);
}

/// Compacted, recycled, forgotten, imported and opened again, in many orders.
#[test]
fn a_log_that_has_seen_a_little_says_what_it_may_have_lost() {
    let mut suspect = 0;
    for seed in 0..3 {
        let mut driver = Driver::new(300 + seed, Sabotage::Nothing);
        driver.run(3 + 12 * usize::try_from(seed).unwrap());
        driver.append();
        let image = driver.disk.contents();
        let what = format!("seed {seed}");
        suspect += flip_everything(&image, &driver.model, &driver.options, &what).suspect;
    }
    assert!(suspect > 1000, "{suspect}");
}
