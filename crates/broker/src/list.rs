//! Messages in the order of their sending: the backlog of a queue, and what it keeps for rewinding.
//!
//! Later messages were never sent earlier, so the order by sequence is also the order by time. Both
//! ends are plain arrays; between them stand chunks packed to a few bytes a message, of which at
//! most one is open because something was put into it. The head is empty only if the list is.

use std::collections::{BTreeMap, VecDeque};

use crate::{id::Sequence, time::Timestamp};

mod packed;
mod state;

use packed::Packed;

/// How many messages are packed together.
const CHUNK: usize = 512;

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) sequence: Sequence,
    pub(crate) sent: Timestamp,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MessageList {
    len: u64,
    head: VecDeque<Waiting>,
    /// By their first message.
    middle: BTreeMap<Sequence, Chunk>,
    tail: VecDeque<Waiting>,
    /// The open chunk of the middle.
    open: Option<Sequence>,
}

#[derive(Debug, Clone)]
enum Chunk {
    Packed(Packed),
    Open(VecDeque<Waiting>),
}

impl MessageList {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn first(&self) -> Option<Waiting> {
        self.head.front().copied()
    }

    pub(crate) fn last(&self) -> Option<Waiting> {
        let middle = || self.middle.last_key_value().map(|(_, chunk)| chunk.last());
        self.tail
            .back()
            .copied()
            .or_else(middle)
            .or_else(|| self.head.back().copied())
    }

    pub(crate) fn pop_first(&mut self) -> Option<Waiting> {
        let first = self.head.pop_front()?;
        self.len -= 1;
        self.refill();
        trim(&mut self.head);
        Some(first)
    }

    /// Puts a message at its place.
    ///
    /// # Panics
    /// If it is there already.
    pub(crate) fn insert(&mut self, message: Waiting) {
        self.len += 1;
        let sequence = message.sequence;
        let before_tail = self
            .tail
            .front()
            .is_none_or(|first| sequence < first.sequence);
        let chunk = || self.middle.range(..=sequence).next_back();
        if !before_tail {
            insert_sorted(&mut self.tail, message);
            self.pack_tail();
        } else if let Some((&key, chunk)) = chunk() {
            if self.tail.is_empty() && chunk.last().sequence < sequence && self.is_last(key) {
                self.tail.push_back(message);
            } else {
                self.insert_pack_ends(key, message);
            }
        } else if self.middle.is_empty() && self.tail.is_empty() && self.head.len() >= CHUNK {
            self.insert_at_full_head(message);
        } else {
            insert_sorted(&mut self.head, message);
            self.split_head();
        }
    }

    /// Takes away all messages sent before `time`.
    pub(crate) fn drop_sent_before(&mut self, time: Timestamp) -> Self {
        let kept = self.split_sent_from(time);
        std::mem::replace(self, kept)
    }

    /// Takes out the messages sent at `time` or later. Chunks move as they are.
    pub(crate) fn split_sent_from(&mut self, time: Timestamp) -> Self {
        self.close();
        let mut taken = Self::default();
        let split = |messages: &mut VecDeque<Waiting>| {
            let kept = messages.partition_point(|message| message.sent < time);
            messages.split_off(kept)
        };
        taken.tail = split(&mut self.tail);
        while let Some(chunk) = self.middle.last_entry() {
            if chunk.get().last().sent < time {
                break;
            }
            let (key, chunk) = chunk.remove_entry();
            if chunk.first().sent >= time {
                taken.len += chunk.len() as u64;
                taken.middle.insert(key, chunk);
                continue;
            }
            let mut kept = chunk.into_open();
            let upper = split(&mut kept);
            taken.len += upper.len() as u64;
            taken.put_chunk(&upper);
            self.put_chunk(&kept);
            break;
        }
        taken.head = split(&mut self.head);
        taken.len += (taken.head.len() + taken.tail.len()) as u64;
        self.len -= taken.len;
        self.refill();
        taken.refill();
        taken
    }

    /// Puts all messages of another list in. Chunks move as they are where nothing of this list
    /// stands between their messages.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        other.pack_ends();
        self.pack_ends();
        if self.middle.len() < other.middle.len() {
            std::mem::swap(self, &mut other);
        }
        for (key, chunk) in other.middle {
            let last = chunk.last().sequence;
            let neighbour = self.middle.range(..=last).next_back();
            if neighbour.is_none_or(|(_, neighbour)| neighbour.last().sequence < key) {
                self.len += chunk.len() as u64;
                self.middle.insert(key, chunk);
            } else {
                for message in chunk.into_open() {
                    self.insert(message);
                }
                self.pack_ends();
            }
        }
        self.refill();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Waiting> {
        let middle = self.middle.values().flat_map(Chunk::iter);
        let head = self.head.iter().copied();
        let messages = head.chain(middle).chain(self.tail.iter().copied());
        #[cfg(test)]
        let messages = messages.inspect(|_| crate::counting::visited());
        messages
    }

    /// The messages from `first` to `last`, both included.
    pub(crate) fn between(&self, first: Sequence, last: Sequence) -> impl Iterator<Item = Waiting> {
        let lowest = self.middle.range(..=first).next_back().map(|(key, _)| *key);
        let chunks = self.middle.range(lowest.unwrap_or(first)..);
        let middle = chunks
            .take_while(move |(key, _)| **key <= last)
            .flat_map(|(_, chunk)| chunk.iter());
        #[cfg(test)]
        let middle = middle.inspect(|_| crate::counting::visited());
        let within = move |end: &'_ VecDeque<Waiting>| {
            let start = end.partition_point(|message| message.sequence < first);
            let stop = end.partition_point(|message| message.sequence <= last);
            start..stop.max(start)
        };
        let head = self.head.range(within(&self.head)).copied();
        let tail = self.tail.range(within(&self.tail)).copied();
        let middle = middle
            .skip_while(move |message| message.sequence < first)
            .take_while(move |message| message.sequence <= last);
        head.chain(middle).chain(tail)
    }

    /// What it takes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        // Nodes of a tree filled in ascending order are little more than half full.
        let tree = self.middle.len() * 2 * (size_of::<Sequence>() + size_of::<Chunk>());
        let ends = (self.head.capacity() + self.tail.capacity()) * size_of::<Waiting>();
        tree + ends + self.middle.values().map(Chunk::memory_bytes).sum::<usize>()
    }

    fn is_last(&self, key: Sequence) -> bool {
        self.middle
            .last_key_value()
            .is_some_and(|(last, _)| *last == key)
    }

    /// A list of one full array grows at its end by a tail, so that the array can stay as it is.
    fn insert_at_full_head(&mut self, message: Waiting) {
        let last = self.head.back().expect("a full head");
        if last.sequence < message.sequence {
            self.tail.push_back(message);
        } else {
            insert_sorted(&mut self.head, message);
            self.split_head();
        }
    }

    fn insert_pack_ends(&mut self, key: Sequence, message: Waiting) {
        let mut messages = self.open_chunk(key);
        insert_sorted(&mut messages, message);
        if messages.len() >= 2 * CHUNK {
            let upper = messages.split_off(CHUNK);
            self.put_chunk(&upper);
        }
        self.middle.insert(key, Chunk::Open(messages));
    }

    /// Takes a chunk out as the open one; the one that was open before is closed.
    fn open_chunk(&mut self, key: Sequence) -> VecDeque<Waiting> {
        if self.open != Some(key) {
            self.close();
            self.open = Some(key);
        }
        let chunk = self.middle.remove(&key);
        chunk.expect("the key was found just now").into_open()
    }

    fn close(&mut self) {
        let Some(key) = self.open.take() else {
            return;
        };
        let chunk = self.middle.remove(&key).expect("the open chunk is there");
        self.put_chunk(&chunk.into_open());
    }

    fn put_chunk(&mut self, messages: &VecDeque<Waiting>) {
        if let Some(first) = messages.front() {
            let chunk = Chunk::Packed(Packed::new(messages.iter().copied()));
            self.middle.insert(first.sequence, chunk);
        }
    }

    /// Makes the first chunk the head if there is no head.
    fn refill(&mut self) {
        if !self.head.is_empty() {
            return;
        }
        if let Some((key, chunk)) = self.middle.pop_first() {
            self.open.take_if(|open| *open == key);
            self.head = chunk.into_open();
        } else if !self.tail.is_empty() {
            self.head = std::mem::take(&mut self.tail);
        }
    }

    fn pack_tail(&mut self) {
        if self.tail.len() >= 2 * CHUNK {
            let upper = self.tail.split_off(CHUNK);
            let lower = std::mem::replace(&mut self.tail, upper);
            self.put_chunk(&lower);
        }
    }

    fn split_head(&mut self) {
        if self.head.len() >= 2 * CHUNK {
            let upper = self.head.split_off(CHUNK);
            self.put_chunk(&upper);
        }
    }

    /// Packs both ends, so that the list is only its middle.
    fn pack_ends(&mut self) {
        self.close();
        for end in [
            std::mem::take(&mut self.head),
            std::mem::take(&mut self.tail),
        ] {
            self.put_chunk(&end);
        }
    }
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Chunk::Packed(packed) => packed.len(),
            Chunk::Open(messages) => messages.len(),
        }
    }

    fn first(&self) -> Waiting {
        match self {
            Chunk::Packed(packed) => packed.first(),
            Chunk::Open(messages) => messages[0],
        }
    }

    fn last(&self) -> Waiting {
        match self {
            Chunk::Packed(packed) => packed.last(),
            Chunk::Open(messages) => messages[messages.len() - 1],
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = Waiting> + '_> {
        match self {
            Chunk::Packed(packed) => Box::new(packed.iter()),
            Chunk::Open(messages) => Box::new(messages.iter().copied()),
        }
    }

    fn into_open(self) -> VecDeque<Waiting> {
        match self {
            Chunk::Packed(packed) => packed.iter().collect(),
            Chunk::Open(messages) => messages,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            // The two counts of a shared allocation.
            Chunk::Packed(packed) => packed.bytes().len() + 2 * size_of::<usize>(),
            Chunk::Open(messages) => messages.capacity() * size_of::<Waiting>(),
        }
    }
}

fn insert_sorted(messages: &mut VecDeque<Waiting>, message: Waiting) {
    if messages
        .back()
        .is_none_or(|last| last.sequence < message.sequence)
    {
        messages.push_back(message);
        return;
    }
    let place = messages.partition_point(|other| other.sequence < message.sequence);
    let is_new = messages[place].sequence != message.sequence;
    assert!(is_new, "a message was put twice into a list");
    messages.insert(place, message);
}

/// Gives back what an array no longer needs.
fn trim(messages: &mut VecDeque<Waiting>) {
    let capacity = messages.capacity();
    if messages.is_empty() && capacity > 4 {
        *messages = VecDeque::new();
    } else if capacity > 64 && messages.len() < capacity / 4 {
        messages.shrink_to(capacity / 2);
    }
}

#[cfg(test)]
mod tests;
