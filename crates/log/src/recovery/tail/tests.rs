//! What a crash leaves of remains that are being wiped.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::disk::{
    OpenMode,
    simulated::{Durability, Image, SECTOR_BYTES, SimulatedDisk},
};

const FILE: &str = "remains";
const FILE_BYTES: usize = 4 * SECTOR_BYTES;
/// Of the remains, and of what stands around them.
const FULL: u8 = 0xaa;

fn full_file() -> Image {
    Image {
        files: BTreeMap::from([(FILE.to_owned(), Arc::new(vec![FULL; FILE_BYTES]))]),
        ..Image::default()
    }
}

/// Every choice of what of each sector has reached the device.
fn all_picks(most: &[usize]) -> Vec<Vec<usize>> {
    most.iter().fold(vec![Vec::new()], |all, &most| {
        let longer = |picks: &Vec<usize>| {
            let picks = picks.clone();
            (0..=most).map(move |pick| [picks.as_slice(), &[pick]].concat())
        };
        all.iter().flat_map(longer).collect()
    })
}

/// Core review, finding 28: what was left of remains without their beginning made the next start suspect, for nothing.
#[test]
fn a_wipe_that_is_cut_short_leaves_the_beginning_of_the_remains_or_nothing_else() {
    for from in (SECTOR_BYTES - BEGIN_BYTES..=SECTOR_BYTES).step_by(8) {
        let to = FILE_BYTES - 100;
        let before = full_file();
        let disk = SimulatedDisk::from_image(&before);
        let file = disk.open(FILE, OpenMode::Existing).unwrap();
        disk.record();
        wipe(&file, from as u64, to as u64).unwrap();
        let operations = disk.recorded();
        for end in 0..=operations.len() {
            let mut during = Durability::new(&before);
            operations[..end]
                .iter()
                .for_each(|operation| during.apply(operation));
            for picks in all_picks(&during.choices(SECTOR_BYTES)) {
                let left = during.image(SECTOR_BYTES, &picks);
                check(&left.files[FILE], from, to, end);
            }
        }
    }
}

fn check(left: &[u8], from: usize, to: usize, end: usize) {
    let is_all = |bytes: &[u8], of: u8| bytes.iter().all(|&byte| byte == of);
    let around = [&left[..from], &left[to..]].concat();
    assert!(is_all(&around, FULL), "it wipes what is not meant");
    let (beginning, rest) = left[from..to].split_at(BEGIN_BYTES);
    if is_all(beginning, FULL) {
        return;
    }
    // Without this it is no beginning, and resembles none.
    let sequence = &beginning[16..24];
    assert!(
        is_all(sequence, 0),
        "from {from}, after {end} operations: half a beginning"
    );
    assert!(
        is_all(rest, 0),
        "from {from}, after {end} operations: remains without a beginning"
    );
}
