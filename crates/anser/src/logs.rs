//! Structured logs on standard error: what happened, never bodies, secrets or signatures.

use std::io;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

use crate::exit::Exit;

const VARIABLE: &str = "ANSER_LOG";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Format {
    /// As a flag and a configuration name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// The format a configuration names; it was checked when read.
    pub fn named(name: &str) -> Self {
        if name == "json" {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// Starts the log of this process. `ANSER_LOG` wins over `filter`.
pub fn start(format: Format, filter: &str) -> Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(wanted) if !wanted.is_empty() => EnvFilter::try_new(&wanted).with_context(|| {
            Exit::Configuration.reason(format!("{VARIABLE} is no filter: {wanted}"))
        })?,
        _ => EnvFilter::try_new(filter)?,
    };
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would be told to the same standard error, which ends the process if that is gone.
        .log_internal_errors(false);
    let started = match format {
        Format::Text => builder.with_ansi(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Whether a filter can be understood.
pub fn check_filter(filter: &str) -> Result<()> {
    EnvFilter::try_new(filter).map(drop).with_context(|| {
        Exit::Configuration.reason(format!(
            "log.filter is \"{filter}\": write a level like info, or info,anser_node=debug"
        ))
    })
}
