//! The command line of the simulator.
#![expect(clippy::print_stdout, reason = "a command line program")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anser_sim::{Fault, Outcome, PLACES, PLANTED, Planted, Statistics, plant, run_only};

const USAGE: &str = "anser-sim --seeds FIRST..LAST [--threads N] [--planted NAME|all] [--faults KIND,...] | --seed N";

struct Arguments {
    first: u64,
    last: u64,
    prints: bool,
    threads: u64,
    planted: String,
    /// If any are named, just these kinds, whatever a bug that is planted is found by.
    faults: Vec<Fault>,
}

fn main() -> ExitCode {
    let Some(arguments) = read(std::env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    if arguments.planted == "all" {
        return try_planted(&arguments);
    }
    let Some(planted) = plant(&arguments.planted) else {
        println!("no such bug; they need the feature `sabotage`:");
        for bug in PLANTED {
            println!("  {}: {}", bug.name, bug.place);
        }
        return ExitCode::from(2);
    };
    let total = run_all(&arguments, &planted, u64::MAX);
    total.print();
    if total.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments {
        first: 1,
        last: 0,
        prints: false,
        threads: 1,
        planted: String::new(),
        faults: Vec::new(),
    };
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seed" => {
                arguments.first = value.parse().ok()?;
                arguments.last = arguments.first;
                arguments.prints = true;
            }
            "--seeds" => {
                let (first, last) = value.split_once("..")?;
                arguments.first = first.parse().ok()?;
                arguments.last = last.trim_start_matches('=').parse().ok()?;
            }
            "--threads" => arguments.threads = value.parse().ok()?,
            "--planted" => arguments.planted = value,
            "--faults" => arguments.faults = value.split(',').map(named).collect::<Option<_>>()?,
            _ => return None,
        }
    }
    (arguments.last >= arguments.first).then_some(arguments)
}

/// The kind of fault of this name.
fn named(name: &str) -> Option<Fault> {
    let mut all = Fault::ALL.into_iter();
    all.find(|fault| format!("{fault:?}") == name)
}

#[derive(Default)]
struct Total {
    seeds: u64,
    failed: Vec<(u64, String)>,
    simulated: u64,
    spent: Duration,
    statistics: Statistics,
    reached: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.statistics.add(&outcome.statistics);
        for (&place, times) in &outcome.reached {
            *self.reached.entry(place).or_default() += times;
        }
        if let Some(first) = outcome.failures.first() {
            self.failed.push((outcome.seed, first.clone()));
        }
    }

    fn print(&self) {
        let simulated = Duration::from_micros(self.simulated);
        let times = simulated.as_secs_f64() / self.spent.as_secs_f64().max(0.001);
        println!("{} seeds, {} failed", self.seeds, self.failed.len());
        println!(
            "{:.0} s of CPU for {:.1} h of simulated time: {times:.0} times as fast",
            self.spent.as_secs_f64(),
            simulated.as_secs_f64() / 3600.0
        );
        println!("{:#?}", self.statistics);
        for place in PLACES {
            println!("{:>9} {place}", self.reached.get(place).unwrap_or(&0));
        }
        for (seed, failure) in &self.failed {
            println!("seed {seed}: {failure}");
        }
    }
}

/// Runs seeds until all are done or so many have failed.
fn run_all(arguments: &Arguments, planted: &Planted, failures_max: u64) -> Total {
    let next = AtomicU64::new(arguments.first);
    let failures = AtomicU64::new(0);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                plant(planted.name);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = failures.load(Ordering::Relaxed) >= failures_max;
                    if seed > arguments.last || enough {
                        return;
                    }
                    let begun = Instant::now();
                    let faults = match &arguments.faults[..] {
                        [] => planted.faults,
                        named => named,
                    };
                    let outcome = run_only(seed, arguments.prints, faults);
                    if let Some(first) = outcome.failures.first() {
                        failures.fetch_add(1, Ordering::Relaxed);
                        tell(seed, planted.name, first);
                    }
                    let mut total = total.lock().expect("no holder of this lock panics");
                    total.spent += begun.elapsed();
                    total.add(&outcome);
                }
            });
        }
    });
    total.into_inner().expect("no holder of this lock panics")
}

fn tell(seed: u64, planted: &str, failure: &str) {
    println!("seed {seed} failed: {failure}");
    if planted.is_empty() {
        println!("  again: cargo run --release -p anser-sim -- --seed {seed}");
    } else {
        println!(
            "  again: cargo run --release -p anser-sim --features sabotage -- --planted '{planted}' --seed {seed}"
        );
    }
}

/// Plants each bug in turn and says how many seeds it took to find it.
fn try_planted(arguments: &Arguments) -> ExitCode {
    let mut missed = 0;
    for bug in PLANTED {
        if plant(bug.name).is_none() {
            println!("planted bugs need the feature `sabotage`");
            return ExitCode::from(2);
        }
        let total = run_all(arguments, bug, 1);
        if let Some((seed, failure)) = total.failed.first() {
            println!("| {bug} | {} | {seed} | {failure} |", total.seeds);
        } else {
            missed += 1;
            println!("| {bug} | not found in {} |  |  |", total.seeds);
        }
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
