//! The processes of a cluster's nodes: started, heard, reaped, and asked to end.
//!
//! Each is an `anser serve` in a process group of its own, so that Ctrl-C in a terminal reaches it
//! only through this process. One that is killed takes nobody with it, this process included.

use std::{
    fmt,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::plan;
use crate::{exit::Exit, logs, output, process};

/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Above the time that a server gives to requests under way when it ends.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a node may take to get its number.
const NUMBER_PATIENCE: Duration = Duration::from_secs(5);
/// Enough of a log to find its last words in.
const LOG_TAIL_BYTES: u64 = 4096;

/// What became of a node.
pub(super) enum Happened {
    /// It serves; its line says where.
    Ready {
        line: String,
    },
    Ended {
        node: u16,
        how: End,
    },
    /// Every node has ended.
    AllGone {
        exit: Exit,
    },
}

/// How a process ended, in words.
pub(super) struct End {
    status: ExitStatus,
    last_words: Option<String>,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(formatter, "ended with code {code}")?,
            (None, Some(signal)) => write!(formatter, "was killed by signal {signal}")?,
            (None, None) => write!(formatter, "ended")?,
        }
        match &self.last_words {
            Some(words) => write!(formatter, " ({words})"),
            None => Ok(()),
        }
    }
}

struct Process {
    node: u16,
    child: Child,
    log: PathBuf,
    ready: bool,
    /// Set once it is reaped: from then on its process id may be another's.
    ended: bool,
}

/// The processes that this one has started.
#[derive(Default)]
pub(super) struct Children {
    processes: Vec<Process>,
    /// What they print; ends when all of them have closed their standard output.
    lines: Option<UnboundedReceiver<(u16, String)>>,
    /// The code of the last one that failed.
    exit: Option<i32>,
}

/// Waits until a node has its number in the cluster, or is not likely to get one.
async fn wait_for_number(data: &Path, node: u16) {
    let numbered = async {
        while !plan::has_number(data, node) {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Without it the numbers differ from the folders' names, and nothing else.
    tokio::time::timeout(NUMBER_PATIENCE, numbered).await.ok();
}

impl Children {
    /// Starts a process for each node. Those that have no number yet start one after another, so that
    /// each gets its own; none waits for another to serve.
    pub(super) async fn start_all(
        &mut self,
        data: &Path,
        nodes: &[u16],
        format: Option<logs::Format>,
    ) -> Result<()> {
        let (sender, lines) = unbounded_channel();
        self.lines = Some(lines);
        for (position, &node) in nodes.iter().enumerate() {
            if position > 0 && !plan::has_number(data, node) {
                wait_for_number(data, nodes[position - 1]).await;
            }
            let process = start(data, node, format, &sender)
                .with_context(|| format!("cannot start node {node}"))?;
            self.processes.push(process);
        }
        Ok(())
    }

    /// The next thing that happens to any of them.
    pub(super) async fn next(&mut self) -> Happened {
        loop {
            if let Some(happened) = self.reap() {
                return happened;
            }
            if self.processes.iter().all(|process| process.ended) {
                let exit = self.exit.map_or(Exit::Failed, Exit::of_code);
                return Happened::AllGone { exit };
            }
            let Some(lines) = &mut self.lines else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            tokio::select! {
                line = lines.recv() => match line {
                    Some((node, line)) => if let Some(happened) = self.heard(node, line) {
                        return happened;
                    },
                    None => self.lines = None,
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn heard(&mut self, node: u16, line: String) -> Option<Happened> {
        let process = self
            .processes
            .iter_mut()
            .find(|process| process.node == node)?;
        if process.ready || !line.starts_with("ready ") {
            return None;
        }
        process.ready = true;
        Some(Happened::Ready { line })
    }

    fn reap(&mut self) -> Option<Happened> {
        let (node, status, log) = self.processes.iter_mut().find_map(|process| {
            if process.ended {
                return None;
            }
            // An error means that there is nothing to wait for.
            let status = process
                .child
                .try_wait()
                .unwrap_or(Some(ExitStatus::default()))?;
            process.ended = true;
            Some((process.node, status, process.log.clone()))
        })?;
        let failed = status.code().filter(|code| *code != 0);
        self.exit = failed.or(self.exit);
        let last_words = failed.and_then(|_| last_error(&log));
        Some(Happened::Ended {
            node,
            how: End { status, last_words },
        })
    }

    /// Whether each of them serves or has ended.
    pub(super) fn are_settled(&self) -> bool {
        let mut processes = self.processes.iter();
        processes.all(|process| process.ready || process.ended)
    }

    pub(super) fn are_alive(&self) -> bool {
        self.processes().next().is_some()
    }

    /// Those that have not ended, by node, with their process ids.
    pub(super) fn processes(&self) -> impl Iterator<Item = (u16, u32)> {
        let alive = self.processes.iter().filter(|process| !process.ended);
        alive.map(|process| (process.node, process.child.id()))
    }

    /// Asks all to end and waits until they have; one that does not is killed.
    pub(super) async fn stop(&mut self) {
        for (node, id) in self.processes() {
            if let Err(error) = process::terminate(id) {
                output::note(format_args!("node {node}: {error:#}"));
            }
        }
        let until = Instant::now() + STOP_PATIENCE;
        while self.are_alive() {
            match self.reap() {
                Some(Happened::Ended { node, how }) if how.status.code() != Some(0) => {
                    output::note(format_args!("node {node} {how}"));
                }
                Some(_) => {}
                None if Instant::now() > until => break,
                None => tokio::time::sleep(LOOK).await,
            }
        }
        for process in self.processes.iter_mut().filter(|process| !process.ended) {
            output::note(format_args!(
                "node {} does not end: it is killed",
                process.node
            ));
            // It may have ended in this moment, which is as good.
            process.child.kill().ok();
            process.child.wait().ok();
        }
    }
}

/// SIGTERM and SIGINT, which no longer end this process by themselves.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn start(
    data: &Path,
    node: u16,
    format: Option<logs::Format>,
    lines: &UnboundedSender<(u16, String)>,
) -> Result<Process> {
    let log = plan::log_file(data, node);
    let errors = File::options().create(true).append(true).open(&log);
    let errors = errors.with_context(|| format!("cannot open {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(format) = format {
        command.args(["--log-format", format.name()]);
    }
    command
        .args(["serve", "--config"])
        .arg(plan::settings_file(data, node))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .process_group(0);
    let mut child = command.spawn()?;
    let output = child.stdout.take().context("standard output is a pipe")?;
    let lines = lines.clone();
    thread::Builder::new()
        .name(format!("node-{node}"))
        .spawn(move || pass_on(node, output, &lines))?;
    Ok(Process {
        node,
        child,
        log,
        ready: false,
        ended: false,
    })
}

fn pass_on(node: u16, output: ChildStdout, lines: &UnboundedSender<(u16, String)>) {
    // It ends with the process, or with what cannot be read.
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // Whoever asked for the lines may have gone; the process must be able to go on writing.
        lines.send((node, line)).ok();
    }
}

/// What a process said last of why it ends.
fn last_error(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = fs::metadata(log).ok()?.len();
    let start = length.saturating_sub(LOG_TAIL_BYTES);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut tail = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let last = tail.lines().next_back()?;
    last.strip_prefix("error: ").map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_log_are_an_error_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(last_error(&log), None);
        fs::write(&log, "x".repeat(9000) + "\nerror: another server\n").unwrap();
        assert_eq!(last_error(&log).as_deref(), Some("another server"));
        fs::write(&log, "error: old\nserving\n").unwrap();
        assert_eq!(last_error(&log), None);
    }

    #[test]
    fn an_end_is_told_in_words() {
        let end = |raw, words: Option<&str>| {
            let last_words = words.map(ToOwned::to_owned);
            let status = ExitStatus::from_raw(raw);
            End { status, last_words }.to_string()
        };
        assert_eq!(end(9, None), "was killed by signal 9");
        assert_eq!(end(75 << 8, Some("in use")), "ended with code 75 (in use)");
    }
}
