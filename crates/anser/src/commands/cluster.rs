//! `anser cluster`: how a cluster is, which nodes leave it, and the token that holds it together.
//!
//! All but the token and the forming asks the admin port of a node; any node of the cluster will do.

mod place;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{
    client::Endpoint,
    cluster::{self, ask, table, token::Token},
    exit::Exit,
    output,
};
use place::Place;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show nodes, shards, and what is moving and why.
    Status {
        /// As the node says it, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Move everything off a node, which serves until that is done.
    Drain { node: u64 },
    /// Use a node again that was drained.
    Resume { node: u64 },
    /// Give a node up for ever: its number is not used again, and its copies are made elsewhere.
    Remove { node: u64 },
    /// Make a token file for a new cluster; copy it to every node.
    Token { file: PathBuf },
    /// Make the node of --config, which does not run yet, the first of a new cluster. The others join it.
    Form,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let place = &arguments.place;
    match arguments.action {
        Action::Status { json } => status(place, json).await,
        Action::Drain { node } => {
            set(place, node, "draining").await?;
            output::note(format_args!(
                "node {node} is being emptied: anser cluster status says how far it is"
            ));
            Ok(())
        }
        Action::Resume { node } => set(place, node, "active").await,
        Action::Remove { node } => set(place, node, "removed").await,
        Action::Token { file } => make_token(&file),
        Action::Form => form(place),
    }
}

async fn status(place: &Place, json: bool) -> Result<()> {
    let (port, text) = first_answer(place.admins()?).await?;
    if json {
        return output::answer(text.trim_end());
    }
    output::answer(table::page(&ask::read(&port, &text)?))
}

/// Of the nodes that are asked one after the other, the first that answers, and what it says.
async fn first_answer(admins: Vec<Endpoint>) -> Result<(Endpoint, String)> {
    let mut last = None;
    for port in admins {
        match ask::status_text(&port).await {
            Ok(text) => return Ok((port, text)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(nowhere))
}

async fn set(place: &Place, node: u64, state: &str) -> Result<()> {
    let token = place.token()?;
    let mut last = None;
    for port in place.admins()? {
        match ask::set_state(&port, &token, node, state).await {
            // A refusal is an answer; whoever does not answer has perhaps a neighbour who does.
            Err(error) if Exit::of(&error) == Exit::Unreachable => last = Some(error),
            answered => return answered,
        }
    }
    Err(last.unwrap_or_else(nowhere))
}

fn nowhere() -> anyhow::Error {
    Exit::Configuration.error("there is no node to ask: name one with --admin")
}

fn form(place: &Place) -> Result<()> {
    let config = place.node()?;
    cluster::form(&config)?;
    output::note(format_args!(
        "{} is the first node of a new cluster: start it with anser serve, then the others with its \
         address in cluster.join",
        config.general.data.display()
    ));
    Ok(())
}

fn make_token(file: &Path) -> Result<()> {
    let made = Token::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    if !made {
        return Err(Exit::Configuration.error(format!(
            "{} is there already: a token is never written over, for nodes may use it",
            file.display()
        )));
    }
    output::note(format_args!(
        "made {}: copy it to every node of the cluster, readable by the server's user only, and name \
         it in cluster.token_file",
        file.display()
    ));
    Ok(())
}
