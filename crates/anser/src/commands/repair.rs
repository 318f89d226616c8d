//! `anser repair`: what is damaged in a data directory, what is lost by that, and a repair that loses nothing else.
//!
//! It is for a server for itself. A node of a cluster gets what it lacks from the others, and must not go on from
//! what is left here: what it has promised to them may be among the rest.

mod report;

use std::path::{Path, PathBuf};

use anser_node::{RepairFailure, RepairMode};
use anyhow::{Context, Result};
use clap::Args;

use super::dev::plan::Plan;
use crate::{config::Config, exit::Exit, keystore::Store, output, paths, process::Claim, system};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The server's data directory [default: that of anser dev].
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The server's configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Repair: without it only what would be done is said, and nothing is changed.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = arguments.config.as_deref().map(Config::read).transpose()?;
    let named = config.is_some();
    let mut config = config.unwrap_or_default();
    if !named {
        config.general.data = match &arguments.data {
            Some(data) => data.clone(),
            None => paths::dev_data()?,
        };
    }
    let data = config.general.data.clone();
    refuse_no_data(&data)?;
    system::keep_files_private();
    let _claim = Claim::take(&data)?;
    say_keys(&data, &config);
    let mode = if arguments.yes {
        RepairMode::Repair
    } else {
        RepairMode::Try
    };
    let settings = config.storage.node(data.clone());
    let repaired = anser_node::repair(&settings, mode).map_err(|failure| failed(failure, &data))?;
    output::answer(report::text(&repaired, &data, mode))?;
    if repaired.is_whole() || arguments.yes {
        return Ok(());
    }
    let again = match &arguments.config {
        Some(file) => format!("--config {}", file.display()),
        None => format!("--data {}", data.display()),
    };
    Err(Exit::Damaged.error(format!(
        "nothing was changed. If there is a backup that has what is lost, restore that. To go on without: \
         anser repair {again} --yes"
    )))
}

/// What a repair needs of a disk.
const ROOM: &str = "It needs as much free space as the files in wal/ and the damaged segments have, and for each shard as \
     much as of the log cannot be read. What cannot be read at all, time and again, has to go to another disk first: copy the \
     directory there with a program that goes on behind what it cannot read, and repair the copy";

fn refuse_no_data(data: &Path) -> Result<()> {
    if !data.is_dir() {
        return Err(Exit::Configuration.error(format!(
            "there is no data directory {}: name it with --data or --config",
            data.display()
        )));
    }
    if Plan::read(data).is_some() {
        return Err(Exit::Configuration.error(format!(
            "{data} holds a cluster of anser dev, whose nodes get from each other what is damaged on one: start it",
            data = data.display()
        )));
    }
    Ok(())
}

/// The access keys are no part of the log, and are not changed here.
fn say_keys(data: &Path, config: &Config) {
    if !paths::keys(data).exists() {
        return;
    }
    let read = config
        .master_key_file()
        .and_then(|file| Store::open(data, &file)?.keys());
    if let Err(error) = read
        && Exit::of(&error) == Exit::Damaged
    {
        output::note(format_args!("{error:#}"));
    }
}

fn failed(failure: RepairFailure, data: &Path) -> anyhow::Error {
    let data = data.display();
    let exit = match &failure {
        damage if damage.is_damage() => Exit::Damaged,
        RepairFailure::NoLog(_) | RepairFailure::Member(_) => Exit::Configuration,
        _ => Exit::Failed,
    };
    let advice = match &failure {
        RepairFailure::Member(nodes) => {
            let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
            format!(
                "{data} is that of a node of a cluster (nodes {}), and is not repaired: what this node has acknowledged to \
                 the others could be lost, with what it has promised. Nothing need be repaired by hand: start the node, and \
                 what is damaged comes from the others. If it does not start, remove it on another node with anser cluster \
                 remove N, move {data} away, and start it with an empty one",
                nodes.join(", ")
            )
        }
        RepairFailure::NoLog(_) => "nothing was changed".into(),
        RepairFailure::CutShort(_) => format!(
            "the repair of {data} was cut short. Nothing else is lost by that, and no server starts on it: once the reason is \
             dealt with, run it again with --yes. {ROOM}"
        ),
        passing if passing.may_pass() => format!(
            "the repair of {data} could not be tried, and nothing was changed. Run it again once the reason is dealt with. \
             {ROOM}"
        ),
        _ => format!(
            "{data} cannot be repaired, and nothing was changed. Restore it from a backup; without one, keep it for whoever \
             may save something of it, and begin with an empty data directory"
        ),
    };
    let reason = exit.reason(advice);
    Err::<(), _>(failure)
        .context(reason)
        .expect_err("it is one")
}
