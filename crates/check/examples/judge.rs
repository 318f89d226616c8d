//! Judges a history file again: `cargo run -p anser-check --example judge FILE`.

#![expect(clippy::print_stdout, reason = "a tool for the command line")]

use std::{env, error::Error, fs::File, io::BufReader};

use anser_check::{History, judge};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("which history? give its file")?;
    let history = History::read(BufReader::new(File::open(path)?))?;
    let report = judge(&history)?;
    println!("{report}");
    if report.passed() {
        Ok(())
    } else {
        Err("the history breaks promises".into())
    }
}
