//! The segments that are listed, of which only some are open at a time.
//!
//! A disk may have more segments than a process may have files. A [`Segment`] is opened when it is read;
//! those read lately stay open. Its file lives as long as anybody holds the [`Segment`], so a reader and an
//! export come to the end of one that was replaced meanwhile.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use lru::LruCache;

use super::SegmentFile;
use crate::{disk::Disk, entry::SegmentInfo, error::Error, names};

/// A segment of this disk, open or not.
#[derive(Debug)]
pub(crate) struct Segment<D: Disk> {
    info: SegmentInfo,
    shard: u16,
    files: Arc<SegmentFiles<D>>,
    /// No manifest lists it any more.
    is_replaced: AtomicBool,
}

/// The open files of a disk's segments; the least recently used are closed first.
#[derive(Debug)]
pub(crate) struct SegmentFiles<D: Disk> {
    disk: D,
    /// By the segments' numbers, which are the disk's and not the shard's.
    open: Mutex<LruCache<u64, Arc<SegmentFile<D>>>>,
}

impl<D: Disk> Segment<D> {
    /// Verifies the segment that is listed so, or is to be: everything but its records.
    pub(crate) fn verified(
        files: &Arc<SegmentFiles<D>>,
        shard: u16,
        info: SegmentInfo,
    ) -> Result<Self, Error> {
        SegmentFile::open_past_cache(&files.disk, shard, info)?;
        Ok(Self::listed(files, shard, info))
    }

    /// A segment as it is listed, whatever its file is like: whoever reads it is told.
    pub(crate) fn listed(files: &Arc<SegmentFiles<D>>, shard: u16, info: SegmentInfo) -> Self {
        Self {
            info,
            shard,
            files: Arc::clone(files),
            is_replaced: AtomicBool::new(false),
        }
    }

    pub(crate) fn info(&self) -> &SegmentInfo {
        &self.info
    }

    /// Its file, which stays open while the caller has it.
    pub(crate) fn open(&self) -> Result<Arc<SegmentFile<D>>, Error> {
        if let Some(file) = self.files.lock().get(&self.info.id) {
            return Ok(Arc::clone(file));
        }
        let file = SegmentFile::open(&self.files.disk, self.shard, self.info)?;
        let file = Arc::new(file);
        let closed = self.files.lock().push(self.info.id, Arc::clone(&file));
        // The lock is free again when the last holder closes it.
        drop(closed);
        Ok(file)
    }

    /// Removes the file once nobody holds the segment any more.
    pub(crate) fn replaced(&self) {
        self.is_replaced.store(true, Ordering::Release);
    }
}

impl<D: Disk> Drop for Segment<D> {
    fn drop(&mut self) {
        let closed = self.files.lock().pop(&self.info.id);
        drop(closed);
        if self.is_replaced.load(Ordering::Acquire) {
            // Best effort: what stays is removed when the log is opened next.
            let name = names::segment(self.shard, self.info.id);
            drop(self.files.disk.remove(&name));
        }
    }
}

impl<D: Disk> SegmentFiles<D> {
    /// Keeps so many files open, and at least one.
    pub(crate) fn new(disk: D, open_max: usize) -> Self {
        let open_max = NonZeroUsize::new(open_max).unwrap_or(NonZeroUsize::MIN);
        Self {
            disk,
            open: Mutex::new(LruCache::new(open_max)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u64, Arc<SegmentFile<D>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
