//! What commands print: answers on standard output, notes for people on standard error.
//!
//! `println!` and `eprintln!` end the process when nobody reads any more; a server must live on, and
//! a command whose reader has gone ends without a word.
//!
//! Much of what is printed was written by others: messages, answers of web servers, what a server says. A
//! terminal would obey the control characters in it, so it gets them in letters; files and pipes get
//! what was sent.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
    io::{self, IsTerminal, Write},
};

use anyhow::{Context, Result};

/// Whoever read the answer has gone. What was asked for was done.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the answer")]
pub struct ReaderGone;

/// A line of a command's answer.
pub(crate) fn answer(text: impl Display) -> Result<()> {
    let mut output = io::stdout().lock();
    let text = text.to_string();
    let text = shown(&text, output.is_terminal());
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write the answer"),
    }
}

/// A text of others, as standard output gets it.
pub(crate) fn received(text: &str) -> Cow<'_, str> {
    shown(text, io::stdout().is_terminal())
}

/// For a terminal, control characters other than line ends and tabs are written as JSON writes them.
fn shown(text: &str, is_terminal: bool) -> Cow<'_, str> {
    let obeyed = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !is_terminal || !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        if obeyed(letter) {
            write!(harmless, "\\u{:04x}", u32::from(letter)).expect("a string takes all text");
        } else {
            harmless.push(letter);
        }
    }
    Cow::Owned(harmless)
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
    let mut output = io::stderr().lock();
    let text = text.to_string();
    writeln!(output, "{}", shown(&text, output.is_terminal())).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_finding_12_a_terminal_gets_no_control_characters_of_others_and_a_pipe_gets_all() {
        let text = "a\u{1b}]0;title\u{7}b\r\u{9b}31m\u{8}\u{7f}\tc\n\u{e9}";
        assert_eq!(shown(text, false), text);
        let harmless = "a\\u001b]0;title\\u0007b\\u000d\\u009b31m\\u0008\\u007f\tc\n\u{e9}";
        assert_eq!(shown(text, true), harmless);
    }

    #[test]
    fn json_stays_json_for_a_terminal() {
        let text = serde_json::to_string("a\u{9b}b\u{1b}").unwrap();
        let read: String = serde_json::from_str(&shown(&text, true)).unwrap();
        assert_eq!(read, "a\u{9b}b\u{1b}");
    }
}
