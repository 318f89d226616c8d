//! Where the nodes of `anser dev --nodes` are: folders, ports, and what each is told.
//!
//! Node `k` keeps its data in `DIR/node-k` and is an ordinary `anser serve` with the configuration
//! `DIR/node-k.toml`. What is added to that file stays there.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Notes;
use crate::{cluster::ask::reachable, exit::Exit, files, paths};

/// Ports of one node follow those of the one before at this distance.
const STEP: u16 = 10;
/// Where other nodes connect, after the port for clients.
const PEERS: u16 = 2;
/// Copies of a shard in a cluster that has as many nodes.
const COPIES: u16 = 3;

/// A cluster on this machine, as it was made. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct Plan {
    pub(super) nodes: u16,
    /// Where clients connect to node 1.
    pub(super) listen: SocketAddr,
    /// Where metrics of node 1 are.
    pub(super) admin: SocketAddr,
    pub(super) region: String,
    pub(super) account: u64,
}

impl Plan {
    /// `None` if no cluster was made there.
    pub(in crate::commands) fn read(data: &Path) -> Option<Self> {
        let plan = Notes::read(data)?.cluster?;
        // The file could have been changed by hand.
        let countable = (1..=super::NODES_MAX).contains(&plan.nodes.into());
        (countable && plan.check_ports().is_ok()).then_some(plan)
    }

    /// Nodes are numbered from 1.
    pub(in crate::commands) fn numbers(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.nodes
    }

    /// Where clients connect.
    pub(super) fn clients(&self, node: u16) -> SocketAddr {
        moved(self.listen, STEP * (node - 1))
    }

    /// The same as an address for clients on this machine.
    pub(super) fn endpoint(&self, node: u16) -> String {
        format!("http://{}", reachable(self.clients(node)))
    }

    pub(in crate::commands) fn admin(&self, node: u16) -> SocketAddr {
        moved(self.admin, STEP * (node - 1))
    }

    /// Where the other nodes connect: all of them are on this machine.
    pub(super) fn peers(&self, node: u16) -> SocketAddr {
        let port = self.listen.port() + PEERS + STEP * (node - 1);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Copies of each shard: odd, and no more than there are nodes.
    pub(super) fn copies(&self) -> u16 {
        if self.nodes < COPIES { 1 } else { COPIES }
    }

    /// Fails if a port is beyond the last one, or is meant for two things.
    pub(super) fn check_ports(&self) -> Result<()> {
        let wrong = |text: String| Err(Exit::Configuration.error(text));
        if self.listen.port() == 0 || self.admin.port() == 0 {
            return wrong(
                "with --nodes every node has ports of its own that are counted from --listen and \
                 --admin: choose a port that is not 0"
                    .into(),
            );
        }
        let beyond = STEP * (self.nodes - 1) + PEERS;
        let last = u16::MAX - beyond;
        for (flag, address) in [("--listen", self.listen), ("--admin", self.admin)] {
            if address.port() > last {
                return wrong(format!(
                    "{flag} {address} leaves no ports for {} nodes: choose one up to {last}",
                    self.nodes
                ));
            }
        }
        let ports = |node| {
            let (clients, admin) = (self.clients(node), self.admin(node));
            [clients.port(), self.peers(node).port(), admin.port()]
        };
        let mut all: Vec<u16> = self.numbers().flat_map(ports).collect();
        all.sort_unstable();
        match all.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(same) => wrong(format!(
                "port {} would be used twice: node k listens on the port of --listen plus 10 (k - 1), \
                 for other nodes 2 above, and on the port of --admin plus 10 (k - 1)",
                same[0]
            )),
        }
    }

    /// Brings the node's configuration file up to date.
    pub(super) fn write_settings(&self, data: &Path, node: u16, master_key: &Path) -> Result<()> {
        let path = settings_file(data, node);
        let old = match fs::read_to_string(&path) {
            Ok(text) => text.parse().with_context(|| {
                Exit::Configuration.reason(format!("{} is not usable", path.display()))
            })?,
            Err(_) => Table::new(),
        };
        let mut new = old.clone();
        self.settle(&mut new, data, node, master_key);
        if new == old {
            return Ok(());
        }
        files::replace(&path, toml::to_string(&new)?.as_bytes())
    }

    /// What the node must be told; everything else in its file is the user's.
    fn settle(&self, table: &mut Table, data: &Path, node: u16, master_key: &Path) {
        let text = |text: &dyn ToString| Value::String(text.to_string());
        let path = |path: &Path| Value::String(path.display().to_string());
        table.insert("data".into(), text(&name(node)));
        table.insert("master_key_file".into(), path(master_key));
        let join: Vec<Value> = self.to_join(data, node).iter().map(|to| text(to)).collect();
        for (section, setting, value) in [
            ("api", "listen", text(&self.clients(node))),
            ("api", "region", text(&self.region)),
            ("admin", "listen", text(&self.admin(node))),
            ("cluster", "listen", text(&self.peers(node))),
            ("cluster", "token_file", path(Path::new(TOKEN_FILE))),
            ("cluster", "join", Value::Array(join)),
            // Copies go to different machines, so each node takes itself for one.
            ("cluster", "host", text(&name(node))),
            ("cluster", "replicas", Value::Integer(self.copies().into())),
        ] {
            section_of(table, section).insert(setting.into(), value);
        }
        // A web server under development is on this machine.
        let push = section_of(table, "push");
        let allow = super::PUSH_ALLOW
            .iter()
            .map(|network| text(network))
            .collect();
        push.entry("allow").or_insert(Value::Array(allow));
        push.entry("denied_ports")
            .or_insert(Value::Array(Vec::new()));
    }

    /// Whether the node is the first one of a cluster that is not formed yet. One that has lost its disk must not
    /// form another.
    pub(super) fn is_to_form(&self, data: &Path, node: u16) -> bool {
        !has_number(data, node) && self.to_join(data, node).is_empty()
    }

    /// Whom a node without data asks for a place: those that have data, node 1 if nobody has.
    fn to_join(&self, data: &Path, node: u16) -> Vec<SocketAddr> {
        let others = self.numbers().filter(|other| *other != node);
        let serving = others.filter(|other| has_data(&folder(data, *other)));
        let serving: Vec<SocketAddr> = serving.map(|other| self.peers(other)).collect();
        if serving.is_empty() && node != 1 {
            return vec![self.peers(1)];
        }
        serving
    }
}

fn moved(address: SocketAddr, by: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port() + by)
}

fn name(node: u16) -> String {
    format!("node-{node}")
}

/// The node's data directory.
pub(super) fn folder(data: &Path, node: u16) -> PathBuf {
    data.join(name(node))
}

/// Whether the cluster has given the node in this folder a number.
pub(super) fn has_number(data: &Path, node: u16) -> bool {
    let text = fs::read(folder(data, node).join("node.json")).unwrap_or_default();
    let identity: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    identity["node"].as_u64().is_some_and(|number| number > 0)
}

/// What the node writes on standard error.
pub(super) fn log_file(data: &Path, node: u16) -> PathBuf {
    folder(data, node).join("anser.log")
}

pub(super) fn settings_file(data: &Path, node: u16) -> PathBuf {
    data.join(format!("{}.toml", name(node)))
}

const TOKEN_FILE: &str = "cluster.token";

pub(in crate::commands) fn token_file(data: &Path) -> PathBuf {
    data.join(TOKEN_FILE)
}

/// The configuration of a node whose data is there, if `anser dev` has made it.
pub(in crate::commands) fn settings_of(folder: &Path) -> Option<PathBuf> {
    let name = folder.file_name()?.to_str()?;
    name.strip_prefix("node-")?.parse::<u16>().ok()?;
    let settings = folder.with_file_name(format!("{name}.toml"));
    settings.exists().then_some(settings)
}

/// Whether a node has kept messages there: keys, locks, its process id and its log are not data.
fn has_data(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        !name.starts_with("anser.") && !name.starts_with("keys.")
    })
}

/// Whether one node, and no cluster, keeps its data there.
pub(super) fn is_single(data: &Path) -> bool {
    paths::server_lock(data).exists() || paths::keys(data).exists()
}

fn section_of<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let section = table
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()));
    if !section.is_table() {
        *section = Value::Table(Table::new());
    }
    section.as_table_mut().expect("it was just made one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn plan(nodes: u16) -> Plan {
        Plan {
            nodes,
            listen: "127.0.0.1:9324".parse().unwrap(),
            admin: "127.0.0.1:9325".parse().unwrap(),
            region: "r".into(),
            account: 1,
        }
    }

    fn refusal(listen: &str, admin: &str) -> String {
        let (listen, admin) = (listen.parse().unwrap(), admin.parse().unwrap());
        let plan = Plan {
            listen,
            admin,
            ..plan(3)
        };
        let error = plan.check_ports().unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Configuration);
        error.to_string()
    }

    #[test]
    fn ports_are_counted_from_those_of_the_first_node() {
        let plan = plan(7);
        plan.check_ports().unwrap();
        let ports = |node| {
            [
                plan.clients(node).port(),
                plan.admin(node).port(),
                plan.peers(node).port(),
            ]
        };
        assert_eq!(ports(1), [9324, 9325, 9326]);
        assert_eq!(ports(3), [9344, 9345, 9346]);
        assert_eq!(ports(7), [9384, 9385, 9386]);
    }

    #[test]
    fn ports_that_cannot_be_are_refused() {
        assert!(refusal("127.0.0.1:0", "127.0.0.1:1").contains("not 0"));
        assert!(refusal("127.0.0.1:1", "127.0.0.1:0").contains("not 0"));
        assert!(refusal("127.0.0.1:65514", "127.0.0.1:1").contains("up to 65513"));
        assert!(refusal("127.0.0.1:9335", "127.0.0.1:9325").contains("port 9335"));
        assert!(refusal("127.0.0.1:9324", "127.0.0.1:9326").contains("used twice"));
    }

    #[test]
    fn small_clusters_have_one_copy() {
        let copies: Vec<u16> = (1..=7).map(|nodes| plan(nodes).copies()).collect();
        assert_eq!(copies, [1, 1, 3, 3, 3, 3, 3]);
    }

    fn written(plan: &Plan, data: &Path, node: u16) -> Config {
        let path = settings_file(data, node);
        plan.write_settings(data, node, Path::new("/keys/master.key"))
            .unwrap();
        Config::read(&path).unwrap()
    }

    #[test]
    fn each_node_gets_a_usable_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let config = written(&plan(3), data, 1);
        assert_eq!(config.general.data, data.join("node-1"));
        assert_eq!(config.api.listen.port(), 9324);
        assert!(config.cluster.join.is_empty(), "it is the first");
        assert_eq!(config.cluster.token_file, Some(token_file(data)));
        assert_eq!(config.push.allow.len(), 2);
        let config = written(&plan(3), data, 3);
        assert_eq!(
            config.cluster.listen,
            Some("127.0.0.1:9346".parse().unwrap())
        );
        assert_eq!(config.cluster.join, ["127.0.0.1:9326"]);
        assert_eq!(config.cluster.host.as_deref(), Some("node-3"));
        assert_eq!(
            settings_of(&data.join("node-3")),
            Some(settings_file(data, 3))
        );
        assert_eq!(settings_of(&data.join("node-2")), None);
        assert_eq!(settings_of(data), None);
    }

    #[test]
    fn what_the_user_adds_to_a_configuration_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = settings_file(folder.path(), 2);
        fs::write(
            &path,
            "[cluster]\ngrace_seconds = 5\nreplicas = 1\n[storage]\nshards = 4\n",
        )
        .unwrap();
        let config = written(&plan(3), folder.path(), 2);
        assert_eq!(
            (config.cluster.grace_seconds, config.storage.shards),
            (5, 4)
        );
        assert_eq!(config.cluster.replicas, 3, "this is dev's own");
        fs::write(&path, "[cluster").unwrap();
        let again = plan(3).write_settings(folder.path(), 2, Path::new("/k"));
        assert_eq!(Exit::of(&again.unwrap_err()), Exit::Configuration);
    }

    #[test]
    fn the_first_node_without_its_disk_asks_the_others() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        for node in 1..=3 {
            fs::create_dir(folder(data, node)).unwrap();
            fs::write(folder(data, node).join("keys.anser"), "x").unwrap();
        }
        assert!(plan(3).to_join(data, 1).is_empty(), "keys are no data");
        assert!(plan(3).is_to_form(data, 1) && !plan(3).is_to_form(data, 2));
        fs::create_dir(folder(data, 2).join("wal")).unwrap();
        fs::create_dir(folder(data, 3).join("wal")).unwrap();
        let peers = |node| plan(3).peers(node);
        assert_eq!(plan(3).to_join(data, 1), [peers(2), peers(3)]);
        assert!(!plan(3).is_to_form(data, 1));
        assert_eq!(plan(3).to_join(data, 2), [peers(3)]);
    }
}
