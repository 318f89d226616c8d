//! What the handles of one log share, and how a failed write stops them all.
//!
//! Locks are taken in the order of the fields. The index lock is never held over a read or write of
//! the disk, so the appender never waits for a reader.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    disk::Disk, error::Error, index::Index, log_end::LogEnd, manifest::Manifest, options::Options,
    segment::files::SegmentFiles, wal_files::PreparedFile,
};

#[derive(Debug)]
pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) options: Options,
    pub(crate) segments: Arc<SegmentFiles<D>>,
    /// Held while a batch is on its way to the disk, and by what must not meet one.
    appending: Mutex<LogEnd<D>>,
    /// The last durable manifest. Who holds it may write the next.
    manifest: Mutex<Manifest>,
    prepared: Mutex<VecDeque<PreparedFile<D>>>,
    index: RwLock<Index<D>>,
    /// Of the last durable manifest.
    generation: AtomicU64,
    next_id: AtomicU64,
    failure: OnceLock<(String, io::ErrorKind)>,
    /// The shards that this start left closed, and that are here still: they catch up with nobody.
    closed: Mutex<BTreeSet<u16>>,
    /// The replicas have what the others know, whether a manifest says so already or not.
    pub(crate) suspicion_is_over: AtomicBool,
}

const PANICKED: &str = "a thread panicked while it held the log";

impl<D: Disk> Shared<D> {
    pub(crate) fn new(
        disk: D,
        options: Options,
        segments: Arc<SegmentFiles<D>>,
        manifest: Manifest,
        prepared: VecDeque<PreparedFile<D>>,
        index: Index<D>,
        end: LogEnd<D>,
    ) -> Self {
        Self {
            disk,
            options,
            segments,
            generation: AtomicU64::new(manifest.generation),
            next_id: AtomicU64::new(manifest.next_id),
            appending: Mutex::new(end),
            manifest: Mutex::new(manifest),
            prepared: Mutex::new(prepared),
            index: RwLock::new(index),
            failure: OnceLock::new(),
            closed: Mutex::default(),
            suspicion_is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn appending(&self) -> MutexGuard<'_, LogEnd<D>> {
        self.appending.lock().expect(PANICKED)
    }

    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().expect(PANICKED)
    }

    /// Held for a moment only, whatever else is.
    pub(crate) fn closed(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.closed.lock().expect(PANICKED)
    }

    pub(crate) fn prepared(&self) -> MutexGuard<'_, VecDeque<PreparedFile<D>>> {
        self.prepared.lock().expect(PANICKED)
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index<D>> {
        self.index.read().expect(PANICKED)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index<D>> {
        self.index.write().expect(PANICKED)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A number for a new segment or snapshot file.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        match self.failure.get() {
            None => Ok(()),
            Some((file, kind)) => Err(Error::Failed {
                file: file.clone(),
                kind: *kind,
            }),
        }
    }

    /// Stops the log: after a failed write or sync nobody knows what the disk holds.
    pub(crate) fn fail(&self, file: &str, error: &io::Error) -> Error {
        let (file, kind) = self.failure.get_or_init(|| (file.to_owned(), error.kind()));
        Error::Failed {
            file: file.clone(),
            kind: *kind,
        }
    }

    /// An error of a write that nothing depends on yet: a full disk is survived, the rest is not.
    pub(crate) fn write_error(&self, file: &str, error: io::Error) -> Error {
        match Error::io("write", file, error) {
            Error::Io { source, .. } => self.fail(file, &source),
            Error::MissingFile { .. } => self.fail(file, &io::ErrorKind::NotFound.into()),
            other => other,
        }
    }

    /// Makes `next` the manifest: written aside, synced, renamed, folder synced.
    pub(crate) fn commit_manifest(
        &self,
        current: &mut Manifest,
        mut next: Manifest,
    ) -> Result<(), Error> {
        self.check_usable()?;
        next.generation = current.generation + 1;
        next.next_id = self.next_id.load(Ordering::Relaxed);
        next.durable = self.index().durable;
        if self.suspicion_is_over.load(Ordering::Relaxed) {
            next.clear_doubt(&self.closed());
        }
        next.write(&self.disk).map_err(|failure| {
            if failure.switched {
                self.fail(crate::names::MANIFEST, &failure.source)
            } else {
                self.write_error(crate::names::MANIFEST, failure.source)
            }
        })?;
        *current = next;
        self.generation.store(current.generation, Ordering::Release);
        Ok(())
    }
}
