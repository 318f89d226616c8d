//! Verifying log files at rest, a few records at a time: those that are not written any more.
//!
//! A record names its place and the record before it, and the first one of a file says where the file before ended. So
//! nothing between the first record and the last can be missing or another one. A file that is recycled
//! meanwhile is looked at no more.

use std::sync::Arc;

use crate::{
    batch::Begin,
    disk::{Disk, DiskFile},
    entry::Position,
    error::Error,
    index::WalFile,
    layout::{narrow, wide},
    names,
    reader::Reader,
    record::{HEADER_BYTES, Header},
};

/// The longest record that begins a file, with room to spare.
const FIRST_RECORD_BYTES: u64 = 4096;

/// How far the log is verified; begins before all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    sequence: u64,
    offset: u32,
    /// Checksum of the record before; at the beginning of a file it is not asked for.
    chain: Option<u32>,
}

impl Verified {
    fn beginning(sequence: u64) -> Self {
        Self {
            sequence,
            ..Self::default()
        }
    }

    fn position(&self) -> Position {
        Position {
            sequence: self.sequence,
            offset: self.offset,
        }
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::corrupt(&names::wal_file(self.sequence), self.offset.into(), what)
    }
}

impl<D: Disk> Reader<D> {
    /// Verifies about `max_bytes` more of the log files that are not written any more, as the device has them; how many,
    /// or `None` behind the last file. After an error the next file's turn has come.
    pub fn verify_log(
        &self,
        verified: &mut Verified,
        max_bytes: u64,
    ) -> Result<Option<u64>, Error> {
        let Some((sequence, file)) = self.file_at_rest(verified.sequence) else {
            return Ok(None);
        };
        if sequence != verified.sequence {
            *verified = Verified::beginning(sequence);
        }
        match self.verify_records(verified, &file, max_bytes) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                *verified = Verified::beginning(sequence + 1);
                let stands = self
                    .file_at_rest(sequence)
                    .is_some_and(|(found, _)| found == sequence);
                if stands { Err(error) } else { Ok(Some(0)) }
            }
        }
    }

    /// The first file from a sequence on, unless it is the one being written.
    fn file_at_rest(&self, sequence: u64) -> Option<(u64, WalFile<D>)> {
        let index = self.shared.index();
        let (&found, file) = index.files.range(sequence..).next()?;
        (Some(found) < index.current()).then(|| (found, file.clone()))
    }

    fn verify_records(
        &self,
        verified: &mut Verified,
        file: &WalFile<D>,
        max_bytes: u64,
    ) -> Result<u64, Error> {
        let name = names::wal_file(verified.sequence);
        if verified.offset == 0 {
            let forgotten = file.file.forget_cache();
            forgotten.map_err(|error| Error::io("read", &name, error))?;
        }
        let least = HEADER_BYTES as u64;
        let mut bytes = read(file, verified.position(), max_bytes.max(least))?;
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if rest.len() < HEADER_BYTES && at > 0 {
                return Ok(at as u64);
            }
            let header = rest
                .get(..HEADER_BYTES)
                .and_then(|header| Header::decode(header, verified.position()).ok());
            let Some(header) = header else {
                self.check_end(verified)?;
                *verified = Verified::beginning(verified.sequence + 1);
                return Ok(at as u64);
            };
            if verified.chain.is_some_and(|chain| chain != header.chain) {
                return Err(verified.damaged("chain of records"));
            }
            let Some(payload) = payload(rest, &header) else {
                if at > 0 {
                    return Ok(at as u64);
                }
                bytes = read(file, verified.position(), header.record_bytes() as u64)?;
                if payload(&bytes, &header).is_none() {
                    return Err(verified.damaged("ends too early"));
                }
                continue;
            };
            if crc32c::crc32c(payload) != header.payload_checksum {
                return Err(verified.damaged("record payload"));
            }
            at += header.record_bytes();
            verified.offset += narrow(header.record_bytes());
            verified.chain = Some(header.checksum());
        }
    }

    /// Whether the records of a file end where the next file says that they do.
    fn check_end(&self, end: &Verified) -> Result<(), Error> {
        let next = Verified::beginning(end.sequence + 1);
        let file = {
            let index = self.shared.index();
            index.files.get(&next.sequence).cloned()
        };
        // Gone with the one before it.
        let Some(file) = file else { return Ok(()) };
        let bytes = read(&file, next.position(), FIRST_RECORD_BYTES)?;
        let first = bytes
            .get(..HEADER_BYTES)
            .and_then(|header| Header::decode(header, next.position()).ok());
        let begin = first.and_then(|first| {
            let payload = payload(&bytes, &first)?;
            let intact = crc32c::crc32c(payload) == first.payload_checksum;
            let begin = Begin::decode(first.kind, payload).filter(|_| intact)?;
            Some((begin.previous_end?, first.chain))
        });
        match begin {
            None => Err(next.damaged("first record")),
            Some((offset, chain)) if offset == end.offset && Some(chain) == end.chain => Ok(()),
            Some(_) => Err(end.damaged("record header")),
        }
    }
}

/// The payload behind a header, if it is at hand.
fn payload<'a>(record: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    record.get(HEADER_BYTES..HEADER_BYTES + header.length as usize)
}

/// So many bytes from a place on, or as many as the file has.
fn read<D: Disk>(file: &WalFile<D>, from: Position, bytes: u64) -> Result<Vec<u8>, Error> {
    let left = file.bytes.saturating_sub(from.offset.into());
    let mut buffer = vec![0; wide(bytes.min(left))];
    let file: &Arc<D::File> = &file.file;
    let read = file.read_at(&mut buffer, from.offset.into());
    let read = read.map_err(|error| Error::io("read", &names::wal_file(from.sequence), error))?;
    buffer.truncate(read);
    Ok(buffer)
}
