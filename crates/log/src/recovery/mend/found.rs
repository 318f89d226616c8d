//! Finding records in a damaged file. A message may hold what looks like records, so what is found behind damage counts
//! only where something outside of the file agrees (`walk.rs`).

use super::rewrite::PREVIOUS_END;
use crate::{
    batch::Begin,
    disk::{Disk, DiskFile, OpenMode},
    entry::Position,
    error::Error,
    layout::narrow,
    names,
    record::{HEADER_BYTES, Header, NoHeader, VERSION},
};

/// Records one behind the other, each of which knows the one before it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) records: Vec<Header>,
}

/// All that looks like records of this file.
pub(super) fn runs_of(bytes: &[u8], sequence: u64) -> Result<Vec<Run>, Error> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        let offset = narrow(at);
        let position = Position { sequence, offset };
        let header = match Header::decode(&bytes[at..at + HEADER_BYTES], position) {
            Err(NoHeader::Version(version)) => {
                return Err(Error::UnknownVersion {
                    file: names::wal_file(sequence),
                    version: version.into(),
                    known: VERSION.into(),
                });
            }
            Ok(header) if at + header.record_bytes() <= bytes.len() => header,
            _ => {
                at += 8;
                continue;
            }
        };
        at += header.record_bytes();
        let follows = runs.last_mut().filter(|run| {
            let before = run.records.last().map(Header::checksum);
            run.end == offset && before == Some(header.chain)
        });
        match follows {
            Some(run) => {
                run.records.push(header);
                run.end = narrow(at);
            }
            None => runs.push(Run {
                start: offset,
                end: narrow(at),
                records: vec![header],
            }),
        }
    }
    Ok(runs)
}

/// Where a file ends, as the one behind it says, if that was begun.
pub(super) fn end_of<D: Disk>(disk: &D, sequence: u64) -> Option<u32> {
    let sequence = sequence + 1;
    let file = disk
        .open(&names::wal_file(sequence), OpenMode::Existing)
        .ok()?;
    let mut bytes = [0; 2 * HEADER_BYTES];
    file.read_at(&mut bytes, 0).ok()?;
    let place = Position {
        sequence,
        offset: 0,
    };
    let header = Header::decode(&bytes[..HEADER_BYTES], place).ok()?;
    let payload = bytes[HEADER_BYTES..].get(..header.length as usize)?;
    let is_intact = crc32c::crc32c(payload) == header.payload_checksum;
    let begin = Begin::decode(header.kind, payload).filter(|_| is_intact)?;
    begin.previous_end.filter(|&end| end != PREVIOUS_END)
}
