//! Servers of one cluster as an operator runs them: `anser serve`, each with a configuration of its own, in which
//! everything can change between two starts.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anser::{
    client::Client,
    cluster::{token::Token, view::Cluster},
    config::Config,
    keystore::{Key, Store},
};

use super::dev_cluster::{ask_admin, within};

const KEY_ID: &str = "CLUSTER-ID-00000000000001";
const SECRET: &str = "cluster-secret-not-real-0001";
/// Longer than anything takes that works, on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where a server is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) admin: u16,
    pub(crate) peers: u16,
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

/// By name, which is that of the data folder too.
pub(crate) struct Servers {
    folder: PathBuf,
    ports: BTreeMap<String, Ports>,
    running: BTreeMap<String, Running>,
}

impl Servers {
    pub(crate) fn new(folder: &Path) -> Self {
        Token::create(&folder.join("token")).unwrap();
        Self {
            folder: folder.to_owned(),
            ports: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Writes the configuration of a server that does not run.
    pub(crate) fn settle(&mut self, name: &str, ports: Ports, join: &[u16]) {
        let Ports { api, admin, peers } = ports;
        let join: Vec<String> = join
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let text = format!(
            "data = \"{name}\"\nmaster_key_file = \"master.key\"\n\
             [storage]\nshards = 4\nwal_file_bytes = \"8 MiB\"\nwal_budget_bytes = \"32 MiB\"\n\
             segment_bytes = \"8 MiB\"\n\
             [api]\nlisten = \"127.0.0.1:{api}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [cluster]\nlisten = \"127.0.0.1:{peers}\"\ntoken_file = \"token\"\njoin = {join:?}\n"
        );
        fs::write(self.file(name), text).unwrap();
        self.ports.insert(name.into(), ports);
    }

    /// Makes a server the first of the cluster, with the access key of the tests.
    pub(crate) fn form(&self, name: &str) {
        let config = Config::read(&self.file(name)).unwrap();
        let store = Store::open(&config.general.data, &config.master_key_file().unwrap()).unwrap();
        let key = Key::new(KEY_ID.into(), SECRET.into(), 7, None).unwrap();
        store.add(key).unwrap();
        let formed = self.run(&["cluster", "form"], name);
        assert!(formed.status.success(), "{formed:?}");
    }

    pub(crate) fn begin(&mut self, name: &str) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file(name));
        let mut command = self.command();
        let command = command.arg("serve").arg("--config").arg(self.file(name));
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(log.unwrap()).spawn().unwrap();
        let output = child.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        self.running.insert(name.into(), Running { child, lines });
    }

    /// Waits until a server that was begun says that it is ready.
    pub(crate) fn wait_until_ready(&mut self, name: &str) {
        let running = self.running.get_mut(name).expect("it was begun");
        let line = running.lines.recv_timeout(PATIENCE);
        let is_ready = line.as_ref().is_ok_and(|line| line.starts_with("ready"));
        if !is_ready {
            let ended = running.child.try_wait();
            panic!("{name}: {line:?}, ended: {ended:?}{}", self.logs());
        }
    }

    pub(crate) fn start(&mut self, name: &str) {
        self.begin(name);
        self.wait_until_ready(name);
    }

    /// Waits until a server ends by itself.
    pub(crate) fn end(&mut self, name: &str) -> ExitStatus {
        let mut running = self.running.remove(name).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() >= until {
                running.child.kill().unwrap();
                running.child.wait().unwrap();
                panic!("{name} does not end{}", self.logs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self, name: &str) {
        let mut running = self.running.remove(name).unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    pub(crate) fn stop(&mut self, name: &str) {
        anser::process::terminate(self.running[name].child.id()).unwrap();
        assert_eq!(self.end(name).code(), Some(0), "{}", self.logs());
    }

    /// Copies the data folder of one server for another.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.folder.join(from), self.folder.join(to));
        let copied = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.unwrap().success());
    }

    /// Waits until a server has seen that the catalog has heard of its start.
    pub(crate) fn wait_until_registered(&self, name: &str) {
        let file = self.folder.join(name).join("node.json");
        self.wait_until("the catalog has heard of the start", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            text.contains("\"start_is_known\": true")
        });
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        let endpoint = format!("http://127.0.0.1:{}", self.ports[name].api);
        Client::new(&endpoint, KEY_ID, SECRET).unwrap()
    }

    /// What a server knows of the cluster; `None` if it does not answer.
    pub(crate) fn status(&self, name: &str) -> Option<Cluster> {
        let address = format!("127.0.0.1:{}", self.ports[name].admin);
        let body = ask_admin(&address, "/cluster")?;
        Some(serde_json::from_str(&body).unwrap())
    }

    /// Waits until a server sees so many copies of every shard, and all of them near.
    pub(crate) fn wait_for_copies(&self, name: &str, copies: usize) {
        self.wait_until("every shard has its copies", || {
            self.status(name).is_some_and(|status| {
                status.shards.len() == 4
                    && status.shards.iter().all(|shard| {
                        let near = |replica: &anser::cluster::view::Replica| replica.lag == 0;
                        shard.voters.len() == copies && shard.replicas.iter().all(near)
                    })
            })
        });
    }

    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        assert!(within(PATIENCE, condition), "never: {what}{}", self.logs());
    }

    /// Runs `anser` with these words and a server's configuration.
    pub(crate) fn run(&self, words: &[&str], name: &str) -> Output {
        let mut command = self.command();
        let command = command.args(words).arg("--config").arg(self.file(name));
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap()
    }

    /// The last lines of every log, for messages of failed tests.
    pub(crate) fn logs(&self) -> String {
        let log = |name: &String| {
            let text = fs::read_to_string(self.log_file(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n");
            format!("\n== {name}\n{tail}")
        };
        self.ports.keys().map(log).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
        command.env_clear().env("HOME", &self.folder);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            running.child.kill().ok();
            running.child.wait().ok();
        }
    }
}
