//! Small files that must be whole or absent, and locks between processes.
//!
//! A file is replaced by writing a neighbour, syncing it, renaming it over the old one and syncing
//! the folder, so that a crash leaves the old or the new content.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

/// Makes a folder that only its owner can read; an existing one stays as it is.
pub(crate) fn make_private_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Replaces a file's content in one step. Only the owner can read the result.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = sibling(path);
    write_and_sync(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a file that must not be there yet; `false` if it is. Only the owner can read it.
pub(crate) fn create_new(path: &Path, content: &[u8]) -> Result<bool> {
    let temporary = sibling(path);
    let made = write_and_sync(&temporary, content).and_then(|()| {
        // A link, unlike a rename, fails if another process was faster.
        let linked = match fs::hard_link(&temporary, path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        fs::remove_file(&temporary)?;
        sync_folder(path)?;
        Ok(linked)
    });
    made.with_context(|| format!("cannot write {}", path.display()))
}

/// A lock that ends with this value or with the process.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until no other process holds the lock.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        let file = open_lock(path)?;
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { _file: file })
    }

    /// `None` if another process holds the lock.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open the lock file {}", path.display()))
}

/// A name that no other thread or process writes to.
fn sibling(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{write}.new", std::process::id()));
    path.with_file_name(name)
}

fn write_and_sync(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
