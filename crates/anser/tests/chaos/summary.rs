//! How every scenario ends: one line of one form, for whoever compares runs, and then the verdict.
//!
//! `scripts/chaos` takes a scenario that prints no such line for one that failed, so the line is printed before anything
//! is asserted, and of a run that proves nothing there is none.

use std::{fmt, time::Duration};

use anser_check::{Report, Rule};

use super::{
    probes::{Probes, Wrong},
    say,
    served::Served,
    story::Story,
};

#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) lost: u64,
    /// Losses included.
    pub(crate) violations: u64,
    /// The longest that any shard was not served, where probes looked.
    pub(crate) longest_gap: Option<Duration>,
}

impl Summary {
    /// What the judge said of a history.
    pub(crate) fn new(name: &str, (seed, rounds): (u64, u64), report: &Report) -> Self {
        let statistics = &report.statistics;
        Self {
            name: name.to_owned(),
            seed,
            rounds,
            acknowledged: statistics.acknowledged + statistics.topics.acknowledged,
            unknown: statistics.unknown + statistics.topics.unknown,
            lost: report.count(Rule::Loss) as u64,
            violations: report.violations.len() as u64,
            longest_gap: None,
        }
    }

    pub(crate) fn say(&self) {
        say(&self.to_string());
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            seed,
            rounds,
            acknowledged,
            unknown,
            lost,
            violations,
            longest_gap,
        } = self;
        let gap = longest_gap.map_or("-".to_owned(), |gap| gap.as_millis().to_string());
        write!(
            formatter,
            "CHAOS name={name} seed={seed} rounds={rounds} acknowledged={acknowledged} unknown={unknown} lost={lost} \
             violations={violations} longest_gap_ms={gap}"
        )
    }
}

/// Drains everything, has it judged, says the line, and fails if a promise was broken.
pub(crate) fn conclude(story: Story, probes: Option<Probes>, served: &impl Served) {
    let (name, seed_and_rounds) = (story.name(), (story.load.seed, story.rounds()));
    let report = story.finish(served);
    let mut summary = Summary::new(name, seed_and_rounds, &report);
    let mut wrong = Vec::new();
    if let Some(probes) = probes {
        let (acknowledged, unknown) = probes.counts();
        summary.acknowledged += acknowledged as u64;
        summary.unknown += unknown;
        summary.longest_gap = Some(probes.longest_gap());
        wrong = probes.finish(served);
        summary.lost += wrong.iter().map(Wrong::lost).sum::<u64>();
        summary.violations += wrong.len() as u64;
    }
    summary.say();
    assert!(report.passed(), "{report}; {}", served.logs());
    assert!(wrong.is_empty(), "{wrong:#?}; {}", served.logs());
}
