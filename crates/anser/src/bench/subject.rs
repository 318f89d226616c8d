//! The server under measurement: one of our own in a process of its own, or one that runs already.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    commands::queue::target::Access,
    process::{self, Usage},
};

const KEY_ID: &str = "bench";
const SECRET: &str = "a-secret-of-the-benchmark-only";
const STOP_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Subject {
    pub(crate) access: Access,
    /// Absent if a running server's process is not known: then there is no CPU or memory to show.
    process_id: Option<u32>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    folder: PathBuf,
    remove: bool,
    child: Child,
    /// Kept open: a server whose output is closed could not print.
    output: BufReader<ChildStdout>,
}

impl Subject {
    /// A server that runs already.
    pub(crate) fn running(access: Access, process_id: Option<u32>) -> Self {
        Self {
            access,
            process_id,
            own: None,
        }
    }

    /// Starts a server of our own below `folder`; without one, below the system's temporary folder,
    /// and removed at the end.
    pub fn start(folder: Option<PathBuf>) -> Result<Self> {
        let remove = folder.is_none();
        let folder = folder.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("anser-bench-{}", std::process::id()))
        });
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let (child, output, endpoint) = spawn(&folder)?;
        let access = Access {
            endpoint,
            tls: None,
            key_id: KEY_ID.into(),
            secret: SECRET.into(),
            key_source: "made for this measurement".into(),
        };
        let process_id = Some(child.id());
        Ok(Self {
            access,
            process_id,
            own: Some(Own {
                folder,
                remove,
                child,
                output,
            }),
        })
    }

    /// The folder whose disk is measured, if it is known.
    pub fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.as_path())
    }

    /// The server's process, if it is known.
    pub fn process_id(&self) -> Option<u32> {
        self.process_id
    }

    /// Where our own server shows its metrics, from what it says of itself.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let log = log_of(&own.folder);
        let said =
            fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let mut words = said.split_whitespace();
        let address = words.find_map(|word| {
            let word = word.strip_prefix("http://")?;
            word.strip_suffix("/metrics")?.parse().ok()
        });
        Ok(address)
    }

    /// CPU time and memory of the server so far.
    pub fn usage(&self) -> Result<Option<Usage>> {
        self.process_id
            .map(|id| process::usage(Some(id)))
            .transpose()
    }

    /// Ends our own server and starts it again; `None` if it is not ours. Gives the time from the
    /// start of the process until it said that it serves.
    pub fn restart(&mut self, how: Ending) -> Result<Option<Duration>> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        own.end(how)?;
        let began = Instant::now();
        let (child, output, endpoint) = spawn(&own.folder)?;
        let took = began.elapsed();
        self.process_id = Some(child.id());
        self.access.endpoint = endpoint;
        own.child = child;
        own.output = output;
        Ok(Some(took))
    }

    /// Ends our own server; one that ran already goes on.
    pub fn finish(mut self) -> Result<()> {
        self.own
            .as_mut()
            .map_or(Ok(()), |own| own.end(Ending::Orderly))
    }
}

/// How a server's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With everything flushed.
    Orderly,
    /// As in a crash.
    Kill,
}

impl Own {
    fn end(&mut self, how: Ending) -> Result<()> {
        match how {
            Ending::Orderly => process::terminate(self.child.id())?,
            Ending::Kill => self.child.kill()?,
        }
        let began = Instant::now();
        while began.elapsed() < STOP_PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                if how == Ending::Orderly && !status.success() {
                    bail!(
                        "the server ended with {status}: see {}",
                        log_of(&self.folder).display()
                    );
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server did not end in {} s", STOP_PATIENCE.as_secs())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // After an error the server may still run; nobody else will end it.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if self.remove {
            fs::remove_dir_all(&self.folder).ok();
        }
    }
}

fn spawn(folder: &Path) -> Result<(Child, BufReader<ChildStdout>, String)> {
    let log = log_of(folder);
    let mut child = Command::new(std::env::current_exe()?)
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--master-key-file")
        .arg(folder.join("master.key"))
        .args(["--key", &format!("{KEY_ID}:{SECRET}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).with_context(|| format!("cannot make {}", log.display()))?)
        .spawn()
        .context("cannot start a server")?;
    let mut output = BufReader::new(child.stdout.take().context("the server has no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let Some(endpoint) = line.trim_end().strip_prefix("ready ") else {
        child.kill().ok();
        let status = child.wait()?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("the server did not start ({status}): {said}")
    };
    Ok((child, output, endpoint.to_owned()))
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("server.log")
}
