//! How many messages there are by where they were sent, in blocks of neighbouring entries: for those
//! states whose own order is not that of sending.

use std::collections::BTreeMap;

use crate::id::Sequence;

const BLOCK_BITS: u32 = 6;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Blocks(BTreeMap<u64, u32>);

impl Blocks {
    pub(crate) fn add(&mut self, message: Sequence) {
        *self.0.entry(block(message.index())).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, message: Sequence) {
        let block = block(message.index());
        let count = self.0.get_mut(&block);
        let count = count.expect("a message was taken away that was not there");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&block);
        }
    }

    /// Whether the blocks that these entries touch have messages; not all of a block at either end
    /// need be asked for.
    pub(crate) fn any_near(&self, first_index: u64, last_index: u64) -> bool {
        let blocks = block(first_index)..=block(last_index);
        !blocks.is_empty() && self.0.range(blocks).next().is_some()
    }

    /// Whether a block has messages whose entries are all among these.
    pub(crate) fn any_whole(&self, first_index: u64, last_index: u64) -> bool {
        let first = block(first_index.saturating_add((1 << BLOCK_BITS) - 1));
        let end = block(last_index.saturating_add(1));
        first < end && self.0.range(first..end).next().is_some()
    }
}

fn block(index: u64) -> u64 {
    index >> BLOCK_BITS
}
