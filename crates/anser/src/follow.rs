//! Files that a running server follows: how one version is told from another, and the thread that looks.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

/// Tells one version of a file from another; a replaced file is another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, i64, i64, u64)>);

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| {
            (
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.len(),
            )
        }))
    }

    /// Whether there was a file that could be reached.
    pub(crate) fn is_of_a_file(self) -> bool {
        self.0.is_some()
    }
}

/// A thread that looks again and again until this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Looks first after `pause`, and after each look it pauses again; `name` is that of the thread.
    pub(crate) fn start(
        name: &str,
        pause: Duration,
        mut look: impl FnMut() + Send + 'static,
    ) -> Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    look();
                }
            })
            .with_context(|| format!("cannot start the thread {name}"))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            thread.join().ok();
        }
    }
}
