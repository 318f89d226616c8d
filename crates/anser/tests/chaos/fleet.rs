//! Servers of one cluster on this machine, each with a configuration file of its own as the documentation
//! has it: started one by one, drained, removed and killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anser::{
    cluster::{self, view::Cluster},
    config::Config,
};

use super::{
    node_kill::SHARDS,
    served::{Doors, Nodes, Served},
    server::{KEY_ID, Place, SECRET, place_in},
};
use crate::{
    cluster::dev_cluster::{ask_admin, within},
    ports,
};

/// Copies of each shard.
pub(crate) const COPIES: usize = 3;
/// Of a fresh server, and of one that reads its log, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Placement is settled when it was so for as long: the next step is planned twice a second.
const SETTLED_FOR: Duration = Duration::from_millis(1_200);
const LOOK: Duration = Duration::from_millis(100);
/// Each node listens for clients, for operators and for the others.
const PORTS: usize = 3;

/// Nodes `1..=most`, of which some run. They join one after the other, so that each has the number by
/// which it is called here.
#[derive(Debug)]
pub(crate) struct Fleet {
    folder: PathBuf,
    place: Place,
    most: u16,
    ports: Vec<u16>,
    /// In the section `[cluster]` of each, and what follows it.
    settings: String,
    servers: BTreeMap<u16, Child>,
}

impl Fleet {
    /// Forms a cluster of the first `count` nodes.
    pub(crate) fn start(folder: &Path, count: u16, most: u16, settings: &str) -> Self {
        let mut place = place_in(folder);
        place.data = folder.join("node-1");
        fs::create_dir_all(&place.home).unwrap();
        place.make_key();
        let mut fleet = Self {
            folder: folder.to_owned(),
            place,
            most,
            ports: ports::free(usize::from(most) * PORTS),
            settings: settings.to_owned(),
            servers: BTreeMap::new(),
        };
        fleet.run(&["token", "token"]);
        for node in 1..=count {
            fleet.join(node);
        }
        fleet
    }

    /// Starts a node that asks those that run for a place among them, and waits until it serves; the first one
    /// forms the cluster.
    pub(crate) fn join(&mut self, node: u16) {
        let others: Vec<String> = self
            .servers
            .keys()
            .map(|&other| format!("\"{}\"", self.address(other, 2)))
            .collect();
        let text = format!(
            "data = \"node-{node}\"\n[api]\nlisten = \"{}\"\n[admin]\nlisten = \"{}\"\n[cluster]\n\
             listen = \"{}\"\nhost = \"machine-{node}\"\ntoken_file = \"token\"\njoin = [{}]\n{}",
            self.address(node, 0),
            self.address(node, 1),
            self.address(node, 2),
            others.join(", "),
            self.settings,
        );
        fs::write(self.configuration(node), text).unwrap();
        if self.servers.is_empty() {
            cluster::form(&Config::read(&self.configuration(node)).unwrap()).unwrap();
        }
        self.begin(node);
        let number = self.status(node).unwrap().node;
        assert_eq!(number, u64::from(node), "{}", self.logs());
    }

    /// Starts a node again, and waits until it serves.
    pub(crate) fn begin(&mut self, node: u16) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(node));
        let child = self
            .command()
            .args(["serve", "--config"])
            .arg(self.configuration(node))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.servers.insert(node, child.unwrap());
        let serves = || self.status(node).is_some_and(|one| one.node != 0);
        let has_begun = within(READY_WITHIN, serves);
        assert!(has_begun, "node {node}: {}", self.logs());
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill(&mut self, node: u16) {
        let mut server = self.servers.remove(&node).expect("it runs");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// SIGTERM; it must end with code 0.
    pub(crate) fn stop(&mut self, node: u16) {
        let mut server = self.servers.remove(&node).expect("it runs");
        anser::process::terminate(server.id()).unwrap();
        let ended = server.wait().unwrap();
        assert!(ended.success(), "{ended}; {}", self.logs());
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> BTreeSet<u64> {
        self.servers.keys().map(|&node| node.into()).collect()
    }

    /// `anser cluster` with these words, on a node that runs.
    pub(crate) fn run(&self, words: &[&str]) {
        let mut command = self.command();
        command.arg("cluster").args(words);
        if let Some(&node) = self.servers.keys().next() {
            command.arg("--config").arg(self.configuration(node));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }

    /// The cluster as the node sees it that leads the catalog and decides what moves; waits until there is
    /// one.
    pub(crate) fn view(&self) -> Cluster {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if let Some(view) = self.look() {
                return view;
            }
            thread::sleep(LOOK);
        }
        panic!("nobody leads the catalog; {}", self.logs());
    }

    fn look(&self) -> Option<Cluster> {
        let views = self.servers.keys().filter_map(|&node| self.status(node));
        let decides = |cluster: &Cluster| {
            let catalog = cluster.shards.iter().find(|shard| shard.shard == 0);
            catalog.is_some_and(|catalog| catalog.leader == Some(cluster.node))
        };
        let mut views: Vec<Cluster> = views.filter(decides).collect();
        views.pop().filter(|_| views.is_empty())
    }

    /// Bytes of copies that all running nodes together have taken in since they were started.
    pub(crate) fn copied_bytes(&self) -> u64 {
        let copied = |&node: &u16| {
            let metrics = ask_admin(&self.address(node, 1), "/metrics").expect("it runs");
            let mut lines = metrics.lines();
            let value =
                lines.find_map(|line| line.strip_prefix("anser_copy_received_bytes_total "));
            value
                .expect("there is such a metric")
                .parse::<u64>()
                .unwrap()
        };
        self.servers.keys().map(copied).sum()
    }

    /// Looks until nothing moves any more and every shard has its copies on these nodes and nowhere else,
    /// as many on each as on the others.
    pub(crate) fn wait_until_even(&self, on: &[u64], patience: Duration) -> Watched {
        let begun = Instant::now();
        let mut watched = Watched::default();
        let mut even_since = None;
        while begun.elapsed() < patience {
            let view = self.look();
            if let Some(view) = &view {
                watched.look(view, begun.elapsed());
            }
            if view.is_some_and(|view| is_even(&view, on)) {
                let since = even_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SETTLED_FOR {
                    watched.took = *since - begun;
                    return watched;
                }
            } else {
                even_since = None;
            }
            thread::sleep(LOOK);
        }
        panic!(
            "copies are not even on {on:?}: {:#?}; {}",
            self.look(),
            self.logs()
        );
    }

    /// Where other nodes connect.
    pub(crate) fn peer_address(&self, node: u16) -> String {
        self.address(node, 2)
    }

    fn address(&self, node: u16, purpose: usize) -> String {
        let port = self.ports[usize::from(node - 1) * PORTS + purpose];
        format!("127.0.0.1:{port}")
    }

    fn configuration(&self, node: u16) -> PathBuf {
        self.folder.join(format!("node-{node}.toml"))
    }

    fn log(&self, node: u16) -> PathBuf {
        self.folder.join(format!("node-{node}.log"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
        command.env_clear().env("HOME", &self.place.home);
        command.current_dir(&self.folder);
        command
    }
}

impl Served for Fleet {
    /// Those that do not run as well: they may, and a refused connection costs little.
    fn doors(&self) -> Doors {
        let endpoint = |node| format!("http://{}", self.address(node, 0));
        Doors {
            endpoints: (1..=self.most).map(endpoint).collect(),
            key_id: KEY_ID,
            secret: SECRET,
        }
    }
}

impl Nodes for Fleet {
    fn status(&self, node: u16) -> Option<Cluster> {
        let body = ask_admin(&self.address(node, 1), "/cluster")?;
        Some(serde_json::from_str(&body).unwrap())
    }

    fn logs(&self) -> String {
        let log = |node| {
            let text = fs::read_to_string(self.log(node)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            format!("\n== node {node}\n{tail}")
        };
        (1..=self.most).map(log).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for server in self.servers.values_mut() {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

/// What was seen of placement until it settled.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) took: Duration,
    /// When a shard's members were first seen to change.
    pub(crate) first: Option<Duration>,
    /// Every copy that was begun: the shard and the node. The catalog is copied to every node anyhow.
    pub(crate) begun: BTreeSet<(u16, u64)>,
    former: BTreeMap<u16, Vec<u64>>,
}

impl Watched {
    fn look(&mut self, view: &Cluster, at: Duration) {
        let members: BTreeMap<u16, Vec<u64>> = view
            .shards
            .iter()
            .map(|shard| {
                let mut members = [shard.voters.clone(), shard.learners.clone()].concat();
                members.sort_unstable();
                (shard.shard, members)
            })
            .collect();
        // A shard that elects a leader is not in the view.
        let differs = |(shard, members): (&u16, &Vec<u64>)| {
            let former = self.former.get(shard);
            former.is_some_and(|former| former != members)
        };
        let changed = members.iter().any(differs);
        if changed {
            self.first.get_or_insert(at);
        }
        for shard in view.shards.iter().filter(|shard| shard.shard != 0) {
            let learners = shard.learners.iter();
            self.begun
                .extend(learners.map(|&learner| (shard.shard, learner)));
        }
        self.former.extend(members);
    }
}

fn is_even(view: &Cluster, on: &[u64]) -> bool {
    let has_copies = view.shards.iter().all(|shard| {
        let learners = if shard.shard == 0 {
            &[]
        } else {
            &shard.learners[..]
        };
        let voters = shard
            .replicas
            .iter()
            .filter(|one| shard.voters.contains(&one.node));
        !shard.joint
            && learners.is_empty()
            && shard.voters.len() == COPIES
            && shard.voters.iter().all(|voter| on.contains(voter))
            && voters.clone().all(|voter| voter.active)
    });
    let spread = |counts: &BTreeMap<u64, usize>| {
        let (least, most) = (counts.values().min(), counts.values().max());
        most.zip(least).map_or(0, |(most, least)| most - least)
    };
    view.shards.len() == usize::from(SHARDS)
        && view.moves.is_empty()
        && has_copies
        && spread(&copies(view, on)) < 2
}

/// How many copies are on each of these nodes.
pub(crate) fn copies(view: &Cluster, on: &[u64]) -> BTreeMap<u64, usize> {
    let mut counts: BTreeMap<u64, usize> = on.iter().map(|&node| (node, 0)).collect();
    for &voter in view.shards.iter().flat_map(|shard| &shard.voters) {
        *counts.entry(voter).or_default() += 1;
    }
    counts
}
