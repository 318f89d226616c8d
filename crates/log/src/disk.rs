//! The few things the log asks of a file system.
//!
//! Three implementations: [`FileSystem`] on real files, [`simulated::SimulatedDisk`] in memory, which
//! loses what was not synced, and [`Overlay`] of one disk on another, on which changes are tried. Paths are relative to the disk's root and use `/`; the root itself is
//! the empty path.

mod file_system;
mod overlay;
pub mod simulated;

use std::{fmt, io};

pub use file_system::FileSystem;
pub use overlay::{Overlay, OverlayFile};

/// Whether a file must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    Existing,
    /// Make the file; it must not exist.
    Create,
}

/// A folder that holds everything of one log.
///
/// A new name, a rename and a removal last only once [`Disk::sync_directory`] was called on the
/// folder.
pub trait Disk: Clone + fmt::Debug + Send + Sync + 'static {
    type File: DiskFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;
    /// Replaces `to` if it exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, path: &str) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Does nothing if the folder exists.
    fn create_directory(&self, path: &str) -> io::Result<()>;
    fn sync_directory(&self, path: &str) -> io::Result<()>;
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. All methods may be called from several threads.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Reads until the buffer is full or the file ends; gives the number of bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `data`.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the content durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Asks for clean pages to be dropped from the cache, so that the next read comes from the device. The system need
    /// not do so: nothing may depend on it.
    fn forget_cache(&self) -> io::Result<()>;
}

/// How often something is read at a start before it counts as unreadable.
const READ_TRIES: usize = 3;

/// As [`DiskFile::read_at`], again if that fails: it may pass.
pub(crate) fn read_patiently(
    file: &impl DiskFile,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut tries = 1;
    loop {
        match file.read_at(buffer, offset) {
            Err(_) if tries < READ_TRIES => tries += 1,
            read => return read,
        }
    }
}
