//! Walking through a damaged log from record to record, and what counts of each shard.

use std::{collections::BTreeMap, io, mem, ops::Range};

use bytes::Bytes;

use super::{
    Mended, MendedShard, MendedState, entries_within,
    found::{Run, end_of, runs_of},
    rewrite::{PREVIOUS_END, Rewrite},
};
use crate::{
    batch::Begin,
    disk::{Disk, DiskFile, OpenMode},
    entry::{Entry, EntryKind, HardState, Position},
    error::Error,
    layout::{get_u64, narrow, wide},
    manifest::{Manifest, ShardManifest},
    names,
    record::{HEADER_BYTES, Header, Kind},
};

/// Files are read in pieces of this size; one that cannot be read is damaged as a whole.
const READ_BYTES: usize = 4096;

/// By shard the last entry of its snapshot, index and term; `None` if it is damaged, or there is none.
pub(super) type Covered = BTreeMap<u16, Option<(u64, u64)>>;

/// The new log's first file, the lengths of its files, and its end.
pub(super) type NewLog = (u64, Vec<u64>, Position);

pub(super) struct Walk<'a, D: Disk> {
    manifest: &'a Manifest,
    covered: Covered,
    beginning: u64,
    rewrite: Rewrite<'a, D>,
    left_out: &'a mut dyn FnMut(u16, &Entry),
    shards: BTreeMap<u16, Trace>,
    mended: Mended,
    /// The furthest place that anything calls durable.
    durable: Position,
    /// Where the last record ends that was found.
    end: Position,
    /// Files in which no record can be read, and how many bytes of each can have been written. Whether they were is only
    /// known from what is behind them.
    silent: Vec<(u64, u64)>,
    /// Files of which nothing says where they end: the last record that was found, and how many bytes they can have.
    unproved: BTreeMap<u64, (Position, u64)>,
    /// The first and the last file in which something is damaged or left out.
    damaged: Option<(u64, u64)>,
}

/// What is known of a shard so far.
#[derive(Debug)]
struct Trace {
    state: MendedState,
    /// The last entry that the new log has.
    last: Option<u64>,
    /// An entry was missing: none behind it counts.
    is_cut: bool,
    left_out: u64,
    missing: u64,
    /// The highest index of any entry.
    seen: u64,
    term: u64,
}

impl Trace {
    fn new(snapshot: Option<(u64, u64)>, listed: &ShardManifest) -> Self {
        // What a damaged snapshot covers was given out, too, and so was what an earlier mending passed.
        let covered = listed.snapshot;
        let (index, term) = covered.map_or((0, 1), |it| (it.index, it.term));
        let passed = if listed.is_forgotten() {
            0
        } else {
            listed.floor.saturating_sub(1)
        };
        Self {
            state: match snapshot {
                Some(_) => MendedState::Snapshot,
                None => MendedState::Entries,
            },
            last: None,
            is_cut: false,
            left_out: 0,
            missing: 0,
            seen: index.max(passed),
            term,
        }
    }
}

impl<'a, D: Disk> Walk<'a, D> {
    pub(super) fn new(
        manifest: &'a Manifest,
        covered: Covered,
        beginning: u64,
        rewrite: Rewrite<'a, D>,
        left_out: &'a mut dyn FnMut(u16, &Entry),
    ) -> Self {
        let shards = covered.iter().map(|(&shard, &snapshot)| {
            let listed = &manifest.shards[&shard];
            (shard, Trace::new(snapshot, listed))
        });
        Self {
            manifest,
            beginning,
            rewrite,
            left_out,
            shards: shards.collect(),
            covered,
            mended: Mended::default(),
            durable: Position::default(),
            end: Position::default(),
            silent: Vec::new(),
            unproved: BTreeMap::new(),
            damaged: None,
        }
    }

    /// Goes through all files; `durable`: up to where the log was acknowledged, as far as the mark and the manifest know.
    pub(super) fn files(&mut self, disk: &D, durable: Position) -> Result<(), Error> {
        self.durable = durable;
        for (sequence, bytes) in self.manifest.wal_files() {
            let content = self.content(disk, sequence, bytes)?;
            let next = end_of(disk, sequence);
            let marked = (durable.sequence == sequence).then_some(durable.offset);
            let has_records = self.file(&content, sequence, next.or(marked))?;
            if !has_records && !content.is_empty() {
                self.silent.push((sequence, next.map_or(bytes, u64::from)));
            } else if has_records && next.is_none() {
                self.unproved.insert(sequence, (self.end, bytes));
            }
        }
        self.note_silent();
        let end = self.end;
        if self.durable > end {
            // How much is missing of files without a record was noted with these files, or cannot be known.
            let within = self.durable.sequence == end.sequence;
            let bytes = self.durable.offset.saturating_sub(end.offset);
            let bytes = if within { bytes } else { 0 };
            self.unreadable(end, bytes.into(), "acknowledged records cannot be read");
        }
        Ok(())
    }

    /// A file without any record was written all the same if the log was durable within it, or went on behind it.
    /// The last one may have been written further than is known.
    fn note_silent(&mut self) {
        let reached = self.durable.max(self.end);
        for (sequence, bytes) in mem::take(&mut self.silent) {
            let place = Position {
                sequence,
                offset: 0,
            };
            if place < reached {
                // The file before can have lost its last records, too: only this one said where it ends.
                if let Some((end, of)) = self.unproved.remove(&sequence.saturating_sub(1)) {
                    let rest = of.saturating_sub(end.offset.into());
                    self.unreadable(end, rest, "what stood behind it cannot be known");
                }
                self.unreadable(place, bytes, "no record can be read");
            }
        }
    }

    /// What can be read of a file, zeros where nothing can.
    fn content(&mut self, disk: &D, sequence: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let name = names::wal_file(sequence);
        let place = |at| Position {
            sequence,
            offset: narrow(at),
        };
        let file = match disk.open(&name, OpenMode::Existing) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note(place(0), Error::MissingFile { file: name }, bytes);
                return Ok(Vec::new());
            }
            Err(error) => return Err(Error::io("open", &name, error)),
        };
        let mut content = vec![0; wide(bytes)];
        let mut at = 0;
        for piece in content.chunks_mut(READ_BYTES) {
            match file.read_at(piece, at as u64) {
                Ok(read) if read < piece.len() => {
                    let missing = bytes - (at + read) as u64;
                    self.unreadable(place(at + read), missing, "shorter than listed");
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    let error = Error::io("read", &name, error);
                    self.note(place(at), error, READ_BYTES as u64);
                }
            }
            at += piece.len();
        }
        Ok(content)
    }

    /// Takes the records of a file in, those before the first place where none can be read, and those behind the last
    /// such place if something outside of the file proves where they end. Anything else could be part of a message.
    /// Whether there are any.
    fn file(&mut self, bytes: &[u8], sequence: u64, end: Option<u32>) -> Result<bool, Error> {
        let mut runs = runs_of(bytes, sequence)?.into_iter();
        let Some(first) = runs.next() else {
            return Ok(false);
        };
        let begins = first.start == 0;
        let last = runs.next_back();
        let known = if begins {
            self.run(bytes, &first)?;
            first.end
        } else {
            0
        };
        let last = if begins { last } else { last.or(Some(first)) };
        let Some(last) = last else {
            return Ok(true);
        };
        let place = |offset| Position { sequence, offset };
        if end != Some(last.end) {
            let length = u64::from(last.end - known);
            self.unreadable(place(known), length, "records cannot be read");
            // How far the log went is known all the same.
            self.end = place(last.end);
            return Ok(true);
        }
        let length = u64::from(last.start - known);
        self.unreadable(place(known), length, "records cannot be read");
        self.run(bytes, &last)?;
        Ok(true)
    }

    fn run(&mut self, bytes: &[u8], run: &Run) -> Result<(), Error> {
        for header in &run.records {
            let payload = header.position.offset as usize + HEADER_BYTES;
            self.record(header, &bytes[payload..payload + header.length as usize])?;
        }
        self.end = Position {
            sequence: run.records[0].position.sequence,
            offset: run.end,
        };
        Ok(())
    }

    fn record(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        let position = header.position;
        if crc32c::crc32c(payload) != header.payload_checksum {
            let file = names::wal_file(position.sequence);
            let error = Error::corrupt(&file, position.offset.into(), "record payload");
            self.note(position, error, 0);
            if header.kind == Kind::Entry
                && let Some(trace) = self.shards.get_mut(&header.shard)
            {
                trace.seen = trace.seen.max(header.index);
            }
            return Ok(());
        }
        match header.kind {
            Kind::FileBegin | Kind::BatchBegin => {
                if let Some(begin) = Begin::decode(header.kind, payload) {
                    self.durable = self.durable.max(begin.durable);
                    self.check_end_before(position.sequence, begin.previous_end);
                }
            }
            Kind::HardState if payload.len() == 8 => {
                let state = HardState {
                    term: header.term,
                    vote: get_u64(payload, 0),
                    commit: header.index,
                };
                let is_void = self.is_void(header.shard, position);
                if !is_void {
                    self.committed(header);
                }
                self.rewrite.note_state(header.shard, state, is_void);
            }
            Kind::Entry => {
                if let Some(kind) = EntryKind::from_number(header.detail) {
                    let entry = Entry {
                        index: header.index,
                        term: header.term,
                        kind,
                        data: Bytes::copy_from_slice(payload),
                    };
                    self.entry(header.shard, position, entry)?;
                }
            }
            Kind::HardState | Kind::BatchEnd => {}
        }
        Ok(())
    }

    /// What a shard has committed it had, though its entries may be gone.
    fn committed(&mut self, header: &Header) {
        if let Some(trace) = self.shards.get_mut(&header.shard) {
            trace.seen = trace.seen.max(header.index);
        }
    }

    /// Whether an entry of a shard does not count at a place, nor what was committed then.
    fn is_void(&self, shard: u16, place: Position) -> bool {
        let listed = self.manifest.shards.get(&shard);
        listed.is_some_and(|listed| place < listed.void_before || listed.is_void(&place))
    }

    /// Whether the file before ends where this one says that it does.
    fn check_end_before(&mut self, sequence: u64, previous_end: Option<u32>) {
        let Some(offset) = previous_end.filter(|&end| end != PREVIOUS_END) else {
            return;
        };
        if self.end.sequence + 1 == sequence && self.end.offset < offset {
            let missing = u64::from(offset - self.end.offset);
            self.unreadable(self.end, missing, "records cannot be read");
        }
    }

    fn entry(&mut self, shard: u16, position: Position, entry: Entry) -> Result<(), Error> {
        if self.is_void(shard, position) {
            return Ok(());
        }
        let covered = self.covered.get(&shard).copied().flatten();
        let covered = covered.map_or(self.beginning, |(index, _)| index);
        let Some(trace) = self.shards.get_mut(&shard) else {
            // The manifest lists every shard that is used.
            return Ok(());
        };
        trace.seen = trace.seen.max(entry.index);
        trace.term = trace.term.max(entry.term);
        let next = match trace.last {
            Some(last) => last + 1,
            None => entry.index.min(covered + 1),
        };
        let missing = entry.index.saturating_sub(next);
        if missing > 0 && !trace.is_cut {
            trace.missing += missing;
            // The state does not need what the snapshot covers, though messages that were sent there are lost.
            trace.is_cut = trace.state != MendedState::Snapshot || entry.index > covered + 1;
            if trace.is_cut && trace.last.is_none() && trace.state == MendedState::Entries {
                trace.state = MendedState::Lost;
            }
        }
        if trace.is_cut {
            trace.left_out += 1;
            (self.left_out)(shard, &entry);
            note_file(&mut self.damaged, position.sequence);
            return Ok(());
        }
        trace.last = Some(entry.index);
        for index in next..entry.index {
            self.rewrite.put(shard, nothing(index, entry.term))?;
        }
        self.rewrite.put(shard, entry)
    }

    fn unreadable(&mut self, place: Position, bytes: u64, what: &'static str) {
        let file = names::wal_file(place.sequence);
        let error = Error::corrupt(&file, place.offset.into(), what);
        self.note(place, error, bytes);
    }

    fn note(&mut self, place: Position, error: Error, bytes: u64) {
        note_file(&mut self.damaged, place.sequence);
        self.mended.unreadable_bytes += bytes;
        self.mended.damage.push(error);
    }

    /// Fills up what is lost, and ends the new log. Also which of the old files are to be set aside.
    pub(super) fn end(mut self) -> Result<(Mended, NewLog, Range<u64>), Error> {
        let margin = entries_within(self.mended.unreadable_bytes);
        for (&shard, trace) in &mut self.shards {
            let covered = self.covered.get(&shard).copied().flatten();
            let covered = covered.map_or(self.beginning, |(index, _)| index);
            let known = trace.last.unwrap_or(0).max(covered);
            if trace.state == MendedState::Entries && trace.seen > known && trace.last.is_none() {
                trace.state = MendedState::Lost;
            }
            if !trace.is_cut {
                trace.missing += trace.seen.saturating_sub(known);
            }
            let passed = trace.seen.max(known) + margin;
            let is_lost = trace.state == MendedState::Lost;
            if !is_lost {
                for index in trace.last.unwrap_or(covered) + 1..=passed {
                    self.rewrite.put(shard, nothing(index, trace.term))?;
                }
            }
            let mended = MendedShard {
                state: trace.state,
                kept: if is_lost { 0 } else { known },
                left_out: trace.left_out,
                missing: trace.missing,
                passed,
                term: trace.term,
            };
            self.mended.shards.insert(shard, mended);
        }
        let log = self.rewrite.finish(&self.mended.shards)?;
        let of_damaged = self.damaged.map_or(0..0, |(first, last)| first..last + 1);
        Ok((self.mended, log, of_damaged))
    }
}

fn note_file(damaged: &mut Option<(u64, u64)>, sequence: u64) {
    let (first, last) = damaged.unwrap_or((sequence, sequence));
    *damaged = Some((first.min(sequence), last.max(sequence)));
}

/// An entry of consensus, which does nothing.
fn nothing(index: u64, term: u64) -> Entry {
    Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::new(),
    }
}
