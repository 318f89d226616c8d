//! strace, attached to a running server: to see its system calls, or to make them fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::disk::run;

const ATTACH_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Strace {
    child: Child,
    output: PathBuf,
}

impl Strace {
    /// Attaches to all threads of a process; says why if it cannot. `rules` are strace's `-e` expressions.
    pub(crate) fn attach(process: u32, folder: &Path, rules: &[&str]) -> Result<Self, String> {
        install()?;
        let output = folder.join("strace.out");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-ttt", "-y", "-s", "100000", "-o"])
            .arg(&output);
        for rule in rules {
            command.args(["-e", rule]);
        }
        let notes =
            fs::File::create(folder.join("strace.err")).map_err(|error| error.to_string())?;
        command
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(notes);
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut strace = Self { child, output };
        strace.wait_until_attached(process, &folder.join("strace.err"))?;
        Ok(strace)
    }

    fn wait_until_attached(&mut self, process: u32, notes: &Path) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < ATTACH_WITHIN {
            if let Ok(Some(_)) = self.child.try_wait() {
                let words = fs::read_to_string(notes).unwrap_or_default();
                return Err(format!("strace cannot attach: {}", words.trim()));
            }
            if threads_traced(process) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("strace did not attach in time".to_owned())
    }

    /// Detaches and gives back what was seen, a line a call.
    pub(crate) fn finish(mut self) -> String {
        anser::process::terminate(self.child.id()).ok();
        self.child.wait().unwrap();
        self.seen()
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        anser::process::terminate(self.child.id()).ok();
        self.child.wait().ok();
    }
}

/// Whether each thread of the process has a tracer.
fn threads_traced(process: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    let traced = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    tasks.filter_map(Result::ok).all(traced)
}

fn install() -> Result<(), String> {
    if run(Command::new("strace").arg("-V")).is_ok() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("there is no strace".to_owned());
    }
    run(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "strace"]))
        .map_err(|why| format!("there is no strace, and it cannot be installed: {why}"))
}
