//! Which nodes should not lead: their disks are much slower than most others', or nearly full.
//!
//! A node is judged against the others and over seconds: a machine that is busy as a whole, or one sync that takes long,
//! moves no leader. Who was found unfit leads again only after it has been well for a while, and for longer each time
//! that it relapses: a disk that limps now and then moves its leaders a few times, not twice a minute.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{report::NodeReport, reports::Reports};
use pace::Pace;

mod pace;

/// How long a node has to be well before it leads again; so many times as long after each relapse.
const REST_FIRST: Duration = Duration::from_secs(10);
const REST_GROWTH: u32 = 4;
const REST_MOST: Duration = Duration::from_secs(600);
/// A node that has been fit for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Why a node should not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its syncs take much longer than most others'.
    Slow,
    /// Its disk is nearly full.
    Full,
    /// It ends soon.
    Leaving,
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Slow => "has a much slower disk than most",
            Self::Full => "has a disk that is nearly full",
            Self::Leaving => "ends soon",
        })
    }
}

/// How all nodes have been lately. Every node keeps this, so that whoever decides next has not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Fitness {
    nodes: BTreeMap<u64, Conduct>,
}

/// One node over time.
#[derive(Debug, Default)]
struct Conduct {
    pace: Pace,
    is_full: bool,
    leaves: bool,
    /// What it was found to be, until it has rested.
    found: Option<Unfit>,
    /// Since when there is nothing against it any more.
    well_since: Option<Duration>,
    /// When it was last found fit again.
    recovered: Option<Duration>,
    rest: Duration,
}

impl Fitness {
    /// Looks at the newest reports; at least as often as they come.
    pub(crate) fn look(&mut self, reports: &Reports, now: Duration) {
        self.nodes.retain(|&node, _| reports.of(node).is_some());
        for (node, heard) in reports.all() {
            let conduct = self.nodes.entry(node).or_default();
            if heard.is_recent(now) {
                conduct.hear(&heard.report, heard.at);
            } else {
                conduct.pace = Pace::default();
            }
        }
        let usual = pace::usual(self.nodes.values().filter_map(|one| one.pace.micros()));
        for conduct in self.nodes.values_mut() {
            conduct.judge(usual, now);
        }
    }

    pub(crate) fn of(&self, node: u64) -> Option<Unfit> {
        let conduct = self.nodes.get(&node)?;
        conduct.leaves.then_some(Unfit::Leaving).or(conduct.found)
    }
}

impl Conduct {
    fn hear(&mut self, report: &NodeReport, at: Duration) {
        self.pace.note(report.sync_micros, at);
        self.is_full = report.full;
        self.leaves = report.leaves;
    }

    fn judge(&mut self, usual: Option<u64>, now: Duration) {
        let was_slow = self.found == Some(Unfit::Slow);
        let against = if self.is_full {
            Some(Unfit::Full)
        } else {
            self.pace.is_slow(usual, was_slow).then_some(Unfit::Slow)
        };
        if against.is_some() {
            if self.found.is_none() {
                self.rest = self.rest_from(now);
            }
            self.found = against;
            self.well_since = None;
        } else if self.found.is_some() {
            let since = *self.well_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.rest {
                self.found = None;
                self.recovered = Some(now);
            }
        }
    }

    /// How long a node rests that is found unfit now.
    fn rest_from(&self, now: Duration) -> Duration {
        let fit_for = self.recovered.map(|at| now.saturating_sub(at));
        match fit_for {
            Some(fit_for) if fit_for < FORGOTTEN_AFTER => (self.rest * REST_GROWTH).min(REST_MOST),
            _ => REST_FIRST,
        }
    }
}

#[cfg(test)]
mod tests;
