//! A message list in a snapshot: its arrays and chunks as they are, so that the copy goes on exactly
//! like the original.

use std::collections::VecDeque;

use crate::{
    codec::{
        Error,
        wire::{Reader, Sink},
    },
    list::{Chunk, MessageList, Waiting, packed::Packed},
};

const PACKED: u8 = 0;
const OPEN: u8 = 1;

impl MessageList {
    pub(crate) fn save(&self, sink: &mut impl Sink) {
        save_array(&self.head, sink);
        sink.count(self.middle.len());
        for chunk in self.middle.values() {
            match chunk {
                Chunk::Packed(packed) => {
                    sink.u8(PACKED);
                    sink.slice(packed.bytes());
                }
                Chunk::Open(messages) => {
                    sink.u8(OPEN);
                    save_array(messages, sink);
                }
            }
        }
        save_array(&self.tail, sink);
    }

    pub(crate) fn restore(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut list = Self {
            head: restore_array(reader)?,
            ..Self::default()
        };
        let mut last = list.head.back().copied();
        let mut chunks = Vec::new();
        for _ in 0..reader.count(1 + 4)? {
            let is_open = reader.u8()?;
            let packed = Packed::from_bytes(reader.slice()?)?;
            let first = packed.first();
            check_ascends(last, first)?;
            last = Some(packed.last());
            list.len += packed.len() as u64;
            let chunk = match is_open {
                PACKED => Chunk::Packed(packed),
                OPEN if list.open.is_none() => {
                    list.open = Some(first.sequence);
                    Chunk::Open(packed.iter().collect())
                }
                _ => return Err(Error::BadValue),
            };
            chunks.push((first.sequence, chunk));
        }
        list.middle = chunks.into_iter().collect();
        list.tail = restore_array(reader)?;
        if let Some(first) = list.tail.front() {
            check_ascends(last, *first)?;
        }
        list.len += (list.head.len() + list.tail.len()) as u64;
        if list.head.is_empty() && list.len > 0 {
            return Err(Error::BadValue);
        }
        Ok(list)
    }
}

fn check_ascends(last: Option<Waiting>, next: Waiting) -> Result<(), Error> {
    let ascends = last.is_none_or(|last| last.sequence < next.sequence && last.sent <= next.sent);
    if ascends {
        Ok(())
    } else {
        Err(Error::BadValue)
    }
}

fn save_array(messages: &VecDeque<Waiting>, sink: &mut impl Sink) {
    if messages.is_empty() {
        sink.slice(&[]);
    } else {
        sink.slice(Packed::new(messages.iter().copied()).bytes());
    }
}

fn restore_array(reader: &mut Reader<'_>) -> Result<VecDeque<Waiting>, Error> {
    let bytes = reader.slice()?;
    if bytes.is_empty() {
        return Ok(VecDeque::new());
    }
    Ok(Packed::from_bytes(bytes)?.iter().collect())
}
