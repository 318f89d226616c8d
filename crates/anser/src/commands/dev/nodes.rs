//! `anser dev --nodes`: a cluster on this machine, each node a process of its own.
//!
//! What the nodes have in common is made first: a token, a master key and an access key. Then the
//! processes are started, their `ready` lines passed on and their ends reported. Nothing is
//! supervised: a node that dies stays dead until somebody starts it with `--only`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use super::{
    Arguments, LISTEN_DEFAULT, Notes, check_addresses,
    children::{Children, Happened, Signals},
    choose_key, keep_key,
    plan::{self, Plan},
    try_it, warn_if_disabled,
};
use crate::{
    cluster::{self, ask, token::Token},
    commands::key::ACCOUNT_DEFAULT,
    config::Config,
    exit::Exit,
    files,
    keystore::{Key, Store},
    logs, output, paths,
};

/// How long the nodes may take to copy every shard before that is told as unusual.
const COPIES_PATIENCE: Duration = Duration::from_secs(60);
/// How often a node is asked how far they are.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(arguments: &Arguments, data: &Path, format: Option<logs::Format>) -> Result<()> {
    let made = Notes::read(data);
    let plan = plan_of(arguments, Plan::read(data).as_ref(), data)?;
    plan.check_ports()?;
    files::make_private_folder(data)?;
    Token::create(&plan::token_file(data))?;
    let master_key = master_key_of(arguments, made.as_ref())?;
    let numbers: Vec<u16> = match arguments.only {
        Some(only) => vec![only],
        None => plan.numbers().collect(),
    };
    let key = common_key(arguments, made.as_ref(), &plan, data, &master_key)?;
    for &node in &numbers {
        let store = Store::open(&plan::folder(data, node), &master_key)?;
        store.set_damaged_aside()?;
        // One node alone keeps the keys that it has, for they may have been changed since.
        if arguments.only.is_none() || !paths::keys(&plan::folder(data, node)).exists() {
            keep_key(&store, &key)?;
        }
        plan.write_settings(data, node, &master_key)?;
        if plan.is_to_form(data, node) {
            cluster::form(&Config::read(&plan::settings_file(data, node))?)?;
        }
    }
    let cluster = Cluster {
        endpoint: plan.endpoint(1),
        alone: arguments.only,
        plan,
        data: data.to_owned(),
        key,
    };
    cluster.note(master_key)?;
    let mut children = Children::default();
    let runtime = super::super::runtime()?;
    runtime.block_on(async {
        // Before the first child, which nobody else would end.
        let mut signals = Signals::listen()?;
        let served = match children.start_all(&cluster.data, &numbers, format).await {
            Ok(()) => cluster.serve(&mut children, &mut signals).await,
            failed => failed,
        };
        children.stop().await;
        served
    })
}

/// The cluster as it was made, with what may change: it may grow.
fn plan_of(arguments: &Arguments, made: Option<&Plan>, data: &Path) -> Result<Plan> {
    let wrong = |text: String| Err(Exit::Configuration.error(text));
    let Some(made) = made else {
        if arguments.only.is_some() {
            return wrong(format!(
                "there is no cluster in {0}: start one with anser dev --nodes 3 --data {0}",
                data.display()
            ));
        }
        if plan::is_single(data) {
            return wrong(format!(
                "{} holds the data of one node: choose another directory for a cluster with --data",
                data.display()
            ));
        }
        return new_plan(arguments);
    };
    check_same("--listen", arguments.listen, &made.listen, data)?;
    check_same("--admin", arguments.admin, &made.admin, data)?;
    check_same("--account", arguments.account, &made.account, data)?;
    check_same("--region", arguments.region.clone(), &made.region, data)?;
    let mut plan = made.clone();
    if let Some(nodes) = arguments.nodes {
        if nodes < made.nodes || arguments.only.is_some() && nodes > made.nodes {
            return wrong(format!(
                "the cluster in {} has {} nodes, not {nodes}: more can be added by starting it without \
                 --only, and taken away with anser cluster drain and remove",
                data.display(),
                made.nodes
            ));
        }
        plan.nodes = nodes;
    }
    match arguments.only {
        Some(only) if !(1..=plan.nodes).contains(&only) => wrong(format!(
            "there is no node {only} in {}: choose 1 to {}",
            data.display(),
            plan.nodes
        )),
        _ => Ok(plan),
    }
}

fn new_plan(arguments: &Arguments) -> Result<Plan> {
    let listen = arguments.listen.unwrap_or(LISTEN_DEFAULT);
    let after = SocketAddr::new(listen.ip(), listen.port().wrapping_add(1));
    let admin = arguments.admin.unwrap_or(after);
    if !arguments.allow_remote {
        check_addresses(listen, admin)?;
    }
    let region = Config::default().api.region;
    Ok(Plan {
        nodes: arguments.nodes.unwrap_or(1),
        listen,
        admin,
        region: arguments.region.clone().unwrap_or(region),
        account: arguments.account.unwrap_or(ACCOUNT_DEFAULT),
    })
}

/// Nodes remember each other's addresses, so a cluster stays where it is.
fn check_same<T: PartialEq + std::fmt::Display>(
    flag: &str,
    given: Option<T>,
    made: &T,
    data: &Path,
) -> Result<()> {
    match given {
        Some(given) if given != *made => Err(Exit::Configuration.error(format!(
            "the cluster in {} was made with {flag} {made}, not {given}: leave the flag out, or choose \
             another directory with --data",
            data.display()
        ))),
        _ => Ok(()),
    }
}

fn master_key_of(arguments: &Arguments, made: Option<&Notes>) -> Result<PathBuf> {
    let file = match (&arguments.master_key_file, made) {
        (Some(file), _) => file.clone(),
        (None, Some(notes)) => notes.master_key_file.clone(),
        (None, None) => paths::master_key_file()?,
    };
    Ok(std::path::absolute(file)?)
}

/// The given key, or the one of the last start if any node still has it, or a new one.
fn common_key(
    arguments: &Arguments,
    made: Option<&Notes>,
    plan: &Plan,
    data: &Path,
    master_key: &Path,
) -> Result<Key> {
    let mut last = None;
    if let Some(notes) = made {
        for node in plan.numbers() {
            let folder = plan::folder(data, node);
            if last.is_none() && paths::keys(&folder).exists() {
                last = match Store::open(&folder, master_key)?.find(&notes.key_id) {
                    // Another node has it.
                    Err(error) if Exit::of(&error) == Exit::Damaged => None,
                    found => found?,
                };
            }
        }
    }
    choose_key(arguments.key.as_deref(), last, plan.account)
}

struct Cluster {
    plan: Plan,
    data: PathBuf,
    key: Key,
    endpoint: String,
    /// The one node that is started, if not all are.
    alone: Option<u16>,
}

impl Cluster {
    fn note(&self, master_key_file: PathBuf) -> Result<()> {
        let notes = Notes {
            endpoint: self.endpoint.clone(),
            key_id: self.key.id.clone(),
            master_key_file,
            cluster: Some(self.plan.clone()),
        };
        notes.write(&self.data)
    }

    /// Until somebody asks for the end, or until every node is gone.
    async fn serve(&self, children: &mut Children, signals: &mut Signals) -> Result<()> {
        let mut explained = false;
        let copied = self.wait_for_copies();
        tokio::pin!(copied);
        let mut copies_told = self.alone.is_some();
        loop {
            let happened = tokio::select! {
                () = signals.asked_to_end() => return Ok(()),
                happened = children.next() => happened,
                told = &mut copied, if explained && !copies_told => {
                    copies_told = true;
                    self.tell_copies(told);
                    continue;
                }
            };
            match happened {
                Happened::Ready { line } => output::announce(line),
                Happened::Ended { node, how } => output::note(format_args!(
                    "node {node} {how}; it stays dead until you start it again: {}",
                    self.only(node)
                )),
                Happened::AllGone { exit } => {
                    return Err(exit.error("no node is left; everything is kept"));
                }
            }
            if !explained && children.are_settled() && children.are_alive() {
                explained = true;
                self.explain(children);
            }
        }
    }

    fn only(&self, node: u16) -> String {
        let (nodes, data) = (self.plan.nodes, self.data.display());
        format!("anser dev --nodes {nodes} --data {data} --only {node}")
    }

    fn explain(&self, children: &Children) {
        let list = children.processes().map(|(node, process)| {
            let (clients, admin) = (self.plan.clients(node), self.plan.admin(node));
            let log = plan::log_file(&self.data, node);
            format!(
                "\n  node {node}  http://{clients}  metrics http://{admin}/metrics  process {process}  \
                 log {}",
                log.display()
            )
        });
        let list: String = list.collect();
        if let Some(node) = self.alone {
            output::note(format_args!(
                "node {node} of {} is back:{list}\n\nCtrl-C ends it; everything is kept.",
                self.plan.nodes
            ));
            return;
        }
        output::note(format_args!(
            "\
anser serves a cluster of {nodes} nodes:{list}
  key id       {id}
  key secret   {secret}

{try_it}

Any node takes any request. See who leads what, kill a node, and start it again:

  anser cluster status --data {data}
  kill -9 $(cat {data}/node-2/anser.pid)
  {only}

Ctrl-C ends the nodes that were started here; everything is kept.",
            nodes = self.plan.nodes,
            id = self.key.id,
            secret = self.key.secret,
            try_it = try_it(&self.endpoint, &self.key),
            data = self.data.display(),
            only = self.only(2),
        ));
        warn_if_disabled(&self.key);
    }

    /// Whether every shard has all its copies before the time is up.
    async fn wait_for_copies(&self) -> bool {
        let copied = async {
            while !self.has_copies().await {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(COPIES_PATIENCE, copied).await.is_ok()
    }

    async fn has_copies(&self) -> bool {
        for node in self.plan.numbers() {
            let admin = ask::reachable(self.plan.admin(node)).to_string();
            let Ok(port) = ask::admin_port(&admin, None) else {
                continue;
            };
            if let Ok(cluster) = ask::status(&port).await {
                let nodes = cluster.nodes.iter().filter(|node| node.up).count();
                return nodes >= self.plan.nodes.into()
                    && cluster.has_copies(self.plan.copies().into());
            }
        }
        false
    }

    fn tell_copies(&self, all: bool) {
        let (nodes, copies) = (self.plan.nodes, self.plan.copies());
        let noun = if copies == 1 { "copy" } else { "copies" };
        if all {
            output::announce(format_args!(
                "cluster of {nodes}: every shard has {copies} {noun}"
            ));
        } else {
            output::note(format_args!(
                "cluster of {nodes}: after {} s not every shard has {copies} {noun} yet; \
                 anser cluster status --data {} says why",
                COPIES_PATIENCE.as_secs(),
                self.data.display()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan(words: &str, made: Option<&Plan>, data: &Path) -> Result<Plan> {
        let words = std::iter::once("dev").chain(words.split_whitespace());
        plan_of(&Line::try_parse_from(words)?.arguments, made, data)
    }

    #[test]
    fn a_cluster_is_made_once_and_only_grows() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let made = plan("--nodes 3 --listen 127.0.0.1:12000", None, data).unwrap();
        assert_eq!((made.nodes, made.admin.port()), (3, 12_001));
        let again = |words: &str| plan(words, Some(&made), data);
        assert_eq!(again("--nodes 3").unwrap(), made);
        assert_eq!(again("--only 3").unwrap(), made);
        assert_eq!(
            again("--nodes 3 --only 2 --listen 127.0.0.1:12000").unwrap(),
            made
        );
        assert_eq!(again("--nodes 5").unwrap().nodes, 5);
        for (words, what) in [
            ("--nodes 2", "has 3 nodes, not 2"),
            ("--nodes 5 --only 4", "has 3 nodes, not 5"),
            ("--only 4", "choose 1 to 3"),
            ("--only 0", "choose 1 to 3"),
            (
                "--nodes 3 --listen 127.0.0.1:12002",
                "was made with --listen 127.0.0.1:12000",
            ),
            ("--nodes 3 --admin 127.0.0.1:1", "was made with --admin"),
            (
                "--nodes 3 --region other",
                "was made with --region us-east-1",
            ),
            ("--nodes 3 --account 7", "was made with --account"),
        ] {
            let error = again(words).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Configuration, "{words}");
            assert!(error.to_string().contains(what), "{words}: {error}");
        }
    }

    #[test]
    fn what_cannot_become_a_cluster_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let refusal = |words: &str| plan(words, None, data).unwrap_err().to_string();
        assert!(refusal("--nodes 3 --only 2").contains("there is no cluster"));
        assert!(refusal("--nodes 3 --listen 0.0.0.0:9324").contains("--allow-remote"));
        assert!(refusal("--nodes 8").contains("1..=7"));
        assert!(refusal("--nodes 0").contains("1..=7"));
        assert!(plan("--nodes 3 --listen 0.0.0.0:9324 --allow-remote", None, data).is_ok());
        fs::write(paths::keys(data), "x").unwrap();
        assert!(refusal("--nodes 3").contains("holds the data of one node"));
    }
}
