//! Bytes of one log entry: a stamp, the commands, and where each body lies.
//!
//! Bodies are numbered through the entry in the order in which they stand; the table at its end
//! finds one by that number without reading the commands.

use bytes::Bytes;

use crate::{
    codec::{
        Encoded, Error, format,
        view::{View, view},
        wire::{Reader, Sink},
    },
    id::Sequence,
    limits,
    time::{Millis, Stamp, Timestamp},
};

/// Format, stamp, and how many commands and bodies there are.
const HEADER_BYTES: usize = 1 + 8 + 8 + 4 + 4 + 4;
const TABLE_ITEM_BYTES: usize = size_of::<u32>();
const LENGTH_BYTES: usize = size_of::<u32>();

/// Packs commands into one entry.
#[derive(Debug)]
pub struct BatchBuilder {
    stamp: Stamp,
    commands: Vec<Bytes>,
    bytes: usize,
    messages: u32,
    leases: u32,
}

impl BatchBuilder {
    pub fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            commands: Vec::new(),
            bytes: HEADER_BYTES,
            messages: 0,
            leases: 0,
        }
    }

    /// Whether one more command fits. A command that does not fit into an empty batch, because it
    /// has more than [`Sequence::PER_ENTRY`] bodies, fits nowhere.
    pub fn fits(&self, encoded: &Encoded) -> bool {
        let within = |used: u32, more: u32| {
            used.checked_add(more)
                .is_some_and(|sum| sum <= Sequence::PER_ENTRY)
        };
        let bytes = self.bytes + Self::share_of(encoded);
        (self.is_empty() || bytes <= limits::ENTRY_BYTES)
            && within(self.messages, encoded.messages)
            && within(self.leases, encoded.leases)
    }

    /// # Panics
    /// If the command does not fit.
    pub fn push(&mut self, encoded: &Encoded) {
        assert!(self.fits(encoded), "a command was pushed that does not fit");
        self.bytes += Self::share_of(encoded);
        self.messages += encoded.messages;
        self.leases += encoded.leases;
        self.commands.push(encoded.bytes.clone());
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// How long [`BatchBuilder::finish`] will be.
    pub fn size(&self) -> usize {
        self.bytes
    }

    pub fn finish(self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.bytes);
        bytes.u8(format::BATCH);
        bytes.u64(self.stamp.now.0);
        bytes.u64(self.stamp.wall.0);
        bytes.u32(u32::try_from(self.stamp.blur.0).unwrap_or(u32::MAX));
        bytes.count(self.commands.len());
        bytes.u32(self.messages);
        let mut table = Vec::with_capacity(self.messages as usize);
        for command in &self.commands {
            bytes.count(command.len());
            let start = bytes.len();
            bytes.put(command);
            let view = view(command).expect("a command that was encoded here");
            if let Some(bodies) = view.bodies() {
                table.extend(bodies.offsets(command).map(|offset| start + offset));
            }
        }
        for offset in table {
            bytes.count(offset);
        }
        assert_eq!(bytes.len(), self.bytes, "a batch has another size");
        Bytes::from(bytes)
    }

    fn share_of(encoded: &Encoded) -> usize {
        LENGTH_BYTES + encoded.bytes.len() + encoded.messages as usize * TABLE_ITEM_BYTES
    }
}

/// A log entry whose bytes have been checked.
#[derive(Debug)]
pub struct Batch<'a> {
    pub stamp: Stamp,
    pub commands: Vec<View<'a>>,
}

impl<'a> Batch<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        let header = Header::read(&mut reader)?;
        if header.bodies > Sequence::PER_ENTRY {
            return Err(Error::BadValue);
        }
        // Each command has at least its length and its kind.
        if header.commands as usize > reader.remaining() / (LENGTH_BYTES + 1) {
            return Err(Error::Truncated);
        }
        let mut table = Reader::new(table(payload, header.bodies)?);
        let mut commands = Vec::with_capacity(header.commands as usize);
        for _ in 0..header.commands {
            let bytes = reader.slice()?;
            let start = payload.len() - reader.remaining() - bytes.len();
            let view = view(bytes)?;
            if let Some(bodies) = view.bodies() {
                for offset in bodies.offsets(bytes) {
                    if table.u32()? as usize != start + offset {
                        return Err(Error::BadValue);
                    }
                }
            }
            commands.push(view);
        }
        table.end()?;
        if reader.remaining() != header.bodies as usize * TABLE_ITEM_BYTES {
            return Err(Error::TrailingBytes);
        }
        Ok(Self {
            stamp: header.stamp,
            commands,
        })
    }
}

struct Header {
    stamp: Stamp,
    commands: u32,
    bodies: u32,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.u8()? {
            format::BATCH => {}
            unknown => return Err(Error::UnknownFormat(unknown)),
        }
        Ok(Self {
            stamp: Stamp {
                now: Timestamp(reader.u64()?),
                wall: Timestamp(reader.u64()?),
                blur: Millis(reader.u32()?.into()),
            },
            commands: reader.u32()?,
            bodies: reader.u32()?,
        })
    }
}

fn table(payload: &[u8], bodies: u32) -> Result<&[u8], Error> {
    let table_bytes = bodies as usize * TABLE_ITEM_BYTES;
    let start = payload.len().checked_sub(table_bytes);
    start
        .filter(|start| *start >= HEADER_BYTES)
        .map(|start| &payload[start..])
        .ok_or(Error::Truncated)
}

/// The body with this number, as a slice of the entry.
pub fn body(payload: &Bytes, ordinal: u32) -> Option<Bytes> {
    body_of(payload, ordinal).map(|body| payload.slice_ref(body))
}

/// How many bodies an entry has.
pub(super) fn bodies_of(payload: &[u8]) -> u32 {
    Header::read(&mut Reader::new(payload)).map_or(0, |header| header.bodies)
}

pub(super) fn body_of(payload: &[u8], ordinal: u32) -> Option<&[u8]> {
    let header = Header::read(&mut Reader::new(payload)).ok()?;
    if ordinal >= header.bodies {
        return None;
    }
    let mut table = Reader::new(table(payload, header.bodies).ok()?);
    table.take(ordinal as usize * TABLE_ITEM_BYTES).ok()?;
    let mut reader = Reader::new(payload);
    reader.take(table.u32().ok()? as usize).ok()?;
    reader.slice().ok()
}
