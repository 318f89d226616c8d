//! What the system knows about a process, and the files that name it.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    exit::Exit,
    files::{self, FileLock},
    paths,
};

/// How long to wait for whoever holds a data directory. A child that another server is starting at this moment holds
/// copies of the server's open files, its lock among them, until the child's program begins.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// The unit of CPU times in `/proc` on every Linux.
const TICK_MICROS: u64 = 10_000;

/// A data directory that this process alone serves. Dropping it removes the process id file.
#[derive(Debug)]
pub struct Claim {
    data: std::path::PathBuf,
    _lock: FileLock,
}

/// `None` if somebody else keeps it.
fn lock(path: &Path) -> Result<Option<FileLock>> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let lock = FileLock::try_take(path)?;
        if lock.is_some() || Instant::now() >= until {
            return Ok(lock);
        }
        thread::sleep(LOCK_INTERVAL);
    }
}

impl Claim {
    /// Fails if another server uses the data directory.
    pub fn take(data: &Path) -> Result<Self> {
        files::make_private_folder(data)?;
        let Some(lock) = lock(&paths::server_lock(data))? else {
            let holder = process_of(data).map_or(String::new(), |id| format!(" (process {id})"));
            return Err(Exit::InUse.error(format!(
                "another server{holder} uses the data directory {}: \
                 stop it, or choose another directory",
                data.display(),
            )));
        };
        let id = format!("{}\n", std::process::id());
        files::replace(&paths::process_id(data), id.as_bytes())?;
        Ok(Self {
            data: data.to_owned(),
            _lock: lock,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock is what counts; a file that stays is only stale.
        fs::remove_file(paths::process_id(&self.data)).ok();
    }
}

/// The process id a server wrote into its data directory. It may be stale.
pub fn process_of(data: &Path) -> Option<u32> {
    fs::read_to_string(paths::process_id(data))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether the process that wrote its id into a data directory seems to be there still.
pub fn is_served(data: &Path) -> bool {
    process_of(data).is_some_and(|id| Path::new(&format!("/proc/{id}/stat")).exists())
}

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since the process began, in steps of ten milliseconds.
    pub cpu_micros: u64,
    pub resident_bytes: u64,
    pub threads: u64,
}

/// What a process has used; of this one without an id.
pub fn usage(id: Option<u32>) -> Result<Usage> {
    let process = id.map_or_else(|| "self".into(), |id| id.to_string());
    let read = |name| {
        let path = format!("/proc/{process}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    parse(&read("stat")?, &read("status")?).context("/proc has an unknown form")
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The second field is the name in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks = |place: usize| {
        after_name
            .split_whitespace()
            .nth(place - 3)?
            .parse::<u64>()
            .ok()
    };
    let field = |name| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Usage {
        cpu_micros: (ticks(14)? + ticks(15)?) * TICK_MICROS,
        resident_bytes: field("VmRSS:")? * 1024,
        threads: field("Threads:")?,
    })
}

/// Asks a process to end.
pub fn terminate(id: u32) -> Result<()> {
    let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        bail!("{id} is no process id");
    };
    kill_process(pid, Signal::TERM).with_context(|| format!("cannot end process {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_after_a_strange_name_are_found() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 20 1";
        let usage = parse(stat, "Name:\ta\nVmRSS:\t  20 kB\nThreads:\t9\n").unwrap();
        let expected = Usage {
            cpu_micros: 3_000_000,
            resident_bytes: 20_480,
            threads: 9,
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn a_data_directory_has_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::take(folder.path()).unwrap();
        let error = Claim::take(folder.path()).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::InUse);
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id()))
        );
        drop(claim);
        assert!(!paths::process_id(folder.path()).exists());
        Claim::take(folder.path()).unwrap();
    }
}
