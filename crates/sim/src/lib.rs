//! Whole clusters in one thread: simulated time, network, disks and clocks, and everything that goes
//! wrong with them, from one seed. The replicas, the log and the broker are those of the product.
//!
//! Read [`run`] first, then `world.rs`. What is simulated and what is not is in `docs/simulation.md`.

mod checks;
mod client;
mod clock;
mod coverage;
mod event;
mod network;
mod plan;
mod planted;
mod process;
mod random;
mod trace;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

pub use coverage::PLACES;
pub use plan::Fault;
pub use planted::{PLANTED, Planted, plant};
pub use world::Statistics;

use anser_check::{Invalid, Rule, Violation};
use plan::Plan;
use world::World;

/// What came of one seed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub seed: u64,
    /// What must not be; empty if all is well.
    pub failures: Vec<String>,
    /// A hash of everything that happened.
    pub trace: u64,
    /// Simulated microseconds.
    pub simulated: u64,
    pub statistics: Statistics,
    /// How often each of [`PLACES`] was reached.
    pub reached: BTreeMap<&'static str, u64>,
}

/// Runs one seed. With `prints`, the trace is written to the standard output.
pub fn run(seed: u64, prints: bool) -> Outcome {
    run_only(seed, prints, &[])
}

/// As [`run`]; if any are named, with just these kinds of fault.
pub fn run_only(seed: u64, prints: bool, faults: &[Fault]) -> Outcome {
    // What an earlier seed left behind in a panic is not this one's.
    coverage::take();
    let ran = catch_unwind(AssertUnwindSafe(|| simulate(seed, prints, faults)));
    let mut outcome = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let failure = format!("panic: {}", text.unwrap_or_default());
        Outcome {
            failures: vec![failure],
            ..Outcome::default()
        }
    });
    outcome.seed = seed;
    outcome.reached = coverage::take();
    outcome
}

fn simulate(seed: u64, prints: bool, faults: &[Fault]) -> Outcome {
    let mut world = World::new(Plan::new(seed, faults), prints);
    world.run();
    world.describe();
    let (history, given_up, common) = world.into_history();
    let mut failures = common.checks.failures().to_vec();
    if failures.is_empty() {
        match anser_check::judge(&history) {
            Ok(report) => {
                let violations = report.violations.iter();
                let judged = violations.filter(|it| !is_excused(it, &given_up));
                failures.extend(judged.map(ToString::to_string));
            }
            // All its queues need every voter, and one of them is away.
            Err(Invalid::NothingAcknowledged | Invalid::EmptyDrain) => {}
            Err(invalid) => failures.push(format!("the history proves nothing: {invalid}")),
        }
    }
    Outcome {
        seed,
        failures,
        trace: common.trace.sum(),
        simulated: common.now,
        statistics: common.statistics,
        reached: BTreeMap::new(),
    }
}

/// Whether something is only missing, in a queue whose shard has lost its quorum for good.
fn is_excused(violation: &Violation, given_up: &BTreeSet<String>) -> bool {
    // Of a batch, and of what was rewound, a part may have come before.
    let is_missing = matches!(
        violation.rule,
        Rule::Loss | Rule::Redelivery | Rule::Batch | Rule::Rewind
    );
    is_missing && given_up.contains(&violation.queue)
}
