//! Reading the write-ahead log from its first file to its end, and judging what ended it.

use std::{cmp::Ordering, sync::Arc};

use super::{Certainty, TornTail, open_wal_file};
use crate::{
    disk::{Disk, DiskFile},
    entry::Position,
    error::Error,
    index::{Index, WalFile},
    layout::wide,
    manifest::Manifest,
    marks::Mark,
    names,
    record::VERSION,
    scan::{self, Batch, Record, Remains, RemainsKind, Scanned},
};

/// Files are read in pieces of this size, to let the device work while checksums are computed.
const READ_BYTES: usize = 4 << 20;

/// The log as it was found.
#[derive(Debug)]
pub(super) struct Replayed {
    /// Behind the last intact batch.
    pub(super) end: Position,
    pub(super) chain: u32,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// What was behind the end, in its own file and in files that were never begun.
    pub(super) remains: Vec<(Position, Remains)>,
    pub(super) unproven: Unproven,
}

/// The batches at the end of the last file that nothing calls durable: what was read of them may be in the cache
/// alone, where a failed sync left it.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    pub(super) offset: u32,
    pub(super) bytes: Vec<u8>,
}

impl Replayed {
    pub(super) fn torn_tail(&self) -> Option<TornTail> {
        let worst = self
            .remains
            .iter()
            .max_by_key(|(_, remains)| remains.kind)?;
        let certainty = match worst.1.kind {
            RemainsKind::Nothing => return None,
            RemainsKind::Torn => Certainty::Torn,
            RemainsKind::Ambiguous => Certainty::Ambiguous,
        };
        let file = names::wal_file(worst.0.sequence);
        Some(TornTail {
            file,
            offset: worst.0.offset.into(),
            certainty,
        })
    }
}

/// Follows the log into `index`.
pub(super) fn replay<D: Disk>(
    disk: &D,
    manifest: &Manifest,
    mark: &Mark,
    index: &mut Index<D>,
) -> Result<Replayed, Error> {
    let start = Position {
        sequence: manifest.wal_first,
        offset: 0,
    };
    let mut replay = Replay {
        manifest,
        result: Replayed {
            end: start,
            chain: 0,
            files: 0,
            bytes: 0,
            remains: Vec::new(),
            unproven: Unproven::default(),
        },
        generation: mark.generation,
        durable: mark.durable.max(manifest.durable),
        gap: None,
    };
    let mut buffer = Vec::new();
    let mut begun = true;
    for (sequence, bytes) in manifest.wal_files() {
        let file = open_wal_file(disk, sequence, bytes)?;
        read_whole(&file, sequence, bytes, &mut buffer)?;
        begun = begun && replay.file(&buffer, sequence, index)?;
        if begun {
            index.files.insert(
                sequence,
                WalFile {
                    file: Arc::new(file),
                    bytes,
                },
            );
        } else {
            replay.unused_file(&buffer, sequence);
        }
    }
    replay.judge()
}

fn read_whole(
    file: &impl DiskFile,
    sequence: u64,
    bytes: u64,
    buffer: &mut Vec<u8>,
) -> Result<(), Error> {
    let name = names::wal_file(sequence);
    buffer.resize(wide(bytes), 0);
    let mut at = 0;
    for piece in buffer.chunks_mut(READ_BYTES) {
        let read = file.read_at(piece, at);
        #[cfg(feature = "sabotage")]
        let read = match read {
            Err(_) if crate::sabotage::is_planted("unreadable log taken for empty") => {
                piece.fill(0);
                Ok(piece.len())
            }
            read => read,
        };
        let read = read.map_err(|error| Error::io("read", &name, error))?;
        at += read as u64;
        if read < piece.len() {
            return Err(Error::corrupt(&name, at, "shorter than listed"));
        }
    }
    Ok(())
}

struct Replay<'a> {
    manifest: &'a Manifest,
    result: Replayed,
    /// The newest manifest that anything in the log has seen.
    generation: u64,
    /// The furthest place that anything calls durable.
    durable: Position,
    /// An entry that follows no other.
    gap: Option<Position>,
}

impl Replay<'_> {
    /// Follows one more file. False if it was never begun, which ends the log.
    fn file<D: Disk>(
        &mut self,
        bytes: &[u8],
        sequence: u64,
        index: &mut Index<D>,
    ) -> Result<bool, Error> {
        let scanned = scan::scan(bytes, sequence, |batch| self.apply(batch, index));
        refuse_unknown_version(&scanned, sequence)?;
        let Some(first) = scanned.first else {
            return Ok(false);
        };
        let follows = self.result.files == 0
            || first.previous_end == self.result.end.offset
                && first.previous_chain == self.result.chain;
        if !follows {
            return Err(damaged(
                self.result.end,
                "the next file does not continue it",
            ));
        }
        if let Some(place) = self.gap {
            return Err(damaged(place, "an entry without the one before it"));
        }
        let end = Position {
            sequence,
            offset: scanned.end,
        };
        self.result.end = end;
        self.result.chain = scanned.chain;
        self.result.files += 1;
        self.result.bytes += bytes.len() as u64;
        self.result.unproven = self.unproven(bytes, end);
        // Only what stands behind the last file's end matters.
        self.result.remains = vec![(end, self.examine(bytes, end))];
        Ok(true)
    }

    fn unproven(&self, bytes: &[u8], end: Position) -> Unproven {
        let offset = match self.durable.sequence.cmp(&end.sequence) {
            Ordering::Less => 0,
            Ordering::Equal => self.durable.offset.min(end.offset),
            Ordering::Greater => end.offset,
        };
        let bytes = bytes[wide(offset.into())..wide(end.offset.into())].to_vec();
        Unproven { offset, bytes }
    }

    fn unused_file(&mut self, bytes: &[u8], sequence: u64) {
        let start = Position {
            sequence,
            offset: 0,
        };
        let remains = self.examine(bytes, start);
        self.result.remains.push((start, remains));
    }

    fn examine(&mut self, bytes: &[u8], from: Position) -> Remains {
        let remains = scan::examine_remains(bytes, from);
        self.durable = self.durable.max(remains.durable.unwrap_or_default());
        self.generation = self.generation.max(remains.generation);
        remains
    }

    fn apply<D: Disk>(&mut self, batch: &Batch<'_>, index: &mut Index<D>) {
        self.durable = self.durable.max(batch.begin.durable);
        self.generation = self.generation.max(batch.begin.generation);
        for record in batch.records {
            match *record {
                Record::HardState { shard, state } => {
                    index.shard(shard).hard_state = Some(state);
                }
                Record::Entry(header) => {
                    let listed = self.manifest.shards.get(&header.shard);
                    if listed.is_some_and(|listed| header.position < listed.void_before) {
                        continue;
                    }
                    let runs = &mut index.shard(header.shard).runs;
                    if runs.last().is_some_and(|last| header.index > last + 1) {
                        self.gap.get_or_insert(header.position);
                    }
                    runs.insert(header.index, header.term, header.position);
                }
            }
        }
    }

    /// Tells damage from an end that was never acknowledged.
    fn judge(self) -> Result<Replayed, Error> {
        let end = self.result.end;
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("tail cut at damage") {
            return Ok(self.result);
        }
        if self.durable > end {
            let next = Position {
                sequence: end.sequence + 1,
                offset: 0,
            };
            // The end itself is sound if the proof lies in the next file, whose begin is not.
            let place = if self.durable > next && self.result.files > 0 {
                next
            } else {
                end
            };
            return Err(damaged(place, "acknowledged records cannot be read"));
        }
        if self.generation > self.manifest.generation {
            let what = "older than the write-ahead log says";
            return Err(Error::corrupt(names::MANIFEST, 8, what));
        }
        Ok(self.result)
    }
}

fn refuse_unknown_version(scanned: &Scanned, sequence: u64) -> Result<(), Error> {
    let Some(version) = scanned.unknown_version else {
        return Ok(());
    };
    let file = names::wal_file(sequence);
    Err(Error::UnknownVersion {
        file,
        version: version.into(),
        known: VERSION.into(),
    })
}

fn damaged(place: Position, what: &'static str) -> Error {
    Error::corrupt(&names::wal_file(place.sequence), place.offset.into(), what)
}
