//! The mark file: how far the write-ahead log is known to be durable, kept beside it.
//!
//! A mark is written without a sync, so it costs nothing, and may be lost. If it is there, it proves
//! that everything before it was acknowledged: a bad record before a mark is damage, never a torn
//! write. Two slots take turns, so that a torn mark leaves the one before.

use std::io;

use crate::{
    disk::{Disk, DiskFile, OpenMode, read_patiently},
    entry::Position,
    error::Error,
    layout::{get_u32, get_u64, put_u32, put_u64},
    names,
};

const MAGIC: u32 = u32::from_le_bytes(*b"AMRK");
const VERSION: u32 = 3;
const SLOT_BYTES: usize = 64;
const SLOT_STEP: u64 = 4096;
const FILE_BYTES: usize = 2 * 4096;
const CHECKED_BYTES: usize = 60;
/// The flag of a mark that ends writing.
const CLOSED: u32 = 1;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) durable: Position,
    /// The manifest that was durable then.
    pub(crate) generation: u64,
    /// Nothing was written after it.
    pub(crate) closed: bool,
    /// Names the time since the machine was switched on in which it was written; 0 if nobody knew.
    pub(crate) boot: u64,
    /// Every batch that changes a term or a vote ends at this place or before it.
    pub(crate) promised: Position,
    /// Grows with each mark.
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Marks<D: Disk> {
    file: D::File,
    last: Mark,
    boot: u64,
    /// What the next mark says.
    promised: Position,
    /// Both slots can be read, and their marks follow each other: so no newer one was there.
    is_newest: bool,
    /// Every slot that was written can be read: so none is missing that was synced.
    is_whole: bool,
}

impl<D: Disk> Marks<D> {
    /// Makes an empty mark file; the folder is not synced.
    pub(crate) fn create(disk: &D) -> io::Result<()> {
        match disk.remove(names::MARKS) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(names::MARKS, OpenMode::Create)?;
        file.write_at(&[0; FILE_BYTES], 0)?;
        file.sync()
    }

    pub(crate) fn open(disk: &D, boot: Option<u64>) -> Result<Self, Error> {
        let error = |error| Error::io("read", names::MARKS, error);
        let file = Self::open_or_make(disk).map_err(error)?;
        file.forget_cache().map_err(error)?;
        let mut marks = Vec::new();
        let mut unwritten = 0;
        let mut is_unreadable = false;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            match read_patiently(&file, &mut bytes, slot * SLOT_STEP) {
                Ok(SLOT_BYTES) => {}
                Ok(_) => continue,
                // One that cannot be read is as good as a damaged one.
                Err(_) if !is_unreadable => {
                    is_unreadable = true;
                    continue;
                }
                Err(reason) => return Err(error(reason)),
            }
            unwritten += usize::from(bytes == [0; SLOT_BYTES]);
            marks.extend(decode(&bytes)?);
        }
        marks.sort_by_key(|mark| mark.number);
        let last = marks.last().copied().unwrap_or_default();
        Ok(Self {
            file,
            last,
            promised: last.promised,
            boot: boot.unwrap_or(0),
            // The first mark of all stands alone.
            is_whole: marks.len() == 2 || unwritten == 1 && last.number == 1,
            is_newest: matches!(marks[..], [older, newer] if older.number + 1 == newer.number),
        })
    }

    /// The place behind which no term and no vote was changed, if the marks tell: one that is damaged may have been newer.
    pub(crate) fn promised(&self) -> Option<Position> {
        self.is_newest.then_some(self.last.promised)
    }

    /// Whether no mark is missing of a promise: a mark that is synced is replaced only by newer ones, which repeat what it says.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A term or a vote is changed by a batch that ends here.
    pub(crate) fn promise(&mut self, end: Position) {
        self.promised = end;
    }

    /// A file that is gone proves nothing any more, as one whose marks are damaged: the log is suspect then.
    fn open_or_make(disk: &D) -> io::Result<D::File> {
        match disk.open(names::MARKS, OpenMode::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::create(disk)?;
                disk.sync_directory(names::WAL)?;
                disk.open(names::MARKS, OpenMode::Existing)
            }
            opened => opened,
        }
    }

    pub(crate) fn last(&self) -> Mark {
        self.last
    }

    pub(crate) fn write(&mut self, durable: Position, generation: u64) -> io::Result<()> {
        self.put(durable, generation, false)
    }

    /// Writes a mark even if the last one says the same: that one may be in the cache alone. What no mark covered may
    /// have changed a term or a vote.
    pub(crate) fn begin(&mut self, durable: Position, generation: u64) -> io::Result<()> {
        let promised = self.promised();
        let known = promised.filter(|_| self.last.durable >= durable);
        self.promised = known.map_or(durable, |promised| promised.min(durable));
        self.put_new(self.mark(durable, generation, false))?;
        self.sync()
    }

    /// Writes the mark behind which nothing will be written.
    pub(crate) fn close(&mut self, durable: Position, generation: u64) -> io::Result<()> {
        self.put(durable, generation, true)?;
        self.sync()
    }

    fn put(&mut self, durable: Position, generation: u64, closed: bool) -> io::Result<()> {
        let mark = self.mark(durable, generation, closed);
        if self.last == mark {
            return Ok(());
        }
        self.put_new(mark)
    }

    /// A mark of this start with the number of the last one.
    fn mark(&self, durable: Position, generation: u64, closed: bool) -> Mark {
        Mark {
            durable,
            generation,
            closed,
            boot: self.boot,
            promised: self.promised,
            number: self.last.number,
        }
    }

    fn put_new(&mut self, mark: Mark) -> io::Result<()> {
        let mark = Mark {
            number: mark.number + 1,
            ..mark
        };
        // As a whole page, which need not be readable.
        let mut page = [0; FILE_BYTES / 2];
        page[..SLOT_BYTES].copy_from_slice(&encode(&mark));
        self.file.write_at(&page, mark.number % 2 * SLOT_STEP)?;
        self.last = mark;
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn encode(mark: &Mark) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    put_u32(&mut bytes, 0, MAGIC);
    put_u32(&mut bytes, 4, VERSION);
    put_u64(&mut bytes, 8, mark.number);
    put_u64(&mut bytes, 16, mark.durable.sequence);
    put_u32(&mut bytes, 24, mark.durable.offset);
    put_u32(&mut bytes, 28, if mark.closed { CLOSED } else { 0 });
    put_u64(&mut bytes, 32, mark.generation);
    put_u64(&mut bytes, 40, mark.boot);
    put_u64(&mut bytes, 48, mark.promised.sequence);
    put_u32(&mut bytes, 56, mark.promised.offset);
    let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
    put_u32(&mut bytes, CHECKED_BYTES, checksum);
    bytes
}

/// A damaged slot is no mark: marks are proofs for, never against.
fn decode(bytes: &[u8; SLOT_BYTES]) -> Result<Option<Mark>, Error> {
    let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
    if get_u32(bytes, 0) != MAGIC || get_u32(bytes, CHECKED_BYTES) != checksum {
        return Ok(None);
    }
    let version = get_u32(bytes, 4);
    if version != VERSION {
        let file = names::MARKS.to_owned();
        return Err(Error::UnknownVersion {
            file,
            version,
            known: VERSION,
        });
    }
    Ok(Some(Mark {
        number: get_u64(bytes, 8),
        durable: Position {
            sequence: get_u64(bytes, 16),
            offset: get_u32(bytes, 24),
        },
        closed: get_u32(bytes, 28) & CLOSED != 0,
        generation: get_u64(bytes, 32),
        boot: get_u64(bytes, 40),
        promised: Position {
            sequence: get_u64(bytes, 48),
            offset: get_u32(bytes, 56),
        },
    }))
}
