//! The server as a process: started, killed, asked to end, and never left behind.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::served::{Doors, Served};

pub(crate) const KEY_ID: &str = "CHAOS-ID-0000000000000001";
pub(crate) const SECRET: &str = "chaos-secret-not-real-0001";
/// Recovery of the largest log these tests write takes well under this, on a busy machine too.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where a server keeps what it knows, and how it is started there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its home; the master key is here, never on the disk that breaks.
    pub(crate) home: PathBuf,
    pub(crate) data: PathBuf,
    /// The `[storage]` section, if it is not the default one.
    pub(crate) storage: Option<String>,
    /// The `[push]` section, if it is not the default one.
    pub(crate) push: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: String,
    errors: PathBuf,
}

impl Place {
    /// Starts a server here and waits until it serves.
    pub(crate) fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(errors) => panic!("the server did not get ready: {errors}"),
        }
    }

    /// Starts a server here; its words if it does not get ready.
    pub(crate) fn try_start(&self) -> Result<Server, String> {
        fs::create_dir_all(&self.home).map_err(|error| error.to_string())?;
        let errors = self.home.join("server.log");
        let log = fs::File::options().create(true).append(true).open(&errors);
        let log = log.map_err(|error| error.to_string())?;
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let output = child.stdout.take().expect("standard output is a pipe");
        let mut server = Server {
            child,
            endpoint: String::new(),
            errors,
        };
        match first_line(output) {
            Some(line) if line.starts_with("ready ") => {
                line["ready ".len()..]
                    .trim()
                    .clone_into(&mut server.endpoint);
                Ok(server)
            }
            other => Err(format!("{other:?}; {}", server.log_tail())),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
        command.env_clear().env("HOME", &self.home);
        let address = "127.0.0.1:0";
        if self.storage.is_some() || self.push.is_some() {
            let section = |name: &str, text: &Option<String>| {
                let text = text.as_deref().unwrap_or_default();
                format!("[{name}]\n{text}\n")
            };
            let storage = section("storage", &self.storage);
            let push = section("push", &self.push);
            self.make_key();
            let file = self.home.join("anser.toml");
            let data = self.data.display();
            let text = format!(
                "data = \"{data}\"\n[api]\nlisten = \"{address}\"\n[admin]\nlisten = \"{address}\"\n\
                 {storage}{push}"
            );
            fs::write(&file, text).unwrap();
            command.arg("serve").arg("--config").arg(file);
        } else {
            command.args(["dev", "--listen", address, "--admin", address, "--data"]);
            command
                .arg(&self.data)
                .args(["--account", "123456789012", "--key"]);
            command.arg(format!("{KEY_ID}:{SECRET}"));
        }
        command
    }

    /// `serve` takes no key on its command line: a first start of `dev` leaves ours in the key store.
    pub(crate) fn make_key(&self) {
        if self.data.join("keys.anser").exists() {
            return;
        }
        let first = Self {
            storage: None,
            push: None,
            data: self.home.join("first"),
            ..self.clone()
        };
        first.start().stop();
        fs::create_dir_all(&self.data).unwrap();
        let keys = self.data.join("keys.anser");
        fs::copy(first.data.join("keys.anser"), &keys).unwrap();
        // The server syncs what it writes itself; this copy is ours, and power may be lost soon.
        for path in [
            &keys,
            &self.data,
            self.data.parent().expect("data is in a folder"),
        ] {
            fs::File::open(path).unwrap().sync_all().unwrap();
        }
        fs::remove_dir_all(&first.data).unwrap();
    }
}

impl Served for Server {
    fn doors(&self) -> Doors {
        Doors {
            endpoints: vec![self.endpoint.clone()],
            key_id: KEY_ID,
            secret: SECRET,
        }
    }

    fn logs(&self) -> String {
        self.log_tail()
    }
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits until it did.
    pub(crate) fn stop(mut self) {
        anser::process::terminate(self.id()).unwrap();
        let status = self
            .wait(Duration::from_secs(30))
            .expect("it ends when asked to");
        assert!(status.success(), "ended with {status}: {}", self.log_tail());
    }

    /// How it ended by itself, if it does in time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if begun.elapsed() > patience {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The first line of a process's output, if it comes in time. The rest is read and dropped.
fn first_line(output: impl Read + Send + 'static) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(output).lines();
        if let Some(Ok(line)) = lines.next() {
            sender.send(line).ok();
        }
        drop(sender);
        lines.for_each(drop);
    });
    receiver.recv_timeout(READY_WITHIN).ok()
}

/// A folder on a path, with a place for the server in it.
pub(crate) fn place_in(folder: &Path) -> Place {
    Place {
        home: folder.join("home"),
        data: folder.join("data"),
        storage: None,
        push: None,
    }
}
