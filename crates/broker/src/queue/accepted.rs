//! What has arrived in a queue from others: the last number of each, and the sum of these, by which states are compared.

use std::collections::BTreeMap;

use crate::id::QueueId;

#[derive(Debug, Clone, Default)]
pub(super) struct Accepted {
    by_source: BTreeMap<QueueId, u64>,
    /// Modulo 2^64.
    sum: u64,
}

impl Accepted {
    pub(super) fn len(&self) -> usize {
        self.by_source.len()
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// The last number that arrived from a source.
    pub(super) fn from(&self, source: QueueId) -> Option<u64> {
        self.by_source.get(&source).copied()
    }

    pub(super) fn set(&mut self, source: QueueId, through: u64) {
        let before = self.by_source.insert(source, through).unwrap_or(0);
        self.sum = self.sum.wrapping_sub(before).wrapping_add(through);
    }

    /// Whether anything had arrived from it.
    pub(super) fn forget(&mut self, source: QueueId) -> bool {
        let before = self.by_source.remove(&source);
        self.sum = self.sum.wrapping_sub(before.unwrap_or(0));
        before.is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (QueueId, u64)> {
        let all = self.by_source.iter();
        all.map(|(&source, &through)| (source, through))
    }
}
