//! Reading the write-ahead log from its first file to its end, and judging what ended it.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{
    Certainty, TornTail,
    holes::{Holes, Tail},
    open_wal_file,
    tail::BEGIN_BYTES,
};
use crate::{
    disk::{Disk, DiskFile, OpenMode, read_patiently},
    entry::{HardState, Position},
    error::Error,
    index::{Index, WalFile},
    layout::wide,
    manifest::{Hole, Manifest},
    marks::Marks,
    names,
    options::Options,
    record::{Header, VERSION},
    scan::{self, Batch, Record, Remains, RemainsKind, Scanned},
};

/// Files are read in pieces of this size, to let the device work while checksums are computed.
const READ_BYTES: usize = 4 << 20;
/// The least that a device gives or refuses.
const SECTOR_BYTES: usize = 4 << 10;
/// So many of a file may be unreadable.
const BAD_SECTORS_MAX: usize = 8;

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
    pub(super) holes: Holes,
    /// Listed files that are gone, shorter than listed, or cannot be read in places, and the first such place of each.
    pub(super) incomplete: BTreeMap<u64, u64>,
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

impl Replayed {
    /// A file is named once, and where it is short, not where that was noticed.
    fn note_unreadable(&mut self, place: (u64, u64)) {
        let known = &mut self.holes.unreadable;
        if known.iter().all(|(sequence, _)| *sequence != place.0) {
            known.push(place);
        }
    }
}

/// Follows the log into `index`.
pub(super) fn replay<D: Disk>(
    disk: &D,
    options: &Options,
    manifest: &Manifest,
    marks: &Marks<D>,
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
            holes: Holes::default(),
            incomplete: BTreeMap::new(),
        },
        has_peers: options.has_peers,
        generation: marks.last().generation,
        durable: marks.last().durable.max(manifest.durable),
        gap: None,
        broken: None,
        unreadable: None,
    };
    let mut buffer = Vec::new();
    // Files that do not begin: damaged, or behind the end of the log.
    let mut waiting = Vec::new();
    for (sequence, bytes) in manifest.wal_files() {
        let file = replay.open(disk, sequence, bytes, &mut buffer)?;
        let is_begun = replay.file(&buffer, sequence, index)?;
        waiting.push((
            sequence,
            WalFile {
                file: Arc::new(file),
                bytes,
            },
        ));
        if is_begun {
            index.files.extend(waiting.drain(..));
        } else {
            replay.unused_file(&buffer, sequence);
        }
    }
    replay.judge(marks, index)
}

/// The first place of a file at which nothing can be read, and why.
type Missing = Option<(u64, Error)>;

/// Reads a file into the buffer, with zeros where nothing can be read. A device that gives nothing of it at all, or fails at
/// many places, is no damage but a fault that may pass, and an error.
fn read_whole(
    file: &impl DiskFile,
    name: &str,
    bytes: u64,
    buffer: &mut Vec<u8>,
) -> Result<Missing, Error> {
    buffer.resize(wide(bytes), 0);
    let mut missing = None;
    let mut bad_sectors = 0;
    for (at, piece) in (0..).step_by(READ_BYTES).zip(buffer.chunks_mut(READ_BYTES)) {
        let found = match read_patiently(file, piece, at) {
            Ok(read) => shorter(name, piece, read, at),
            #[cfg(feature = "sabotage")]
            Err(_) if crate::sabotage::is_planted("unreadable log taken for empty") => {
                piece.fill(0);
                None
            }
            Err(_) => read_in_sectors(file, name, piece, at, &mut bad_sectors)?,
        };
        missing = missing.or(found);
    }
    match missing {
        Some((_, reason)) if bad_sectors as u64 * SECTOR_BYTES as u64 >= bytes => Err(reason),
        missing => Ok(missing),
    }
}

/// Where a read fails, what is around the bad place can mostly be read.
fn read_in_sectors(
    file: &impl DiskFile,
    name: &str,
    piece: &mut [u8],
    from: u64,
    bad_sectors: &mut usize,
) -> Result<Missing, Error> {
    let mut missing = None;
    let sectors = piece.chunks_mut(SECTOR_BYTES);
    for (at, sector) in (from..).step_by(SECTOR_BYTES).zip(sectors) {
        let found = match read_patiently(file, sector, at) {
            Ok(read) => shorter(name, sector, read, at),
            Err(error) => {
                let reason = Error::io("read", name, error);
                *bad_sectors += 1;
                if *bad_sectors > BAD_SECTORS_MAX {
                    return Err(reason);
                }
                sector.fill(0);
                Some((at, reason))
            }
        };
        missing = missing.or(found);
    }
    Ok(missing)
}

fn shorter(name: &str, piece: &mut [u8], read: usize, at: u64) -> Missing {
    piece[read..].fill(0);
    let end = at + read as u64;
    (read < piece.len()).then(|| (end, Error::corrupt(name, end, "shorter than listed")))
}

struct Replay<'a> {
    manifest: &'a Manifest,
    result: Replayed,
    has_peers: bool,
    /// The newest manifest that anything in the log has seen.
    generation: u64,
    /// The furthest place that anything calls durable.
    durable: Position,
    /// An entry that follows no other.
    gap: Option<Position>,
    /// Where the log does not go on, though it should.
    broken: Option<Position>,
    /// What could not be read first, where nobody else has it. Behind the end of the log it does not matter.
    unreadable: Option<Error>,
}

impl Replay<'_> {
    /// Opens and reads a file; one that is gone is made anew if others have what was in it.
    fn open<D: Disk>(
        &mut self,
        disk: &D,
        sequence: u64,
        bytes: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<D::File, Error> {
        let name = names::wal_file(sequence);
        let file = match open_wal_file(disk, sequence) {
            Err(Error::MissingFile { .. }) if self.has_peers => {
                let made = disk.open(&name, OpenMode::Create);
                made.map_err(|error| Error::io("make", &name, error))?
            }
            opened => opened?,
        };
        if let Some((place, reason)) = read_whole(&file, &name, bytes, buffer)? {
            self.result.incomplete.insert(sequence, place);
            if self.has_peers {
                self.result.holes.unreadable.push((sequence, place));
            } else {
                self.unreadable.get_or_insert(reason);
            }
        }
        Ok(file)
    }

    /// Follows one more file. False if it was never begun, which ends the log, or its beginning cannot be read.
    fn file<D: Disk>(
        &mut self,
        bytes: &[u8],
        sequence: u64,
        index: &mut Index<D>,
    ) -> Result<bool, Error> {
        let scanned = scan::scan(bytes, sequence, |batch| {
            self.arrive(batch, sequence, index);
            self.apply(batch, index);
        });
        refuse_unknown_version(&scanned, sequence)?;
        if let Some(place) = self.broken {
            return Err(self.loss(place, "the next file does not continue it"));
        }
        if let Some(place) = self.gap {
            return Err(self.loss(place, "an entry without the one before it"));
        }
        if !scanned.is_begun {
            return Ok(false);
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

    /// A file begins: either where the one before ended, or there is a hole between them.
    fn arrive<D: Disk>(&mut self, batch: &Batch<'_>, sequence: u64, index: &Index<D>) {
        let Some(previous_end) = batch.begin.previous_end else {
            return;
        };
        let from = self.result.end;
        let follows = if self.result.files == 0 {
            sequence == self.manifest.wal_first
        } else {
            previous_end == from.offset && batch.first_chain == self.result.chain
        };
        if follows {
            return;
        }
        if !self.has_peers {
            self.broken.get_or_insert(from);
            return;
        }
        let hole = Hole { from, to: sequence };
        let between = (from.sequence + 1..sequence).map(|sequence| (sequence, 0));
        self.result
            .note_unreadable((from.sequence, from.offset.into()));
        between.for_each(|place| self.result.note_unreadable(place));
        self.result.holes.cross(hole, self.manifest, index);
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
                Record::HardState {
                    shard,
                    position,
                    state,
                } => self.promise(position, shard, state, index),
                Record::Entry(header) => self.entry(header, index),
            }
        }
    }

    fn promise<D: Disk>(&self, at: Position, shard: u16, state: HardState, index: &mut Index<D>) {
        let mut state = self.result.holes.hard_state(shard, state);
        let known = index.shard(shard).hard_state.unwrap_or_default();
        if let Some(listed) = self.manifest.shards.get(&shard)
            && listed.is_void(&at)
        {
            state.commit = state.commit.min(known.commit);
        }
        index.shard(shard).hard_state = Some(state);
    }

    fn entry<D: Disk>(&mut self, header: Header, index: &mut Index<D>) {
        let listed = self.manifest.shards.get(&header.shard);
        let is_void = listed.is_some_and(|listed| {
            header.position < listed.void_before || listed.is_void(&header.position)
        });
        if is_void || !self.result.holes.admit(&header, listed, index) {
            return;
        }
        // Behind a hole a shard may go on behind its snapshot, and does so for good.
        let may_skip = listed.is_some_and(|listed| {
            let covered = listed.snapshot.map_or(0, |snapshot| snapshot.index);
            listed.damaged && header.index <= covered + 1
        });
        let runs = &mut index.shard(header.shard).runs;
        let skips = runs.last().is_some_and(|last| header.index > last + 1);
        if skips && !may_skip && self.result.holes.is_empty() {
            self.gap.get_or_insert(header.position);
        }
        runs.insert(header.index, header.term, header.position);
    }

    /// Tells damage from an end that was never acknowledged.
    fn judge<D: Disk>(mut self, marks: &Marks<D>, index: &mut Index<D>) -> Result<Replayed, Error> {
        let end = self.result.end;
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_planted("tail cut at damage") {
            return Ok(self.result);
        }
        if self.generation > self.manifest.generation {
            let what = "older than the write-ahead log says";
            return Err(Error::corrupt(names::MANIFEST, 8, what));
        }
        if self.durable > end && !self.has_peers {
            let place = self.place_of_loss();
            return Err(self.loss(place, "acknowledged records cannot be read"));
        }
        if self.may_hold_more()
            && let Some(reason) = self.unreadable.take()
        {
            return Err(reason);
        }
        if self.durable > end {
            let place = self.place_of_loss();
            self.result
                .note_unreadable((place.sequence, place.offset.into()));
        }
        self.result.holes.tail = self.tail(marks);
        if self.result.holes.tail.is_some() {
            self.result
                .note_unreadable((end.sequence, end.offset.into()));
        }
        self.result.holes.close(end, self.manifest, index);
        Ok(self.result)
    }

    /// What is missing at the end. Of what nothing calls durable nobody has heard a promise, unless what called it durable
    /// is missing too.
    fn tail<D: Disk>(&self, marks: &Marks<D>) -> Option<Tail> {
        let end = self.result.end;
        // Behind this place no term and no vote was changed.
        let promised = marks.promised();
        if self.durable > end {
            // Without a file before it nothing says what was promised earlier.
            let is_known = self.result.files > 0;
            let is_promised = !is_known || promised.is_none_or(|promised| promised > end);
            return Some(if is_promised {
                Tail::Promises
            } else {
                Tail::Entries
            });
        }
        // Behind a mark that closed the log nothing was written.
        let is_closed = marks.is_whole() && marks.last().closed && marks.last().durable == end;
        let may_hold_more = !is_closed && self.may_hold_more();
        let mut remains = self.result.remains.iter();
        // The mark that called it durable may be the one that is damaged.
        let is_begun = remains.any(|(_, it)| it.kind != RemainsKind::Nothing);
        if self.has_peers && !marks.is_whole() && (may_hold_more || is_begun) {
            return Some(Tail::Promises);
        }
        may_hold_more.then_some(Tail::Entries)
    }

    /// Whether a batch may have stood behind the end that cannot be read. A file is synced before the next one is touched, so it
    /// began in one of these two; and of one that began the beginning could be read.
    fn may_hold_more(&self) -> bool {
        let end = self.result.end;
        let begins = [(end.sequence, end.offset), (end.sequence + 1, 0)];
        begins.into_iter().any(|(sequence, offset)| {
            let missing = self.result.incomplete.get(&sequence);
            let mut remains = self.result.remains.iter();
            let found = remains.find(|(place, _)| place.sequence == sequence);
            let is_begun = found.is_some_and(|(_, it)| it.kind != RemainsKind::Nothing);
            let beginning = u64::from(offset) + BEGIN_BYTES as u64;
            missing.is_some_and(|&place| is_begun || place < beginning)
        })
    }

    /// What to say of a log that does not go on at a place, where nobody else has the rest.
    fn loss(&mut self, place: Position, what: &'static str) -> Error {
        let unreadable = self.unreadable.take();
        unreadable.unwrap_or_else(|| damaged(place, what))
    }

    /// The end itself is sound if the proof lies in the next file, whose begin is not.
    fn place_of_loss(&self) -> Position {
        let end = self.result.end;
        let next = Position {
            sequence: end.sequence + 1,
            offset: 0,
        };
        if self.durable > next && self.result.files > 0 {
            next
        } else {
            end
        }
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
