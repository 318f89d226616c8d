//! A run of messages in a few bytes each. Drawn in `docs/formats/state.md`.
//!
//! Neighbours in an entry form one run; a run says how far its entry and its time are from those of
//! the run before. The bytes are the same in memory and in a snapshot.

use std::sync::Arc;

use crate::{
    codec::{
        Error,
        wire::{Reader, Sink},
    },
    id::Sequence,
    list::Waiting,
    time::Timestamp,
};

const HEADER_BYTES: usize = 4 + 4 * 8;

/// What follows the distance to the run's entry in its first number.
mod flag {
    pub(super) const BITS: u32 = 3;
    /// More than one message: how many more than two.
    pub(super) const LENGTH: u64 = 1;
    /// The first ordinal is not the one to be expected: how much larger it is.
    pub(super) const ORDINAL: u64 = 2;
    /// The time is another than the last one: how much later, modulo 2^64.
    pub(super) const TIME: u64 = 4;
}

#[derive(Debug, Clone)]
pub(crate) struct Packed(Arc<[u8]>);

impl Packed {
    /// # Panics
    /// If there is no message.
    pub(crate) fn new(messages: impl ExactSizeIterator<Item = Waiting> + Clone) -> Self {
        let first = messages.clone().next().expect("a chunk has messages");
        let mut last = first;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 3 * messages.len());
        bytes.count(messages.len());
        bytes.put(&[0; HEADER_BYTES - 4]);
        let mut writer = Writer::new(first);
        for message in messages {
            writer.push(message, &mut bytes);
            last = message;
        }
        writer.end(&mut bytes);
        let mut ends = Vec::with_capacity(HEADER_BYTES - 4);
        for end in [first, last] {
            ends.u64(end.sequence.number());
            ends.u64(end.sent.0);
        }
        bytes[4..HEADER_BYTES].copy_from_slice(&ends);
        Self(bytes.into())
    }

    /// Reads every run, so that later readers need not doubt.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let mut left = u64::from(reader.u32()?);
        let first = read_end(&mut reader)?;
        let last = read_end(&mut reader)?;
        let mut runs = Messages::new(reader.rest(), first);
        let mut next = first.sequence.number();
        let mut sent = first.sent;
        let mut is_valid = left > 0;
        while is_valid && left > 0 {
            runs.read_run().ok_or(Error::BadValue)?;
            let start = Sequence::new(runs.index, runs.ordinal).number();
            let is_first = next == first.sequence.number();
            let starts_well = !is_first || (start == next && runs.sent == sent);
            is_valid = starts_well && start >= next && runs.sent >= sent && runs.left <= left;
            left = left.saturating_sub(runs.left);
            next = start + runs.left;
            runs.skip_run();
            sent = runs.sent;
        }
        let ends_well = runs.bytes.is_empty() && next == last.sequence.number() + 1;
        if is_valid && ends_well && sent == last.sent {
            Ok(Self(bytes.into()))
        } else {
            Err(Error::BadValue)
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        Reader::new(&self.0)
            .u32()
            .expect("checked when it was made") as usize
    }

    pub(crate) fn first(&self) -> Waiting {
        self.end(4)
    }

    pub(crate) fn last(&self) -> Waiting {
        self.end(20)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Waiting> + '_ {
        Messages::new(&self.0[HEADER_BYTES..], self.first())
    }

    fn end(&self, offset: usize) -> Waiting {
        read_end(&mut Reader::new(&self.0[offset..])).expect("checked when it was made")
    }
}

fn read_end(reader: &mut Reader<'_>) -> Result<Waiting, Error> {
    Ok(Waiting {
        sequence: reader.sequence()?,
        sent: Timestamp(reader.u64()?),
    })
}

/// Gathers messages into runs.
struct Writer {
    /// The place after the run that was written last, and its time.
    index: u64,
    ordinal: u32,
    sent: Timestamp,
    run: Option<Run>,
}

struct Run {
    first: Waiting,
    length: u32,
}

impl Writer {
    fn new(first: Waiting) -> Self {
        Self {
            index: first.sequence.index(),
            ordinal: first.sequence.ordinal(),
            sent: first.sent,
            run: None,
        }
    }

    fn push(&mut self, message: Waiting, bytes: &mut Vec<u8>) {
        if let Some(run) = &mut self.run {
            let next = run.first.sequence.number() + u64::from(run.length);
            let same_entry = run.first.sequence.index() == message.sequence.index();
            if next == message.sequence.number() && same_entry && run.first.sent == message.sent {
                run.length += 1;
                return;
            }
        }
        self.end(bytes);
        self.run = Some(Run {
            first: message,
            length: 1,
        });
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        let Some(Run { first, length }) = self.run.take() else {
            return;
        };
        let index = first.sequence.index();
        let distance = index - self.index;
        let expected = if distance == 0 { self.ordinal } else { 0 };
        let ordinal = first.sequence.ordinal() - expected;
        let time = first.sent.0.wrapping_sub(self.sent.0);
        let mut head = distance << flag::BITS;
        for (flag, value) in [
            (flag::LENGTH, u64::from(length - 1)),
            (flag::ORDINAL, u64::from(ordinal)),
            (flag::TIME, time),
        ] {
            head |= if value > 0 { flag } else { 0 };
        }
        write_number(head, bytes);
        if length > 1 {
            write_number(u64::from(length - 2), bytes);
        }
        if ordinal > 0 {
            write_number(u64::from(ordinal), bytes);
        }
        if time > 0 {
            write_number(time, bytes);
        }
        self.index = index;
        self.ordinal = first.sequence.ordinal() + length;
        self.sent = first.sent;
    }
}

/// Reads runs; ends at the first thing that is none.
struct Messages<'a> {
    bytes: &'a [u8],
    index: u64,
    ordinal: u32,
    sent: Timestamp,
    /// How many of the current run are left.
    left: u64,
}

impl<'a> Messages<'a> {
    fn new(bytes: &'a [u8], first: Waiting) -> Self {
        Self {
            bytes,
            index: first.sequence.index(),
            ordinal: first.sequence.ordinal(),
            sent: first.sent,
            left: 0,
        }
    }

    fn read_run(&mut self) -> Option<()> {
        let head = read_number(&mut self.bytes)?;
        let distance = head >> flag::BITS;
        let mut number_if = |flag: u64| match head & flag {
            0 => Some(0),
            _ => read_number(&mut self.bytes),
        };
        let more = number_if(flag::LENGTH)?;
        let skipped = number_if(flag::ORDINAL)?;
        let later = number_if(flag::TIME)?;
        self.left = 1;
        if head & flag::LENGTH != 0 {
            self.left = more.checked_add(2)?;
        }
        if distance > 0 {
            self.ordinal = 0;
        }
        self.index = self.index.checked_add(distance)?;
        let first = u64::from(self.ordinal).checked_add(skipped)?;
        let end = first.checked_add(self.left)?;
        if self.index > Sequence::INDEX_LAST || end > u64::from(Sequence::PER_ENTRY) {
            return None;
        }
        self.ordinal = u32::try_from(first).ok()?;
        self.sent = Timestamp(self.sent.0.wrapping_add(later));
        Some(())
    }
}

impl Messages<'_> {
    fn skip_run(&mut self) {
        // A run stays within its entry.
        self.ordinal += u32::try_from(self.left).expect("fewer than an entry holds");
        self.left = 0;
    }
}

impl Iterator for Messages<'_> {
    type Item = Waiting;

    fn next(&mut self) -> Option<Waiting> {
        if self.left == 0 {
            self.read_run()?;
        }
        self.left -= 1;
        let sequence = Sequence::new(self.index, self.ordinal);
        self.ordinal += 1;
        Some(Waiting {
            sequence,
            sent: self.sent,
        })
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn write_number(mut number: u64, bytes: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
