//! Real processes under real faults: kill -9, power loss, full disk, failing and late fsync, bad receivers, nodes
//! of a cluster that are killed, stand still, lose their disk or are cut off, that come and that go.
//!
//! Every test drives the built program with many clients, records what they saw, and lets the history
//! checker judge it. `CHAOS_ROUNDS` and `CHAOS_SEED` set length and chance; both are printed, and a failed
//! run leaves its history in the target folder. What this machine does not allow is said on standard
//! error as `SKIPPED <what>: <why>`. The tests run one at a time: each wants the machine for itself.

mod disk;
mod encrypted;
mod failures;
mod fan_out;
mod fleet;
mod full_disk;
mod growing;
mod kill;
mod namespaces;
mod nervous;
mod node_faults;
mod node_kill;
mod overload;
mod partition;
mod power_loss;
mod probes;
mod receivers;
mod recorder;
mod replacing;
mod rolling;
pub(crate) mod served;
mod server;
mod slow_disk;
mod story;
mod strace;
mod sync_failure;
mod sync_order;
mod workload;

use std::{
    io::{Write, stderr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Holds off the other tests of this module.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a test did not run. Written past the test's captured output: nobody looks into a test that
/// passed, and this one must not look like one that did.
fn skipped(what: &str, why: &str) {
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
