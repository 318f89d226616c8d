//! Encoding batches: what one write and one sync make durable.
//!
//! A batch is a begin record, entries and hard states, and an end record. It counts only as a whole.
//! Bodies are copied once, into a buffer that is used again.

use crate::{
    entry::{Entry, HardState, Position},
    layout::{get_u32, get_u64, narrow, put_u32, put_u64},
    record::{Header, Kind, record_bytes},
};

/// Payload of a begin record; a file's first one has [`FILE_PAYLOAD`] more.
pub(crate) const BEGIN_PAYLOAD: usize = 32;
pub(crate) const FILE_PAYLOAD: usize = 8;
pub(crate) const HARD_STATE_PAYLOAD: usize = 8;

/// Begin and end record of a batch.
pub(crate) const FRAME_BYTES: usize = record_bytes(BEGIN_PAYLOAD) + record_bytes(0);
pub(crate) const HARD_STATE_BYTES: usize = record_bytes(HARD_STATE_PAYLOAD);

/// The first batch of a file: the hard states of all shards.
pub(crate) const fn checkpoint_bytes(shards: usize) -> usize {
    FRAME_BYTES + FILE_PAYLOAD + shards * HARD_STATE_BYTES
}

/// What the begin record of a batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Everything before this place was synced when the batch was written.
    pub(crate) durable: Position,
    /// From the begin record to behind the end record.
    pub(crate) bytes: u32,
    /// The newest manifest known to be durable.
    pub(crate) generation: u64,
    /// In a file's first record: where the file before ended.
    pub(crate) previous_end: Option<u32>,
}

impl Begin {
    fn encode(&self) -> ([u8; BEGIN_PAYLOAD + FILE_PAYLOAD], usize) {
        let mut payload = [0; BEGIN_PAYLOAD + FILE_PAYLOAD];
        put_u64(&mut payload, 0, self.durable.sequence);
        put_u32(&mut payload, 8, self.durable.offset);
        put_u32(&mut payload, 12, self.bytes);
        put_u64(&mut payload, 16, self.generation);
        let Some(previous_end) = self.previous_end else {
            return (payload, BEGIN_PAYLOAD);
        };
        put_u32(&mut payload, BEGIN_PAYLOAD, previous_end);
        (payload, BEGIN_PAYLOAD + FILE_PAYLOAD)
    }

    /// Reads the payload of a begin record whose checksum was verified.
    pub(crate) fn decode(kind: Kind, payload: &[u8]) -> Option<Self> {
        let expected = match kind {
            Kind::FileBegin => BEGIN_PAYLOAD + FILE_PAYLOAD,
            Kind::BatchBegin => BEGIN_PAYLOAD,
            _ => return None,
        };
        if payload.len() != expected {
            return None;
        }
        Some(Self {
            durable: Position {
                sequence: get_u64(payload, 0),
                offset: get_u32(payload, 8),
            },
            bytes: get_u32(payload, 12),
            generation: get_u64(payload, 16),
            previous_end: (kind == Kind::FileBegin).then(|| get_u32(payload, BEGIN_PAYLOAD)),
        })
    }
}

/// Writes records behind each other into a buffer that will go to `start`.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    buffer: &'a mut Vec<u8>,
    start: Position,
    chain: u32,
    records: u32,
}

impl<'a> Encoder<'a> {
    /// `chain` is the checksum of the record before `start`.
    pub(crate) fn new(buffer: &'a mut Vec<u8>, start: Position, chain: u32) -> Self {
        buffer.clear();
        Self {
            buffer,
            start,
            chain,
            records: 0,
        }
    }

    /// The checksum of the last record.
    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    pub(crate) fn begin(&mut self, begin: &Begin) {
        let kind = if begin.previous_end.is_some() {
            Kind::FileBegin
        } else {
            Kind::BatchBegin
        };
        let (payload, length) = begin.encode();
        self.records = 0;
        self.push(kind, RecordId::default(), &payload[..length]);
    }

    /// Gives the place of the entry.
    pub(crate) fn entry(&mut self, shard: u16, entry: &Entry) -> Position {
        let id = RecordId {
            shard,
            term: entry.term,
            index: entry.index,
            detail: entry.kind.number(),
        };
        self.push(Kind::Entry, id, &entry.data)
    }

    pub(crate) fn hard_state(&mut self, shard: u16, state: &HardState) {
        let id = RecordId {
            shard,
            term: state.term,
            index: state.commit,
            detail: 0,
        };
        self.push(Kind::HardState, id, &state.vote.to_le_bytes());
    }

    pub(crate) fn end(&mut self) {
        let id = RecordId {
            detail: self.records,
            ..RecordId::default()
        };
        self.push(Kind::BatchEnd, id, &[]);
    }

    fn push(&mut self, kind: Kind, id: RecordId, payload: &[u8]) -> Position {
        let offset = self.start.offset + narrow(self.buffer.len());
        let position = Position {
            sequence: self.start.sequence,
            offset,
        };
        let header = Header {
            kind,
            shard: id.shard,
            length: narrow(payload.len()),
            position,
            term: id.term,
            index: id.index,
            payload_checksum: crc32c::crc32c(payload),
            chain: self.chain,
            detail: id.detail,
        };
        let bytes = header.encode();
        self.chain = get_u32(&bytes, bytes.len() - 4);
        self.records += 1;
        let end = self.buffer.len() + header.record_bytes();
        self.buffer.extend_from_slice(&bytes);
        self.buffer.extend_from_slice(payload);
        self.buffer.resize(end, 0);
        position
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct RecordId {
    shard: u16,
    term: u64,
    index: u64,
    detail: u32,
}
