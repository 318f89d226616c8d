//! What commands print: answers on standard output, notes for people on standard error.
//!
//! `println!` and `eprintln!` end the process when nobody reads any more; a server must live on, and
//! a command whose reader has gone ends without a word.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::{Context, Result};

/// Whoever read the answer has gone. What was asked for was done.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the answer")]
pub struct ReaderGone;

/// A line of a command's answer.
pub(crate) fn answer(text: impl Display) -> Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write the answer"),
    }
}

/// A line on standard output for whoever may wait for it, of a process that goes on without.
pub(crate) fn announce(text: impl Display) {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .ok();
}

/// A line for the person at the terminal, if there is one.
pub fn note(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}
