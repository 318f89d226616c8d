//! The new files: batches as the appender writes them, of which the first file follows no other.

use std::{collections::BTreeMap, mem};

use super::{MendedShard, MendedState, walk::NewLog};
use crate::{
    batch::{Begin, Encoder, FRAME_BYTES, HARD_STATE_BYTES, checkpoint_bytes},
    disk::{Disk, DiskFile, OpenMode},
    entry::{Entry, HardState, Position},
    error::Error,
    layout::{narrow, wide},
    manifest::Manifest,
    names,
    options::Options,
    record::{HEADER_BYTES, Header, record_bytes},
};

/// Says of a file's first record that the file follows no other, because a repair wrote it.
pub(super) const PREVIOUS_END: u32 = u32::MAX;
/// Entries of so many bytes make a batch.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Rewrite<'a, D: Disk> {
    disk: &'a D,
    file_bytes: usize,
    generation: u64,
    first: u64,
    /// Where the next batch goes.
    end: Position,
    chain: u32,
    /// Where the file before ends.
    previous_end: u32,
    /// The file that is being written.
    content: Vec<u8>,
    /// Lengths of those that are written.
    written: Vec<u64>,
    states: BTreeMap<u16, HardState>,
    pending: Vec<(u16, Entry)>,
    pending_bytes: usize,
    buffer: Vec<u8>,
}

impl<'a, D: Disk> Rewrite<'a, D> {
    pub(super) fn new(disk: &'a D, options: &Options, manifest: &Manifest) -> Self {
        let first = manifest.wal_end();
        let listed = manifest.wal_bytes.iter().copied().max().unwrap_or(0);
        Self {
            disk,
            // What fitted into a file of then fits into one of now.
            file_bytes: wide(options.wal_file_bytes.max(listed)),
            generation: manifest.generation,
            first,
            end: Position {
                sequence: first,
                offset: 0,
            },
            chain: 0,
            previous_end: PREVIOUS_END,
            content: Vec::new(),
            written: Vec::new(),
            states: BTreeMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            buffer: Vec::new(),
        }
    }

    /// `is_void`: what it says is committed does not count, but for its term and its vote.
    pub(super) fn note_state(&mut self, shard: u16, mut state: HardState, is_void: bool) {
        let known = self.states.entry(shard).or_default();
        if is_void {
            state.commit = state.commit.min(known.commit);
        }
        *known = state;
    }

    pub(super) fn put(&mut self, shard: u16, entry: Entry) -> Result<(), Error> {
        let bytes = record_bytes(entry.data.len());
        if self.pending_bytes + bytes > BATCH_BYTES.min(self.file_bytes / 4) {
            self.flush(&[])?;
        }
        self.pending_bytes += bytes;
        self.pending.push((shard, entry));
        Ok(())
    }

    /// Writes the terms, votes and commits that are true now, and makes all durable.
    pub(super) fn finish(mut self, shards: &BTreeMap<u16, MendedShard>) -> Result<NewLog, Error> {
        self.flush(&[])?;
        let last = shards.iter().map(|(&shard, of)| {
            let known = self.states.get(&shard).copied().unwrap_or_default();
            let is_lost = of.state == MendedState::Lost;
            let state = HardState {
                term: known.term.max(of.term),
                vote: if known.term < of.term { 0 } else { known.vote },
                commit: if is_lost {
                    0
                } else {
                    known.commit.min(of.passed)
                },
            };
            (shard, state)
        });
        let last: Vec<(u16, HardState)> = last.collect();
        self.flush(&last)?;
        self.write_file()?;
        let error = |error| Error::io("sync", names::WAL, error);
        self.disk.sync_directory(names::WAL).map_err(error)?;
        let end = Position {
            sequence: self.end.sequence - 1,
            offset: self.previous_end,
        };
        Ok((self.first, self.written, end))
    }

    /// Makes a batch of what is pending and of these states.
    fn flush(&mut self, states: &[(u16, HardState)]) -> Result<(), Error> {
        let pending = mem::take(&mut self.pending);
        let records = mem::take(&mut self.pending_bytes) + states.len() * HARD_STATE_BYTES;
        if records == 0 {
            return Ok(());
        }
        let bytes = FRAME_BYTES + records;
        if !self.content.is_empty() && self.content.len() + bytes > self.file_bytes {
            self.write_file()?;
        }
        if self.content.is_empty() {
            self.begin_file();
        }
        let begin = self.begin(bytes, None);
        let mut buffer = mem::take(&mut self.buffer);
        let mut encoder = Encoder::new(&mut buffer, self.end, self.chain);
        encoder.begin(&begin);
        for (shard, entry) in &pending {
            encoder.entry(*shard, entry);
        }
        for (shard, state) in states {
            encoder.hard_state(*shard, state);
        }
        encoder.end();
        self.chain = encoder.chain();
        self.take(buffer);
        Ok(())
    }

    /// Every file begins with a batch of the hard states, as the appender writes it.
    fn begin_file(&mut self) {
        let bytes = checkpoint_bytes(self.states.len());
        let begin = self.begin(bytes, Some(self.previous_end));
        let mut buffer = mem::take(&mut self.buffer);
        let mut encoder = Encoder::new(&mut buffer, self.end, self.chain);
        encoder.begin(&begin);
        for (shard, state) in &self.states {
            encoder.hard_state(*shard, state);
        }
        encoder.end();
        self.chain = encoder.chain();
        self.take(buffer);
    }

    fn begin(&self, bytes: usize, previous_end: Option<u32>) -> Begin {
        Begin {
            durable: self.end,
            bytes: narrow(bytes),
            generation: self.generation,
            previous_end,
        }
    }

    fn take(&mut self, buffer: Vec<u8>) {
        self.content.extend_from_slice(&buffer);
        self.end.offset = narrow(self.content.len());
        self.buffer = buffer;
    }

    fn write_file(&mut self) -> Result<(), Error> {
        let name = names::wal_file(self.end.sequence);
        let write = || {
            let file = self.disk.open(&name, OpenMode::Create)?;
            file.write_at(&self.content, 0)?;
            file.sync()
        };
        write().map_err(|error| Error::io("write", &name, error))?;
        self.written.push(self.content.len() as u64);
        self.previous_end = self.end.offset;
        self.end = Position {
            sequence: self.end.sequence + 1,
            offset: 0,
        };
        self.content.clear();
        Ok(())
    }
}

/// Whether a repair wrote this file.
pub(super) fn is_rewritten(file: &impl DiskFile, name: &str, sequence: u64) -> Result<bool, Error> {
    let mut bytes = [0; 2 * HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0);
    if read.map_err(|error| Error::io("read", name, error))? < bytes.len() {
        return Ok(false);
    }
    let place = Position {
        sequence,
        offset: 0,
    };
    let begin = Header::decode(&bytes[..HEADER_BYTES], place);
    let begin = begin.ok().and_then(|header| {
        let payload = bytes[HEADER_BYTES..].get(..header.length as usize)?;
        Begin::decode(header.kind, payload)
    });
    Ok(begin.is_some_and(|begin| begin.previous_end == Some(PREVIOUS_END)))
}
