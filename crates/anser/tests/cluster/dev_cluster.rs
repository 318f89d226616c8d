//! A cluster of `anser dev --nodes` for tests: started, its nodes killed and brought back, never left
//! behind.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anser::{client::Client, cluster::view::Cluster};

use crate::{
    chaos::served::{Doors, Nodes, Served},
    ports,
};

pub(crate) const KEY_ID: &str = "CLUSTER-ID-00000000000001";
pub(crate) const SECRET: &str = "cluster-secret-not-real-0001";
/// A fresh cluster on a busy machine takes well under this.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Ports of one node are this far from those of the one before, as documented.
const STEP: u16 = 10;

/// An `anser dev` process and the lines of its standard output.
struct Parent {
    child: Child,
    lines: Receiver<String>,
}

/// Nodes `1..=count` of one cluster in one folder.
pub(crate) struct DevCluster {
    folder: PathBuf,
    count: u16,
    port: u16,
    parent: Option<Parent>,
    /// Of nodes that were brought back, each with a parent of its own.
    again: BTreeMap<u16, Parent>,
}

impl DevCluster {
    /// Chooses ports; nothing runs yet. Settings for `node-N.toml` can be written before the start.
    pub(crate) fn new(folder: &Path, count: u16) -> Self {
        fs::create_dir_all(folder.join("data")).unwrap();
        Self {
            folder: folder.to_owned(),
            count,
            port: free_ports(count),
            parent: None,
            again: BTreeMap::new(),
        }
    }

    /// Gives every node this configuration; ports, paths and the like are added when it starts.
    pub(crate) fn settle(&self, configuration: &str) {
        for node in 1..=self.count {
            let file = self.folder.join(format!("data/node-{node}.toml"));
            fs::write(file, configuration).unwrap();
        }
    }

    /// Adds settings to the configuration that a node has, whose server does not run.
    pub(crate) fn resettle(&self, node: u16, change: impl FnOnce(&str) -> String) {
        let file = self.folder.join(format!("data/node-{node}.toml"));
        let configuration = fs::read_to_string(&file).unwrap();
        fs::write(file, change(&configuration)).unwrap();
    }

    /// Starts all nodes and waits until each is ready.
    pub(crate) fn start(&mut self) {
        let nodes = self.count.to_string();
        let listen = format!("127.0.0.1:{}", self.port);
        let key = format!("{KEY_ID}:{SECRET}");
        let parent = self.spawn(&["--nodes", &nodes, "--listen", &listen, "--key", &key]);
        let mut ready: Vec<String> = (0..self.count).map(|_| self.line(&parent)).collect();
        ready.sort();
        let expected = (1..=self.count).map(|node| format!("ready {}", self.endpoint(node)));
        assert_eq!(ready, expected.collect::<Vec<_>>(), "{}", self.logs());
        self.parent = Some(parent);
    }

    /// Waits for the line that says that every shard has all its copies.
    pub(crate) fn wait_for_copies(&self) {
        let line = self.line(self.parent.as_ref().expect("it was started"));
        assert!(line.contains("every shard has"), "{line}; {}", self.logs());
    }

    /// The process that started all nodes.
    pub(crate) fn parent_id(&self) -> u32 {
        self.parent.as_ref().expect("it was started").child.id()
    }

    pub(crate) fn data(&self, node: u16) -> PathBuf {
        self.folder.join(format!("data/node-{node}"))
    }

    /// The process id that a node has written into its data directory.
    pub(crate) fn process(&self, node: u16) -> u32 {
        let path = self.data(node).join("anser.pid");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn endpoint(&self, node: u16) -> String {
        format!("http://127.0.0.1:{}", self.port + STEP * (node - 1))
    }

    pub(crate) fn admin(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.port + 1 + STEP * (node - 1))
    }

    pub(crate) fn client(&self, node: u16) -> Client {
        Client::new(&self.endpoint(node), KEY_ID, SECRET).unwrap()
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill(&self, node: u16) {
        let id = self.process(node);
        let killed = Command::new("kill").args(["-9", &id.to_string()]).status();
        assert!(killed.unwrap().success());
        let gone = || !Path::new(&format!("/proc/{id}")).exists();
        assert!(within(READY_WITHIN, gone), "node {node} stays");
    }

    /// The number that the cluster gave to a node when it joined: they join in any order, so node 2 of the
    /// command line may be number 3.
    pub(crate) fn number(&self, node: u16) -> u64 {
        self.status(node).expect("the node answers").node
    }

    /// kill -9 of all nodes at one moment, and waits until the processes that started them have ended
    /// too, as they do by themselves.
    pub(crate) fn kill_all(&mut self) {
        let ids = (1..=self.count).map(|node| self.process(node).to_string());
        let killed = Command::new("kill").arg("-9").args(ids).status();
        assert!(killed.unwrap().success());
        let parents = self.parent.take().into_iter();
        for mut parent in parents.chain(std::mem::take(&mut self.again).into_values()) {
            parent.child.wait().unwrap();
        }
    }

    /// Sends a signal by its name, like `STOP`, to a node.
    pub(crate) fn signal(&self, node: u16, signal: &str) {
        let id = self.process(node).to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Starts a node that was killed, by `--only`, and waits until it is ready.
    pub(crate) fn restart(&mut self, node: u16) {
        let (nodes, only) = (self.count.to_string(), node.to_string());
        let parent = self.spawn(&["--nodes", &nodes, "--only", &only]);
        let expected = format!("ready {}", self.endpoint(node));
        assert_eq!(self.line(&parent), expected, "{}", self.logs());
        let former = self.again.insert(node, parent);
        if let Some(mut former) = former {
            // Its node was killed, so it ends by itself.
            former.child.wait().unwrap();
        }
    }

    /// SIGTERM to everything that was started; each must end with code 0.
    pub(crate) fn stop(mut self) {
        let parents = self.parent.take().into_iter();
        let parents = parents.chain(std::mem::take(&mut self.again).into_values());
        for mut parent in parents {
            if parent.child.try_wait().unwrap().is_some() {
                continue; // Every node that it had started was killed.
            }
            anser::process::terminate(parent.child.id()).unwrap();
            assert_eq!(
                parent.child.wait().unwrap().code(),
                Some(0),
                "{}",
                self.logs()
            );
        }
    }

    /// What a node knows of the cluster; `None` if it does not answer.
    pub(crate) fn status(&self, node: u16) -> Option<Cluster> {
        let body = ask_admin(&self.admin(node), "/cluster")?;
        Some(serde_json::from_str(&body).unwrap())
    }

    /// Runs `anser` with these words on this cluster's folder.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command();
        let command = command
            .args(words)
            .arg("--data")
            .arg(self.folder.join("data"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// All that a node has logged.
    pub(crate) fn log(&self, node: u16) -> String {
        fs::read_to_string(self.data(node).join("anser.log")).unwrap()
    }

    /// Runs a server with the settings and ports of a node that does not run, and an empty folder of this
    /// name, until it ends by itself.
    pub(crate) fn serve_as(&self, node: u16, name: &str) -> Output {
        let settings = |name: &str| self.folder.join(format!("data/{name}.toml"));
        let node = format!("node-{node}");
        let text = fs::read_to_string(settings(&node)).unwrap();
        let (old, new) = (format!("data = \"{node}\""), format!("data = \"{name}\""));
        assert!(text.contains(&old), "{text}");
        fs::write(settings(name), text.replacen(&old, &new, 1)).unwrap();
        let mut command = self.command();
        let command = command.arg("serve").arg("--config").arg(settings(name));
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + READY_WITHIN;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() >= until {
                child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(50));
        }
        child.wait_with_output().unwrap()
    }

    /// The last lines of every log, for messages of failed tests.
    pub(crate) fn logs(&self) -> String {
        let log = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            format!("\n== {}\n{tail}", path.display())
        };
        let nodes = (1..=self.count).map(|node| self.data(node).join("anser.log"));
        nodes
            .chain([self.folder.join("parent.log")])
            .map(log)
            .collect()
    }

    fn spawn(&self, words: &[&str]) -> Parent {
        let errors = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("parent.log"));
        let mut child = self
            .command()
            .arg("dev")
            .arg("--data")
            .arg(self.folder.join("data"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.unwrap())
            .spawn()
            .unwrap();
        let output = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        Parent { child, lines }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
        command.env_clear().env("HOME", &self.folder);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    fn line(&self, parent: &Parent) -> String {
        let line = parent.lines.recv_timeout(READY_WITHIN);
        line.unwrap_or_else(|error| panic!("no line ({error}): {}", self.logs()))
    }
}

impl Served for DevCluster {
    fn doors(&self) -> Doors {
        Doors {
            endpoints: (1..=self.count).map(|node| self.endpoint(node)).collect(),
            key_id: KEY_ID,
            secret: SECRET,
        }
    }

    fn logs(&self) -> String {
        self.logs()
    }
}

impl Nodes for DevCluster {
    fn status(&self, node: u16) -> Option<Cluster> {
        self.status(node)
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        let parents = self.parent.iter_mut().chain(self.again.values_mut());
        for parent in parents {
            parent.child.kill().ok();
            parent.child.wait().ok();
        }
        for node in 1..=self.count {
            // A parent that is killed leaves its nodes; a stale file may name somebody else's process.
            let Some(id) = anser::process::process_of(&self.data(node)) else {
                continue;
            };
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let ours = self.folder.join("data").display().to_string();
            if String::from_utf8_lossy(&line).contains(&ours) {
                let killed = Command::new("kill").args(["-9", &id.to_string()]).status();
                killed.ok();
            }
        }
    }
}

/// The body of an answer of an admin port; `None` if nobody answers there.
pub(crate) fn ask_admin(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Some(body.to_owned())
}

/// Whether it becomes true in time.
pub(crate) fn within(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let until = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port such that all ports of so many nodes are free at this moment.
fn free_ports(nodes: u16) -> u16 {
    let offsets = (0..nodes).flat_map(|node| (0..3).map(move |purpose| STEP * node + purpose));
    ports::free_at(&offsets.collect::<Vec<_>>())
}
