//! The `anser` program: reads the command line, runs one command, ends with its exit code.

use std::process::ExitCode;

use anser::{
    commands::Arguments,
    exit::Exit,
    output::{self, ReaderGone},
};
use clap::Parser;
use mimalloc::MiMalloc;

/// A request takes and gives back dozens of pieces of memory, many of them on another thread than took them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("error: {error:#}"));
            Exit::of(&error).into()
        }
    }
}
