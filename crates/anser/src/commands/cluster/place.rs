//! Which cluster is meant: the admin ports of its nodes, and its token.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    client::Endpoint,
    cluster::{ask, token::Token},
    commands::{
        dev::plan::{self, Plan},
        queue::target::set_roots,
    },
    config::Config,
    exit::Exit,
    paths,
};

const ADMIN_DEFAULT: &str = "http://127.0.0.1:9325";

/// One of three ways to say it; without any, the cluster of `anser dev`, then this machine's server.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The admin port of a node, as `http://HOST:PORT` or `https://HOST:PORT` [default: `http://127.0.0.1:9325`].
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    /// Root certificates in PEM form to believe an https admin port by [default: `ANSER_ROOTS`, then the system's].
    #[arg(long, value_name = "FILE", global = true)]
    roots: Option<PathBuf>,
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
    /// As URLs.
    admins: Vec<String>,
    token_file: Option<PathBuf>,
}

impl Place {
    /// Admin ports to try, one after the other.
    pub(super) fn admins(&self) -> Result<Vec<Endpoint>> {
        let urls = match &self.admin {
            Some(url) => vec![url.clone()],
            None => self
                .found()?
                .map_or_else(|| vec![ADMIN_DEFAULT.into()], |found| found.admins),
        };
        let roots = self.roots.clone().or_else(set_roots);
        let ports = urls
            .iter()
            .map(|url| ask::admin_port(url, roots.as_deref()));
        ports.collect()
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
            admins: vec![admin_of(&config)?],
            token_file: config.cluster.token_file,
        })
    }

    /// `None` if `anser dev` has made no cluster there.
    fn in_data(data: &Path) -> Result<Option<Self>> {
        if let Some(plan) = Plan::read(data) {
            let admins = plan.numbers().map(|node| plan.admin(node));
            return Ok(Some(Self {
                admins: admins
                    .map(|admin| format!("http://{}", ask::reachable(admin)))
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

/// Where this machine reaches the admin port of a node with this configuration.
fn admin_of(config: &Config) -> Result<String> {
    let scheme = match config.admin.certificate_files()? {
        Some(_) => "https",
        None => "http",
    };
    Ok(format!(
        "{scheme}://{}",
        ask::reachable(config.admin.listen)
    ))
}
