//! Bugs planted on purpose, one at a time, to see that the tests find them. Not in any product: compiled
//! only with the feature `sabotage`.

use std::{cell::Cell, io};

use crate::disk::DiskFile;

thread_local! {
    static PLANTED: Cell<&'static str> = const { Cell::new("") };
}

/// Plants the bug of this name on this thread; an empty name removes it.
pub fn plant(name: &'static str) {
    PLANTED.set(name);
}

/// Whether this bug is planted on this thread.
pub fn is_planted(name: &str) -> bool {
    PLANTED.get() == name
}

/// What comes of an operation, but for the bug that takes its failure for done.
pub(crate) fn unless_ignored(done: io::Result<()>, bug: &str) -> io::Result<()> {
    if is_planted(bug) { Ok(()) } else { done }
}

/// How a batch ends: with a sync, but for three bugs.
pub(crate) fn end_write(written: io::Result<()>, file: &impl DiskFile) -> io::Result<()> {
    if written.is_err() && is_planted("ignored write error") {
        return Ok(());
    }
    written?;
    if is_planted("acknowledge before sync") {
        return Ok(());
    }
    match file.sync() {
        Err(_) if is_planted("ignored sync error") => Ok(()),
        synced => synced,
    }
}
