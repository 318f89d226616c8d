//! How many messages of a shard are alive by where they were sent, in blocks of neighbouring entries:
//! maintenance is told what is dead without a look at any queue.
//!
//! A message counts from its sending to its end, whatever happens to it in between; one that several
//! outboxes have counts once for each.

use crate::{id::Sequence, sorted::SortedMap};

const BLOCK_BITS: u32 = 6;

#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks(SortedMap<u64, u32>);

impl Blocks {
    /// Counts messages that this entry sent.
    pub(crate) fn add(&mut self, index: u64, messages: u32) {
        if messages > 0 {
            *self.0.entry(&block(index)) += messages;
        }
    }

    /// Counts messages that were restored.
    pub(crate) fn add_all(&mut self, messages: impl IntoIterator<Item = Sequence>) {
        by_block(messages, |block, messages| {
            *self.0.entry(&block) += messages;
        });
    }

    pub(crate) fn remove(&mut self, message: Sequence) {
        self.remove_all([message]);
    }

    /// Counts messages no more that ended. It is quickest for those in the order of sending.
    pub(crate) fn remove_all(&mut self, messages: impl IntoIterator<Item = Sequence>) {
        by_block(messages, |block, messages| {
            let count = self.0.get_mut(&block);
            let left = count
                .as_deref()
                .and_then(|count| count.checked_sub(messages));
            match left.expect("a message was taken away that was not there") {
                0 => drop(self.0.remove(&block)),
                left => *count.expect("it was just seen") = left,
            }
        });
    }

    /// How many there are in the blocks that these entries touch.
    pub(crate) fn sum(&self, first_index: u64, last_index: u64) -> u64 {
        let counts = self.touched(first_index, last_index);
        counts.map(u64::from).sum()
    }

    /// Whether there is any in the blocks that these entries touch.
    pub(crate) fn any(&self, first_index: u64, last_index: u64) -> bool {
        first_index <= last_index && self.touched(first_index, last_index).next().is_some()
    }

    /// The counts of the blocks that these entries touch.
    fn touched(&self, first_index: u64, last_index: u64) -> impl Iterator<Item = u32> {
        let blocks = self.0.iter_from(&block(first_index));
        let blocks = blocks.take_while(move |(number, _)| **number <= block(last_index));
        blocks.map(|(_, count)| *count)
    }

    /// For tests: whether the counts are the same.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.0.iter().eq(other.0.iter())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

/// The first and the last index of the blocks that these entries touch.
pub(crate) fn whole(first_index: u64, last_index: u64) -> (u64, u64) {
    let rest = (1 << BLOCK_BITS) - 1;
    (first_index & !rest, last_index | rest)
}

fn block(index: u64) -> u64 {
    index >> BLOCK_BITS
}

/// Gives neighbours in a block together.
fn by_block(messages: impl IntoIterator<Item = Sequence>, mut each: impl FnMut(u64, u32)) {
    let mut row = None;
    for message in messages {
        let block = block(message.index());
        row = match row {
            Some((same, count)) if same == block => Some((block, count + 1)),
            Some((other, count)) => {
                each(other, count);
                Some((block, 1))
            }
            None => Some((block, 1)),
        };
    }
    if let Some((block, count)) = row {
        each(block, count);
    }
}
