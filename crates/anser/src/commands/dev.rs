//! `anser dev`: one node for development, from nothing to serving with one command.
//!
//! Standard output gets the one line `ready http://…`; all that is for people goes to standard error.
//! The key pair is kept between runs, and `dev.json` tells the other commands where the server is.
//! With `--nodes` it starts a cluster of processes: see `nodes`.

mod children;
mod nodes;
pub(super) mod plan;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anser_node::Clock;
use anyhow::{Context, Result};
use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    exit::Exit,
    files,
    keystore::{Key, Store},
    logs, output, paths,
    process::{self, Claim},
    server::Server,
    system,
};

use plan::Plan;

const KEY_NOTE: &str = "made by anser dev";
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9324);
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9325);
/// A web server under development is on this machine.
const PUSH_ALLOW: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// Enough to see everything that a cluster does.
const NODES_MAX: i64 = 7;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where data is kept; node k of a cluster has the folder node-k in it [default: a folder of this
    /// user].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many nodes: more than one are a cluster of processes on this machine. Node k listens on the
    /// port of --listen plus 10 (k - 1), for other nodes on 127.0.0.1 2 above that, and for metrics on the
    /// port of --admin plus 10 (k - 1) [default: 1].
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u16).range(1..=NODES_MAX))]
    nodes: Option<u16>,
    /// Start only this node of a cluster that was started before, whether the others run or not.
    #[arg(long, value_name = "NODE")]
    only: Option<u16>,
    /// Where clients connect; port 0 takes any free port if there is one node [default:
    /// 127.0.0.1:9324].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where metrics and health checks are served [default: 127.0.0.1:9325; of a cluster the port after
    /// that of --listen].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The access key to accept [default: one that is made once and kept].
    #[arg(long, value_name = "ID:SECRET")]
    key: Option<String>,
    /// The account that the key belongs to [default: 123456789012].
    #[arg(long, value_name = "NUMBER")]
    account: Option<u64>,
    /// The region's name, as it appears in names of resources [default: us-east-1].
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
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
    endpoint: String,
    pub(super) key_id: String,
    pub(super) master_key_file: PathBuf,
    /// If it is a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<Plan>,
}

impl Notes {
    /// `None` if no development server ever used this data directory.
    pub(super) fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(paths::dev_notes(data)).ok()?).ok()
    }

    fn write(&self, data: &Path) -> Result<()> {
        files::replace(&paths::dev_notes(data), &serde_json::to_vec_pretty(self)?)
    }

    /// Where requests go: in a cluster to the first node that runs, for any node takes any request.
    pub(super) fn endpoint_now(&self, data: &Path) -> String {
        let serving = self.cluster.as_ref().and_then(|plan| {
            let mut nodes = plan.numbers();
            let node = nodes.find(|node| process::is_served(&plan::folder(data, *node)))?;
            Some(plan.endpoint(node))
        });
        serving.unwrap_or_else(|| self.endpoint.clone())
    }

    /// The data directory with the access keys: of a cluster that of one node, for all have the same.
    pub(super) fn keys_folder(&self, data: &Path) -> PathBuf {
        let nodes = self.cluster.iter().flat_map(Plan::numbers);
        let folders = nodes.map(|node| plan::folder(data, node));
        let folders: Vec<PathBuf> = folders.filter(|one| paths::keys(one).exists()).collect();
        // A node that does not run would tell the others of a change only when it is started.
        let mut serving = folders.iter().filter(|one| process::is_served(one));
        let best = serving.next().or(folders.first());
        best.cloned().unwrap_or_else(|| data.to_owned())
    }
}

pub(super) fn run(arguments: Arguments, format: Option<logs::Format>) -> Result<()> {
    logs::start(format.unwrap_or(logs::Format::Text), "warn")?;
    system::keep_files_private();
    let data = match &arguments.data {
        Some(data) => data.clone(),
        None => paths::dev_data()?,
    };
    if arguments.only.is_some() || arguments.nodes.is_some_and(|nodes| nodes > 1) {
        return nodes::run(&arguments, &data, format);
    }
    if let Some(plan) = Plan::read(&data) {
        let (nodes, data) = (plan.nodes, data.display());
        return Err(Exit::Configuration.error(format!(
            "{data} holds a cluster of {nodes} nodes: start it with --nodes {nodes}, \
             or choose another directory with --data"
        )));
    }
    run_one(arguments, &data)
}

fn run_one(arguments: Arguments, data: &Path) -> Result<()> {
    let mut config = Config::default();
    data.clone_into(&mut config.general.data);
    config.api.listen = arguments.listen.unwrap_or(LISTEN_DEFAULT);
    config.admin.listen = arguments.admin.unwrap_or(ADMIN_DEFAULT);
    if !arguments.allow_remote {
        check_addresses(config.api.listen, config.admin.listen)?;
    }
    config.general.master_key_file = arguments.master_key_file;
    if let Some(region) = arguments.region {
        config.api.region = region;
    }
    config.push.allow = PUSH_ALLOW.map(Into::into).to_vec();
    config.push.denied_ports = Vec::new();
    config.check()?;

    let claim = Claim::take(data)?;
    let master_key_file = std::path::absolute(config.master_key_file()?)?;
    let store = Store::open(data, &master_key_file)?;
    let last = match Notes::read(data) {
        Some(notes) => store.find(&notes.key_id)?,
        None => None,
    };
    let account = arguments.account.unwrap_or(super::key::ACCOUNT_DEFAULT);
    let key = choose_key(arguments.key.as_deref(), last, account)?;
    keep_key(&store, &key)?;
    let server = Server::start_claimed(claim, &config, Clock::system())?;
    let notes = Notes {
        endpoint: format!("http://{}", server.address()),
        key_id: key.id.clone(),
        master_key_file,
        cluster: None,
    };
    notes.write(data)?;
    super::serve_until_stopped(server, |server| announce(server, data, &key))
}

fn check_addresses(listen: SocketAddr, admin: SocketAddr) -> Result<()> {
    for (flag, address) in [("--listen", listen), ("--admin", admin)] {
        if !address.ip().is_loopback() {
            return Err(Exit::Configuration.error(format!(
                "{flag} {address} lets other machines connect to a development server: \
                 choose 127.0.0.1, or add --allow-remote if that is meant",
            )));
        }
    }
    Ok(())
}

/// The given key, or the one of the last run, or a new one.
fn choose_key(given: Option<&str>, last: Option<Key>, account: u64) -> Result<Key> {
    if let Some(pair) = given {
        let (id, secret) = Key::parse_pair(pair).with_context(bad_key)?;
        return Key::new(id, secret, account, Some(KEY_NOTE.into())).with_context(bad_key);
    }
    match last {
        Some(last) => Ok(Key { account, ..last }),
        None => Key::generate(account, Some(KEY_NOTE.into())),
    }
}

fn keep_key(store: &Store, key: &Key) -> Result<()> {
    let same = |kept: &Key| {
        kept.secret == key.secret && kept.account == key.account && kept.enabled == key.enabled
    };
    if !store.find(&key.id)?.as_ref().is_some_and(same) {
        store.put(key.clone())?;
    }
    Ok(())
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

{try_it}

Ctrl-C ends it; everything is kept.",
        admin = server.admin_address(),
        data = data.display(),
        id = key.id,
        secret = key.secret,
        try_it = try_it(&endpoint, key),
    ));
    warn_if_disabled(key);
}

fn try_it(endpoint: &str, key: &Key) -> String {
    let (id, secret) = (&key.id, &key.secret);
    format!(
        "\
Try it in another terminal:

  export ANSER_ENDPOINT={endpoint} ANSER_KEY={id}:{secret}
  anser queue create orders && anser queue send orders hello && anser queue receive orders --delete

Or from Python (pip install qcloud-cmq-sdk-py3):

  from cmq.account import Account
  from cmq.queue import Message
  queue = Account(\"{endpoint}\", \"{id}\", \"{secret}\").get_queue(\"orders\")
  queue.send_message(Message(\"hello\"))"
    )
}

fn warn_if_disabled(key: &Key) {
    if !key.enabled {
        output::note(format_args!(
            "\nThis key is disabled, so nothing of the above works yet: anser key enable {}",
            key.id
        ));
    }
}
