//! `anser dev`: one node for development, from nothing to serving with one command.
//!
//! Standard output gets the one line `ready http://…`; all that is for people goes to standard error.
//! The key pair is kept between runs, and `dev.json` tells the other commands where the server is.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anser_node::Clock;
use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    exit::Exit,
    files,
    keystore::{Key, Store},
    logs, output, paths,
    process::Claim,
    server::Server,
    system,
};

const KEY_NOTE: &str = "made by anser dev";

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where data is kept [default: a folder of this user].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where clients connect; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 9324)))]
    listen: SocketAddr,
    /// Where metrics and health checks are served.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 9325)))]
    admin: SocketAddr,
    /// The access key to accept [default: one that is made once and kept].
    #[arg(long, value_name = "ID:SECRET")]
    key: Option<String>,
    /// The account that the key belongs to.
    #[arg(long, value_name = "NUMBER", default_value_t = super::key::ACCOUNT_DEFAULT)]
    account: u64,
    /// The region's name, as it appears in names of resources.
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    region: String,
    /// The file with the key that encrypts access keys [default: in this user's settings].
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// Let other machines connect; without it only loopback addresses are accepted.
    #[arg(long)]
    allow_remote: bool,
}

/// Where a development server is and which key it made: no secrets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) endpoint: String,
    pub(super) key_id: String,
    pub(super) master_key_file: PathBuf,
}

impl Notes {
    /// `None` if no development server ever used this data directory.
    pub(super) fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(paths::dev_notes(data)).ok()?).ok()
    }
}

pub(super) fn run(arguments: Arguments, format: Option<logs::Format>) -> Result<()> {
    logs::start(format.unwrap_or(logs::Format::Text), "warn")?;
    system::keep_files_private();
    check_addresses(&arguments)?;
    let data = match &arguments.data {
        Some(data) => data.clone(),
        None => paths::dev_data()?,
    };
    let mut config = Config::default();
    config.general.data.clone_from(&data);
    config.general.master_key_file = arguments.master_key_file;
    config.api.listen = arguments.listen;
    config.api.region = arguments.region;
    config.admin.listen = arguments.admin;
    // A web server under development is on this machine.
    config.push.allow = vec!["127.0.0.0/8".into(), "::1/128".into()];
    config.push.denied_ports = Vec::new();
    config.check()?;

    let claim = Claim::take(&data)?;
    let master_key_file = std::path::absolute(config.master_key_file()?)?;
    let store = Store::open(&data, &master_key_file)?;
    let key = choose_key(&store, &data, arguments.key.as_deref(), arguments.account)?;
    let server = Server::start_claimed(claim, &config, Clock::system())?;
    let notes = Notes {
        endpoint: format!("http://{}", server.address()),
        key_id: key.id.clone(),
        master_key_file,
    };
    files::replace(
        &paths::dev_notes(&data),
        &serde_json::to_vec_pretty(&notes)?,
    )?;
    super::serve_until_stopped(server, |server| announce(server, &data, &key))
}

fn check_addresses(arguments: &Arguments) -> Result<()> {
    for (flag, address) in [("--listen", arguments.listen), ("--admin", arguments.admin)] {
        if !address.ip().is_loopback() && !arguments.allow_remote {
            return Err(Exit::Configuration.error(format!(
                "{flag} {address} lets other machines connect to a development server: \
                 choose 127.0.0.1, or add --allow-remote if that is meant",
            )));
        }
    }
    Ok(())
}

/// The given key, or the one of the last run, or a new one.
fn choose_key(store: &Store, data: &Path, given: Option<&str>, account: u64) -> Result<Key> {
    let key = if let Some(pair) = given {
        let (id, secret) = Key::parse_pair(pair).with_context(bad_key)?;
        Key::new(id, secret, account, Some(KEY_NOTE.into())).with_context(bad_key)?
    } else {
        let last = match Notes::read(data) {
            Some(notes) => store.find(&notes.key_id)?,
            None => None,
        };
        match last {
            Some(last) => Key { account, ..last },
            None => Key::generate(account, Some(KEY_NOTE.into()))?,
        }
    };
    let same = |kept: &Key| {
        kept.secret == key.secret && kept.account == key.account && kept.enabled == key.enabled
    };
    if !store.find(&key.id)?.as_ref().is_some_and(same) {
        store.put(key.clone())?;
    }
    Ok(key)
}

fn bad_key() -> crate::exit::Reason {
    Exit::Configuration.reason("--key is not usable")
}

fn announce(server: &Server, data: &Path, key: &Key) {
    let endpoint = format!("http://{}", server.address());
    output::announce(format_args!("ready {endpoint}"));
    output::note(format_args!(
        "\
anser serves {endpoint}
  metrics      http://{admin}/metrics
  data         {data}
  key id       {id}
  key secret   {secret}

Try it in another terminal:

  export ANSER_ENDPOINT={endpoint} ANSER_KEY={id}:{secret}
  anser queue create orders && anser queue send orders hello && anser queue receive orders --delete

Or from Python (pip install qcloud-cmq-sdk-py3):

  from cmq.account import Account
  from cmq.queue import Message
  queue = Account(\"{endpoint}\", \"{id}\", \"{secret}\").get_queue(\"orders\")
  queue.send_message(Message(\"hello\"))

Ctrl-C ends it; everything is kept.",
        admin = server.admin_address(),
        data = data.display(),
        id = key.id,
        secret = key.secret,
    ));
    if !key.enabled {
        output::note(format_args!(
            "\nThis key is disabled, so nothing of the above works yet: anser key enable {}",
            key.id
        ));
    }
}
