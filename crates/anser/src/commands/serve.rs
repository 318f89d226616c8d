//! `anser serve`: a server as its configuration says.

use std::path::PathBuf;

use anser_node::Clock;
use anyhow::Result;
use clap::Args;

use crate::{config::Config, logs, output, server::Server, system};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file; docs/configuration.md explains it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, format: Option<logs::Format>) -> Result<()> {
    let config = Config::read(&arguments.config)?;
    let format = format.unwrap_or_else(|| logs::Format::named(&config.log.format));
    logs::start(format, &config.log.filter)?;
    system::keep_files_private();
    if !config.general.core_dumps {
        system::keep_memory_private();
    }
    anser_node::note_crashes(&config.general.data);
    let server = Server::start(&config, Clock::system())?;
    super::serve_until_stopped(server, announce)
}

fn announce(server: &Server) {
    output::announce(format_args!("ready {}", server.endpoint()));
}
