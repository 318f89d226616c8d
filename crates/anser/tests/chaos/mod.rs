//! Real processes under real faults: kill -9, power loss, full disk, failing and late fsync, damaged files, bad receivers,
//! nodes of a cluster that are killed, stand still, lose their disk or are cut off, whose clocks jump, that come and that go.
//!
//! Every test drives the built program with many clients, records what they saw, and lets the history
//! checker judge it. `CHAOS_ROUNDS` and `CHAOS_SEED` set length and chance; both are printed, and a failed
//! run leaves its history in the target folder. `scripts/chaos` has the list of scenarios and plays them. What this machine does not allow is said on standard
//! error as `SKIPPED <what>: <why>`. Scenarios that measure
//! run alone; others run beside each other.

mod clock;
mod copying;
mod damage;
mod disk;
mod encrypted;
mod failures;
mod fan_out;
mod fleet;
mod full_disk;
mod growing;
mod kill;
mod mending;
mod namespaces;
mod nats;
mod nervous;
mod node_faults;
mod node_kill;
mod oneway;
mod overload;
mod partition;
mod power_loss;
mod powerless;
mod probes;
mod receivers;
mod recorder;
mod replacing;
mod rolling;
pub(crate) mod served;
mod server;
mod slow_disk;
mod starved;
mod story;
mod strace;
mod summary;
mod sync_failure;
mod sync_order;
mod upgrading;
mod workload;

use std::{
    env,
    io::{Write, stderr},
    path::Path,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
};

static TURN: RwLock<()> = RwLock::new(());

/// Holds off all other tests of this module: of whoever says how long something takes, or promises that no request fails.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Lets others of its kind run beside it. Half of the time of a scenario is spent on waiting until nothing can come any more.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// A folder for one test, gone when it ends. After a scenario that failed by command it stays, to be looked into.
struct Folder(Option<tempfile::TempDir>);

fn folder() -> Folder {
    Folder(Some(tempfile::tempdir().unwrap()))
}

impl Folder {
    fn path(&self) -> &Path {
        self.0.as_ref().expect("it is there until the end").path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take()
            && is_by_command()
            && thread::panicking()
        {
            say(&format!("the data is in {}", folder.keep().display()));
        }
    }
}

/// Whether somebody asked for just this scenario, by `scripts/chaos`.
fn is_by_command() -> bool {
    env::var_os("CHAOS_STRICT").is_some()
}

/// Says that a test did not run. Written past the test's captured output: nobody looks into a test that
/// passed, and this one must not look like one that did. By command it is a failure.
fn skipped(what: &str, why: &str) {
    assert!(!is_by_command(), "SKIPPED {what}: {why}");
    writeln!(stderr(), "SKIPPED {what}: {why}").ok();
}

/// Tells whoever reads the output of a failed test, or runs with `--nocapture`.
#[expect(
    clippy::print_stderr,
    reason = "a run must be repeatable from its output"
)]
fn say(line: &str) {
    eprintln!("{line}");
}
