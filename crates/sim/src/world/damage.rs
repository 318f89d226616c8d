//! Damage to what rests on a disk, whether a node uses it or not, within the budget: never more than a
//! minority of a shard's durable copies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use anser_log::disk::simulated::SECTOR_BYTES;

use super::World;
use crate::{coverage::sometimes, plan::Fault, process::Stop};

/// About the last few batches of a log.
const LAST_BYTES: usize = 600;
const LOG: &str = ".wal";
/// How often a place is looked for where there is something to damage.
const ATTEMPTS: usize = 20;

impl World {
    /// Loses or damages what a node has, if the others have enough.
    pub(super) fn destroy(&mut self, fault: Fault, number: u64) -> bool {
        if self.destroyed.contains(&number) || !self.may_destroy(number) {
            return false;
        }
        match fault {
            Fault::LostDisk => self.lose(number),
            Fault::LostSector => self.lose_last_sector(number),
            _ => return self.damage(fault, number),
        }
        self.destroyed.insert(number);
        true
    }

    /// The last sector of the log that has been written is not there after the power was lost, though the disk had
    /// promised it: it has nothing, or what it had before.
    fn lose_last_sector(&mut self, number: u64) {
        let before = self.nodes[&number].disk();
        let wal = before
            .paths()
            .into_iter()
            .filter(|path| sequence_of(path).is_some());
        let former: BTreeMap<String, _> = wal
            .map(|path| (path.clone(), before.former_sectors(&path)))
            .collect();
        self.crash(number, Stop::PowerLoss);
        let is_stale = self.common.random.permille(500);
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let image = node.disk.contents();
        let written = image.files.iter().rev().find_map(|(name, content)| {
            let end = batches(name, content)?.last()?.end;
            Some((name, end))
        });
        let Some((name, end)) = written else {
            return;
        };
        let sector = (end - 1) / SECTOR_BYTES;
        let stale = former.get(name).and_then(|former| former.get(&sector));
        node.disk.damage(name, |content| {
            let place = &mut content[sector * SECTOR_BYTES..][..SECTOR_BYTES];
            match stale.filter(|_| is_stale) {
                Some(stale) => place.copy_from_slice(stale),
                None => place.fill(0),
            }
        });
        node.lost_a_sector = true;
        sometimes("a disk lost a sector that it had promised");
    }

    /// A node is whole again when the files are gone in which something was damaged, and nothing is to be replaced.
    pub(super) fn note_healed(&mut self) {
        for node in self.nodes.values_mut().filter(|node| node.is_damaged()) {
            let Some(process) = &mut node.process else {
                continue;
            };
            let paths = node.disk.paths();
            let is_gone = |file: &String| paths.binary_search(file).is_err();
            if node.damaged.iter().all(is_gone) && process.has_healed() {
                sometimes("a damaged node became whole again");
                node.damaged.clear();
                process.damaged.clear();
            }
        }
    }

    /// Damages something, of a node that goes on with it or one that has stopped. False if nothing was found.
    fn damage(&mut self, fault: Fault, number: u64) -> bool {
        if self.common.random.permille(500) {
            self.crash(number, Stop::Kill);
        }
        let places = if fault == Fault::BitFlip {
            self.flip(number)
        } else {
            // Most often one.
            let count = self.common.random.spread(1).clamp(1, 4);
            let spoilt = (0..count).map(|_| self.spoil_sectors(fault, number));
            spoilt.flatten().collect()
        };
        if places.is_empty() {
            return false;
        }
        let now = self.common.now;
        self.common
            .trace
            .say(now, || format!("node {number}: {fault:?} at {places:?}"));
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        for (name, _) in places {
            // It has another name once it is complete.
            let name = name.strip_suffix(".temp").unwrap_or(&name);
            node.damaged.insert(name.to_owned());
        }
        if let Some(process) = &mut node.process {
            sometimes("what a running node has was damaged");
            process.damaged.clone_from(&node.damaged);
        }
        self.destroyed.insert(number);
        true
    }

    /// Flips bits of what rests on a disk, most often one.
    fn flip(&mut self, number: u64) -> Vec<(String, usize)> {
        let count = if self.common.random.permille(700) {
            1
        } else {
            self.common.random.between(2, 8)
        };
        let mut places: Vec<(String, usize)> = Vec::new();
        for _ in 0..count {
            let kind = self.kind_of_file();
            // With two flips in what was written last it may look like never written.
            let at_end = places.is_empty() && kind == LOG && self.common.random.permille(500);
            let found = if at_end {
                self.place_at_the_end(number)
            } else {
                self.place(number, kind, places.is_empty())
            };
            let Some((name, place)) = found else {
                continue;
            };
            let bit = 1 << self.common.random.below(8);
            self.nodes[&number]
                .disk()
                .damage(&name, |content| content[place] ^= bit);
            places.push((name, place));
        }
        places
    }

    /// How the names of the files end that are to be damaged.
    fn kind_of_file(&mut self) -> &'static str {
        let kinds = [LOG, LOG, ".segment", ""];
        self.common.random.pick(&kinds).expect("there are some")
    }

    /// Somewhere in the last few batches: damaged before anything tells that they were durable.
    fn place_at_the_end(&mut self, number: u64) -> Option<(String, usize)> {
        let image = self.nodes[&number].disk().contents();
        let mut logs = image.files.iter().rev();
        let (name, end) = logs.find_map(|(name, content)| {
            let end = batches(name, content)?.last()?.end;
            Some((name.clone(), end))
        })?;
        let back = 1 + self.common.random.place(end.min(LAST_BYTES));
        Some((name, end - back))
    }

    /// Some byte of some file, where there is something. `may_be_last`: also where nothing else tells that it was durable.
    fn place(&mut self, number: u64, kind: &str, may_be_last: bool) -> Option<(String, usize)> {
        let image = self.nodes[&number].disk().contents();
        let of_kind = |name: &&String| name.ends_with(kind);
        let names: Vec<&String> = image.files.keys().filter(of_kind).collect();
        for _ in 0..ATTEMPTS {
            let name = self.common.random.pick(&names)?;
            let content = &image.files[name];
            if content.is_empty() {
                continue;
            }
            let place = self.common.random.place(content.len());
            let sector = sector_of(place, content.len());
            let is_proven = !name.contains("durable") && is_proven(&image.files, name, &sector);
            if content[place] != 0 && (may_be_last || is_proven) {
                return Some((name.clone(), place));
            }
        }
        None
    }

    /// Damages a sector. Nothing happens to the last batch of the log: of a process that was killed, and before the mark
    /// that an idle node writes, its loss cannot be told from a write that never happened (`docs/reliability.md`).
    fn spoil_sectors(&mut self, fault: Fault, number: u64) -> Vec<(String, usize)> {
        let kind = self.kind_of_file();
        let Some((name, place)) = self.place(number, kind, false) else {
            return Vec::new();
        };
        let disk = self.nodes[&number].disk().clone();
        let image = disk.contents();
        let sector = sector_of(place, image.files[&name].len());
        let stale = disk.former_sectors(&name).remove(&(place / SECTOR_BYTES));
        match fault {
            Fault::UnreadableSector => {
                disk.spoil(&name, place);
            }
            Fault::ZeroedSector => {
                disk.damage(&name, |content| content[sector.clone()].fill(0));
            }
            Fault::StaleSector => {
                let Some(stale) = stale else {
                    return Vec::new();
                };
                disk.damage(&name, |content| {
                    content[sector.clone()].copy_from_slice(&stale);
                });
            }
            _ => return self.misdirect(number, &name, sector, stale.as_deref()),
        }
        vec![(name, sector.start)]
    }

    /// What was written to a sector went to another one, of the same file or of another, and took the place of what was
    /// there; where it belongs is what was there before.
    fn misdirect(
        &mut self,
        number: u64,
        name: &str,
        sector: Range<usize>,
        stale: Option<&[u8]>,
    ) -> Vec<(String, usize)> {
        let kind = self.kind_of_file();
        let Some((other, place)) = self.place(number, kind, false) else {
            return Vec::new();
        };
        let disk = self.nodes[&number].disk().clone();
        let image = disk.contents();
        let written = image.files[name][sector.clone()].to_vec();
        let target = sector_of(place, image.files[&other].len());
        if (other.as_str(), target.start) == (name, sector.start) {
            return Vec::new();
        }
        disk.damage(&other, |content| {
            let length = written.len().min(target.len());
            content[target.start..][..length].copy_from_slice(&written[..length]);
        });
        let start = sector.start;
        if let Some(stale) = stale {
            disk.damage(name, |content| content[sector].copy_from_slice(stale));
        }
        vec![(name.to_owned(), start), (other, target.start)]
    }
}

/// The sector around a place in a file; the last one may be shorter.
fn sector_of(place: usize, length: usize) -> Range<usize> {
    let start = place / SECTOR_BYTES * SECTOR_BYTES;
    start..(start + SECTOR_BYTES).min(length)
}

/// Whether something that stands elsewhere proves that this stretch of a file was durable.
fn is_proven(files: &BTreeMap<String, Arc<Vec<u8>>>, name: &str, stretch: &Range<usize>) -> bool {
    let Some(sequence) = sequence_of(name) else {
        return true;
    };
    let mut logs = files.iter().rev();
    let proof = logs.find_map(|(name, content)| {
        let batches = batches(name, content)?;
        // The last one may be torn.
        let last = batches.iter().rev().take(2);
        last.map(|batch| durable_before(content, batch)).min()?
    });
    proof.is_some_and(|proof| (sequence, stretch.end) <= proof)
}

/// Up to where the log was durable when this batch was written: sequence and offset.
fn durable_before(content: &[u8], batch: &Range<usize>) -> Option<(u64, usize)> {
    let payload = content.get(batch.start + 56..batch.start + 68)?;
    let sequence = u64::from_le_bytes(payload[..8].try_into().ok()?);
    let offset = u32::from_le_bytes(payload[8..].try_into().ok()?);
    Some((sequence, usize::try_from(offset).ok()?))
}

fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_prefix("wal/")?.strip_suffix(".wal")?;
    sequence.parse().ok()
}

/// The batches of a log file, one after the other (`docs/formats/wal.md`); `None` if it is none, or has none.
fn batches(name: &str, content: &[u8]) -> Option<Vec<Range<usize>>> {
    let sequence = sequence_of(name)?;
    let number = |at: usize| -> Option<u64> {
        let bytes = content.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes).into())
    };
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut end = 0;
    while content.get(end..end + 4) == Some(b"AWAL")
        && number(end + 12) == Some(end as u64)
        && number(end + 16) == Some(sequence)
        && let Some(length) = number(end + 8)
    {
        let length = usize::try_from(length).expect("lengths have 32 bits");
        let record = end..(end + 56 + length.next_multiple_of(8)).min(content.len());
        let begins = matches!(content[end + 5], 1 | 2);
        end = record.end;
        match batches.last_mut() {
            Some(last) if !begins => last.end = record.end,
            _ => batches.push(record),
        }
    }
    (!batches.is_empty()).then_some(batches)
}
