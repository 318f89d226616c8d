//! The `anser` program: reads the command line, runs one command, ends with its exit code.

use std::process::ExitCode;

use anser::{commands::Arguments, exit::Exit};
use clap::Parser;

#[expect(
    clippy::print_stderr,
    reason = "errors of commands are for the person who typed them"
)]
fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::of(&error).into()
        }
    }
}
