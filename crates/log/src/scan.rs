//! Reading one write-ahead log file: its intact batches, and what stands behind them.
//!
//! A file is a chain of batches from its first byte. The scan stops at the first byte that does not
//! continue the chain. What stands behind that place decides, in `recovery`, whether a write was cut
//! short or acknowledged data was damaged.

use crate::{
    batch::Begin,
    entry::{HardState, Position},
    layout::{get_u32, get_u64, narrow},
    record::{HEADER_BYTES, Header, Kind, MAGIC, NoHeader, record_bytes},
};

/// One intact batch.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) begin: Begin,
    /// What its first record says of the one before.
    pub(crate) first_chain: u32,
    pub(crate) records: &'a [Record],
}

/// What recovery wants from a record; bodies are not kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record {
    Entry(Header),
    HardState {
        shard: u16,
        position: Position,
        state: HardState,
    },
}

/// How far a file was intact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanned {
    pub(crate) end: u32,
    /// Checksum of the last record before `end`.
    pub(crate) chain: u32,
    /// Its first batch is intact.
    pub(crate) is_begun: bool,
    /// The version of an intact record at `end` which this program cannot read.
    pub(crate) unknown_version: Option<u8>,
}

/// Walks the batches of the file `sequence`, giving each to `visit`.
pub(crate) fn scan(bytes: &[u8], sequence: u64, mut visit: impl FnMut(&Batch<'_>)) -> Scanned {
    let mut scanned = Scanned {
        end: 0,
        chain: 0,
        is_begun: false,
        unknown_version: None,
    };
    let mut records = Vec::new();
    loop {
        let start = Position {
            sequence,
            offset: scanned.end,
        };
        let chain = scanned.is_begun.then_some(scanned.chain);
        match read_batch(bytes, start, chain, &mut records) {
            Ok(batch) => {
                scanned.is_begun = true;
                scanned.end = batch.end;
                scanned.chain = batch.chain;
                visit(&Batch {
                    begin: batch.begin,
                    first_chain: batch.first_chain,
                    records: &records,
                });
            }
            Err(NoHeader::Version(version)) => {
                scanned.unknown_version = Some(version);
                return scanned;
            }
            Err(NoHeader::Damaged) => return scanned,
        }
    }
}

struct ReadBatch {
    begin: Begin,
    first_chain: u32,
    end: u32,
    chain: u32,
}

/// Reads the batch at `start`; without a `chain` it must be the first of its file.
fn read_batch(
    bytes: &[u8],
    start: Position,
    chain: Option<u32>,
    records: &mut Vec<Record>,
) -> Result<ReadBatch, NoHeader> {
    records.clear();
    let (first, payload) = read_record(bytes, start)?;
    let kind = if chain.is_some() {
        Kind::BatchBegin
    } else {
        Kind::FileBegin
    };
    if first.kind != kind || chain.is_some_and(|chain| chain != first.chain) {
        return Err(NoHeader::Damaged);
    }
    let begin = Begin::decode(first.kind, payload).ok_or(NoHeader::Damaged)?;
    let mut previous = first;
    loop {
        let next = next_position(&previous).ok_or(NoHeader::Damaged)?;
        let (header, payload) = read_record(bytes, next)?;
        if header.chain != previous.checksum() {
            return Err(NoHeader::Damaged);
        }
        previous = header;
        match header.kind {
            Kind::Entry => records.push(Record::Entry(header)),
            Kind::HardState if payload.len() == 8 => records.push(Record::HardState {
                shard: header.shard,
                position: header.position,
                state: HardState {
                    term: header.term,
                    vote: get_u64(payload, 0),
                    commit: header.index,
                },
            }),
            Kind::BatchEnd => break,
            _ => return Err(NoHeader::Damaged),
        }
    }
    let end = next_position(&previous).ok_or(NoHeader::Damaged)?.offset;
    let counted = previous.detail as usize == records.len() + 1;
    if !counted || end - start.offset != begin.bytes {
        return Err(NoHeader::Damaged);
    }
    Ok(ReadBatch {
        begin,
        first_chain: first.chain,
        end,
        chain: previous.checksum(),
    })
}

fn next_position(header: &Header) -> Option<Position> {
    let bytes = u32::try_from(header.record_bytes()).ok()?;
    let offset = header.position.offset.checked_add(bytes)?;
    Some(Position {
        offset,
        ..header.position
    })
}

/// The record at a place, with header and payload verified.
fn read_record(bytes: &[u8], position: Position) -> Result<(Header, &[u8]), NoHeader> {
    let at = position.offset as usize;
    let header = bytes.get(at..at + HEADER_BYTES).ok_or(NoHeader::Damaged)?;
    let header = Header::decode(header, position)?;
    let payload = at + HEADER_BYTES;
    let payload = bytes
        .get(payload..payload + header.length as usize)
        .ok_or(NoHeader::Damaged)?;
    if crc32c::crc32c(payload) != header.payload_checksum {
        return Err(NoHeader::Damaged);
    }
    Ok((header, payload))
}

/// What stands behind the intact batches of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    pub(crate) kind: RemainsKind,
    /// Some record of this file stands there and must be wiped before the place is used again.
    pub(crate) any_record: bool,
    /// The furthest place that a batch found there calls durable.
    pub(crate) durable: Option<Position>,
    pub(crate) generation: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RemainsKind {
    /// Nothing of this file.
    #[default]
    Nothing,
    /// A batch whose end never reached the disk, so that it was never acknowledged.
    Torn,
    /// Damaged records: a write cut short, or acknowledged data spoilt.
    Ambiguous,
}

pub(crate) fn examine_remains(bytes: &[u8], from: Position) -> Remains {
    let mut remains = Remains::default();
    find_records(bytes, from, &mut remains);
    remains.kind = classify(bytes, from, remains.any_record);
    remains
}

/// Looks for intact headers of this file at every place where one may stand.
fn find_records(bytes: &[u8], from: Position, remains: &mut Remains) {
    let magic = MAGIC.to_le_bytes();
    let mut at = from.offset as usize;
    while at + HEADER_BYTES <= bytes.len() {
        if bytes[at..at + 4] == magic {
            let position = Position {
                sequence: from.sequence,
                offset: narrow(at),
            };
            if Header::decode(&bytes[at..at + HEADER_BYTES], position) != Err(NoHeader::Damaged) {
                remains.any_record = true;
            }
            if let Ok((header, payload)) = read_record(bytes, position)
                && let Some(begin) = Begin::decode(header.kind, payload)
            {
                remains.durable = remains.durable.max(Some(begin.durable));
                remains.generation = remains.generation.max(begin.generation);
            }
        }
        at += 8;
    }
}

fn classify(bytes: &[u8], at: Position, any_record: bool) -> RemainsKind {
    let offset = at.offset as usize;
    let Some(header) = bytes.get(offset..offset + HEADER_BYTES) else {
        return RemainsKind::Nothing;
    };
    if let Ok((first, payload)) = read_record(bytes, at)
        && first.kind.begins_batch()
        && let Some(begin) = Begin::decode(first.kind, payload)
    {
        return if end_reached_disk(bytes, at, begin.bytes) {
            RemainsKind::Ambiguous
        } else {
            RemainsKind::Torn
        };
    }
    if any_record || Header::resembles(header, at) {
        return RemainsKind::Ambiguous;
    }
    RemainsKind::Nothing
}

/// Whether the place of a batch's end record holds it, even damaged. A batch that was synced has its
/// end on disk, and one flipped bit does not make it look like never written.
fn end_reached_disk(bytes: &[u8], start: Position, batch_bytes: u32) -> bool {
    let Some(end) = start
        .offset
        .checked_add(batch_bytes)
        .and_then(|end| end.checked_sub(narrow(record_bytes(0))))
    else {
        return true;
    };
    let place = end as usize;
    let Some(header) = bytes.get(place..place + HEADER_BYTES) else {
        return true;
    };
    let position = Position {
        offset: end,
        ..start
    };
    get_u32(header, 0) == MAGIC && get_u32(header, 12) == end || Header::resembles(header, position)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        batch::{Encoder, FILE_PAYLOAD, FRAME_BYTES, HARD_STATE_BYTES},
        entry::{Entry, EntryKind},
    };

    /// A file of two batches; gives its bytes and where the first batch ends.
    fn file(bodies: &[Vec<u8>]) -> (Vec<u8>, usize) {
        let start = Position {
            sequence: 5,
            offset: 0,
        };
        let first = FRAME_BYTES + FILE_PAYLOAD + HARD_STATE_BYTES;
        let begin = Begin {
            durable: start,
            bytes: narrow(first),
            generation: 1,
            previous_end: Some(0),
        };
        let bodies_bytes: usize = bodies.iter().map(|body| record_bytes(body.len())).sum();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, start, 0);
        encoder.begin(&begin);
        encoder.hard_state(
            1,
            &HardState {
                term: 1,
                vote: 2,
                commit: 3,
            },
        );
        encoder.end();
        let length = narrow(FRAME_BYTES + bodies_bytes);
        encoder.begin(&Begin {
            bytes: length,
            previous_end: None,
            ..begin
        });
        for (index, body) in (1..).zip(bodies) {
            let data = Bytes::copy_from_slice(body);
            encoder.entry(
                1,
                &Entry {
                    index,
                    term: 1,
                    kind: EntryKind::Normal,
                    data,
                },
            );
        }
        encoder.end();
        (bytes, first)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever byte changes, batches before it count and no batch from it on does.
        #[test]
        fn a_changed_byte_ends_the_log_at_its_batch(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            place in any::<prop::sample::Index>(),
            change in 1..=255u8,
        ) {
            let (mut bytes, first) = file(&bodies);
            let whole = scan(&bytes, 5, |_| {});
            prop_assert_eq!(whole.end as usize, bytes.len());
            let at = place.index(bytes.len());
            bytes[at] ^= change;
            let end = scan(&bytes, 5, |_| {}).end as usize;
            // Padding holds nothing; the header behind it still tells where it stands.
            let before = if at < first { 0 } else { first };
            prop_assert!(end == before || end == bytes.len());
            let position = Position { sequence: 5, offset: narrow(end) };
            let remains = examine_remains(&bytes, position);
            prop_assert!(end == bytes.len() || remains.kind != RemainsKind::Nothing);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(scan(&bytes, 5, |_| {}).end, 0);
            examine_remains(&bytes, Position { sequence: 5, offset: 0 });
        }
    }
}
