//! `anser config`: is this file right, and what could be in it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    config::{Config, reference},
    output,
};

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Arguments {
    /// Say whether this configuration file is right, and end with code 78 if not.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Print every setting with its default and range, as in docs/configuration.md.
    #[arg(long)]
    print_reference: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.check {
        Config::read(path)?;
        output::answer(format_args!("{} is right", path.display()))
    } else {
        output::answer(reference::page().trim_end())
    }
}
