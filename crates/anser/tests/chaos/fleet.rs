//! Servers of one cluster on this machine, each with a configuration file of its own as the documentation
//! has it: started one by one, drained, removed, killed, and made again with an empty disk.

mod placement;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anser::{
    cluster::{self, view::Cluster},
    config::Config,
};

use self::placement::is_even;
pub(crate) use self::placement::{Watched, copies};
use super::{
    node_kill::is_whole,
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
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Placement is settled when it was so for as long: the next step is planned twice a second.
const SETTLED_FOR: Duration = Duration::from_millis(1_200);
const LOOK: Duration = Duration::from_millis(100);
/// Each node listens for clients, for operators and for the others.
const PORTS: usize = 3;

/// Nodes `1..=most`, of which some run. They join one after the other, so that each has the number by
/// which it is called here, until it is made again.
#[derive(Debug)]
pub(crate) struct Fleet {
    folder: PathBuf,
    place: Place,
    most: u16,
    ports: Vec<u16>,
    /// In the section `[cluster]` of each, and what follows it.
    settings: String,
    /// The program that each starts from now on, and what is in its environment.
    program: PathBuf,
    environment: BTreeMap<u16, Vec<(&'static str, String)>>,
    servers: BTreeMap<u16, Child>,
    /// What the cluster calls them.
    numbers: BTreeMap<u16, u64>,
}

/// A server that did not come to serve.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` for one that neither served nor ended in time, and was killed.
    pub(crate) status: Option<ExitStatus>,
    /// What it logged since it was started.
    pub(crate) words: String,
}

impl Fleet {
    /// Forms a cluster of the first `count` nodes.
    pub(crate) fn start(folder: &Path, count: u16, most: u16, settings: &str) -> Self {
        let mut fleet = Self::new(folder, most, settings);
        for node in 1..=count {
            fleet.join(node);
        }
        fleet
    }

    /// None runs yet.
    pub(crate) fn new(folder: &Path, most: u16, settings: &str) -> Self {
        let mut place = place_in(folder);
        place.data = folder.join("node-1");
        fs::create_dir_all(&place.home).unwrap();
        place.make_key();
        let fleet = Self {
            folder: folder.to_owned(),
            place,
            most,
            ports: ports::free(usize::from(most) * PORTS),
            settings: settings.to_owned(),
            program: env!("CARGO_BIN_EXE_anser").into(),
            environment: BTreeMap::new(),
            servers: BTreeMap::new(),
            numbers: BTreeMap::new(),
        };
        fleet.run(&["token", "token"]);
        fleet
    }

    /// What servers are started with from now on.
    pub(crate) fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    pub(crate) fn set_environment(&mut self, node: u16, variables: Vec<(&'static str, String)>) {
        self.environment.insert(node, variables);
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
        assert_eq!(self.number(node), u64::from(node), "{}", self.logs());
    }

    /// Starts a node again, and waits until it serves.
    pub(crate) fn begin(&mut self, node: u16) {
        if let Err(ended) = self.try_begin(node) {
            panic!("node {node}: {ended:?}; {}", self.logs());
        }
    }

    /// Starts all of these at once.
    pub(crate) fn begin_all(&mut self, nodes: &[u16]) {
        let mut said = Vec::new();
        for &node in nodes {
            said.push((node, self.logged(node)));
            self.spawn(node);
        }
        for (node, from) in said {
            if let Err(ended) = self.wait_until_it_serves(node, from) {
                panic!("node {node}: {ended:?}; {}", self.logs());
            }
        }
    }

    /// Starts a node again; its last words if it ends instead of serving.
    pub(crate) fn try_begin(&mut self, node: u16) -> Result<(), Ended> {
        let from = self.logged(node);
        self.spawn(node);
        self.wait_until_it_serves(node, from)
    }

    /// A machine whose disk was replaced: it joins those that run as a new node, and its old number is removed.
    pub(crate) fn renew(&mut self, node: u16) {
        assert!(!self.servers.contains_key(&node), "it runs");
        let (old, data) = (self.number(node), self.data(node));
        for entry in fs::read_dir(data).unwrap() {
            let path = entry.unwrap().path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            removed.unwrap();
        }
        let runs = *self.servers.keys().next().expect("another one runs");
        let address = self.address(runs, 2);
        let text = fs::read_to_string(self.configuration(node)).unwrap();
        let lines = text.lines().map(|line| {
            if line.starts_with("join = ") {
                format!("join = [\"{address}\"]\n")
            } else {
                format!("{line}\n")
            }
        });
        fs::write(self.configuration(node), lines.collect::<String>()).unwrap();
        self.begin(node);
        assert_ne!(self.number(node), old, "{}", self.logs());
        // Not asked of the new one, which knows nobody before it has its copy of the catalog. Refused while some shard elects a leader, or its leader has not heard from the others yet.
        let words = ["remove", &old.to_string()];
        let removed = within(READY_WITHIN, || match self.try_run(Some(runs), &words) {
            Ok(()) => true,
            Err(why) => {
                assert!(why.contains("not now"), "{why}; {}", self.logs());
                false
            }
        });
        assert!(removed, "{:?}; {}", self.status(node), self.logs());
    }

    fn spawn(&mut self, node: u16) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(node));
        let variables = self.environment.get(&node).into_iter().flatten();
        let child = self
            .command()
            .envs(variables.map(|(name, value)| (name, value)))
            .args(["serve", "--config"])
            .arg(self.configuration(node))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.servers.insert(node, child.unwrap());
    }

    fn wait_until_it_serves(&mut self, node: u16, from: usize) -> Result<(), Ended> {
        let until = Instant::now() + READY_WITHIN;
        let status = loop {
            if let Some(number) = self
                .status(node)
                .map(|one| one.node)
                .filter(|&one| one != 0)
            {
                self.numbers.insert(node, number);
                return Ok(());
            }
            let ended = self.ended(node);
            if ended.is_some() || Instant::now() > until {
                break ended;
            }
            thread::sleep(LOOK / 5);
        };
        self.kill(node);
        let words = self.logged_since(node, from);
        Err(Ended { status, words })
    }

    /// How a server ended by itself, if it did.
    pub(crate) fn ended(&mut self, node: u16) -> Option<ExitStatus> {
        let server = self.servers.get_mut(&node).expect("it was started");
        server.try_wait().unwrap()
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill(&mut self, node: u16) {
        self.kill_all(&[node]);
    }

    /// kill -9 of all of these at one moment.
    pub(crate) fn kill_all(&mut self, nodes: &[u16]) {
        let servers = nodes.iter().map(|node| self.servers.remove(node));
        let mut servers: Vec<Child> = servers.map(|server| server.expect("it runs")).collect();
        for server in &mut servers {
            server.kill().unwrap();
        }
        for server in &mut servers {
            server.wait().unwrap();
        }
    }

    /// Sends a signal by its name, like `STOP`.
    pub(crate) fn signal(&self, node: u16, signal: &str) {
        let id = self.process(node).to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn process(&self, node: u16) -> u32 {
        self.servers[&node].id()
    }

    /// What the cluster calls it.
    pub(crate) fn number(&self, node: u16) -> u64 {
        self.numbers[&node]
    }

    pub(crate) fn data(&self, node: u16) -> PathBuf {
        self.folder.join(format!("node-{node}"))
    }

    /// SIGTERM; it must end with code 0.
    pub(crate) fn stop(&mut self, node: u16) {
        let mut server = self.servers.remove(&node).expect("it runs");
        anser::process::terminate(server.id()).unwrap();
        let ended = server.wait().unwrap();
        assert!(ended.success(), "{ended}; {}", self.logs());
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> Vec<u16> {
        self.servers.keys().copied().collect()
    }

    /// What the cluster calls those that run.
    pub(crate) fn running_numbers(&self) -> Vec<u64> {
        self.servers.keys().map(|node| self.numbers[node]).collect()
    }

    /// `anser cluster` with these words, on a node that runs.
    pub(crate) fn run(&self, words: &[&str]) {
        self.try_run(self.servers.keys().next().copied(), words)
            .unwrap();
    }

    /// The same on this node, or what it said.
    fn try_run(&self, on: Option<u16>, words: &[&str]) -> Result<(), String> {
        let mut command = self.command();
        command.arg("cluster").args(words);
        if let Some(node) = on {
            command.arg("--config").arg(self.configuration(node));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{words:?}: {said}"))
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
        self.servers.keys().map(|&node| self.copied_to(node)).sum()
    }

    pub(crate) fn copied_to(&self, node: u16) -> u64 {
        let copied = self.metric(node, "anser_copy_received_bytes_total");
        copied.expect("it runs")
    }

    /// A number without labels; `None` from a node that does not answer.
    pub(crate) fn metric(&self, node: u16, name: &str) -> Option<u64> {
        let metrics = ask_admin(&self.address(node, 1), "/metrics")?;
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("there is no {name}: {metrics}"));
        Some(value.parse().unwrap())
    }

    /// Looks until every shard has its copies on the nodes that run, and none is behind; how long that took.
    pub(crate) fn wait_until_whole(&self, patience: Duration) -> Result<Duration, String> {
        let begun = Instant::now();
        let running = self.running();
        let whole = |&node: &u16| self.status(node).is_some_and(|one| is_whole(&one));
        if within(patience, || running.iter().all(whole)) {
            Ok(begun.elapsed())
        } else {
            Err(format!("not whole after {patience:?}: {:?}", self.look()))
        }
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

    /// How much a node has logged until now.
    pub(crate) fn logged(&self, node: u16) -> usize {
        fs::read(self.log(node)).map_or(0, |log| log.len())
    }

    pub(crate) fn logged_since(&self, node: u16, from: usize) -> String {
        let log = fs::read(self.log(node)).unwrap();
        String::from_utf8_lossy(&log[from..]).into_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
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

impl Nodes for Fleet {
    fn status(&self, node: u16) -> Option<Cluster> {
        let body = ask_admin(&self.address(node, 1), "/cluster")?;
        Some(serde_json::from_str(&body).unwrap())
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
