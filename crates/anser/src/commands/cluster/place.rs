//! Which cluster is meant: the admin ports of its nodes, and its token.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    cluster::{ask, token::Token},
    commands::dev::plan::{self, Plan},
    config::Config,
    exit::Exit,
    paths,
};

const ADMIN_DEFAULT: &str = "127.0.0.1:9325";

/// One of three ways to say it; without any, the cluster of `anser dev`, then this machine's server.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The admin port of a node, as `http://HOST:PORT` [default: `http://127.0.0.1:9325`].
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    /// The data directory of anser dev --nodes, or of one of its nodes.
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The configuration file of a node.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The file with the cluster's token, if nothing else says where it is.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

/// What a data directory or a configuration tells.
struct Found {
    admins: Vec<String>,
    token_file: Option<PathBuf>,
}

impl Place {
    /// Addresses to try, one after the other.
    pub(super) fn admins(&self) -> Result<Vec<String>> {
        if let Some(url) = &self.admin {
            return Ok(vec![ask::address_of(url)?]);
        }
        Ok(match self.found()? {
            Some(found) => found.admins,
            None => vec![ADMIN_DEFAULT.into()],
        })
    }

    /// The configuration of one node.
    pub(super) fn node(&self) -> Result<Config> {
        let file = self.config.as_ref().context(
            Exit::Configuration
                .reason("forming a cluster takes a node's configuration: name it with --config"),
        )?;
        Config::read(file)
    }

    pub(super) fn token(&self) -> Result<Token> {
        let file = match &self.token_file {
            Some(file) => Some(file.clone()),
            None => self.found()?.and_then(|found| found.token_file),
        };
        let file = file.context(Exit::Configuration.reason(
            "changing a node takes the cluster's token: name its file with --token-file, or the \
             node's configuration with --config",
        ))?;
        Token::read(&file)
    }

    fn found(&self) -> Result<Option<Found>> {
        if let Some(path) = &self.config {
            return Found::in_configuration(path).map(Some);
        }
        if let Some(data) = &self.data {
            let found = Found::in_data(data)?;
            return found.map(Some).with_context(|| {
                Exit::Configuration.reason(format!(
                    "there is no cluster of anser dev in {}: name a node's configuration with \
                     --config, or its admin port with --admin",
                    data.display()
                ))
            });
        }
        paths::dev_data().map_or(Ok(None), |data| Found::in_data(&data))
    }
}

impl Found {
    fn in_configuration(path: &Path) -> Result<Self> {
        let config = Config::read(path)?;
        Ok(Self {
            admins: vec![ask::reachable(config.admin.listen).to_string()],
            token_file: config.cluster.token_file,
        })
    }

    /// `None` if `anser dev` has made no cluster there.
    fn in_data(data: &Path) -> Result<Option<Self>> {
        if let Some(plan) = Plan::read(data) {
            let admins = plan.numbers().map(|node| plan.admin(node));
            return Ok(Some(Self {
                admins: admins
                    .map(|admin| ask::reachable(admin).to_string())
                    .collect(),
                token_file: Some(plan::token_file(data)),
            }));
        }
        match plan::settings_of(data) {
            Some(settings) => Self::in_configuration(&settings).map(Some),
            None => Ok(None),
        }
    }
}
