//! What a device does to single sectors: it remembers what they held before, and refuses to read some.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub const SECTOR_BYTES: usize = 512;

/// Of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Sectors {
    /// What stood in a sector before it was written last, of those that had been written before.
    former: BTreeMap<usize, Bytes>,
    unreadable: BTreeSet<usize>,
}

impl From<Option<BTreeSet<usize>>> for Sectors {
    fn from(unreadable: Option<BTreeSet<usize>>) -> Self {
        Self {
            unreadable: unreadable.unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl Sectors {
    /// A stretch of the file is about to be written. What is written can be read again: the device
    /// puts it elsewhere.
    pub(super) fn written(&mut self, before: &[u8], offset: usize, length: usize) {
        let end = (offset + length).div_ceil(SECTOR_BYTES);
        for sector in offset / SECTOR_BYTES..end {
            self.unreadable.remove(&sector);
            let start = sector * SECTOR_BYTES;
            if let Some(old) = before.get(start..start + SECTOR_BYTES) {
                self.former.insert(sector, Bytes::copy_from_slice(old));
            }
        }
    }

    pub(super) fn former(&self) -> &BTreeMap<usize, Bytes> {
        &self.former
    }

    pub(super) fn unreadable(&self) -> &BTreeSet<usize> {
        &self.unreadable
    }

    pub(super) fn spoil(&mut self, sector: usize) {
        self.unreadable.insert(sector);
    }

    /// Whether a stretch of the file can be read.
    pub(super) fn are_readable(&self, offset: usize, length: usize) -> bool {
        let end = (offset + length).div_ceil(SECTOR_BYTES);
        self.unreadable
            .range(offset / SECTOR_BYTES..end)
            .next()
            .is_none()
    }
}
