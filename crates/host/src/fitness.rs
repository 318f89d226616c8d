//! Whether a node should not lead: its disk is much slower than most others', or nearly full.
//!
//! A node is judged against the others and over seconds: a machine that is busy as a whole, or one sync that takes long,
//! moves no leader. Who was found unfit leads again only after it has been well for a while, and for longer each time
//! that it relapses: a disk that limps now and then moves its leaders a few times, not twice a minute.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{report::NodeReport, reports::Reports};
use pace::Pace;

mod pace;

/// A disk has to look slow for so long: where all become slow or fast at once, each hears that of the others a little earlier
/// or later than of itself.
const CONFIRMED_AFTER: Duration = Duration::from_secs(1);
/// How long a node has to be well before it leads again; so many times as long after each relapse.
const REST_FIRST: Duration = Duration::from_secs(10);
const REST_GROWTH: u32 = 4;
const REST_MOST: Duration = Duration::from_secs(600);
/// A node that has been fit for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Why a node should not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfit {
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

/// What a node thinks of itself, and how fast all disks have been lately.
///
/// Each node judges itself and says so in its reports, so whoever decides on leaders decides by one judgement. Otherwise:
/// 1. Node 3 leads the catalog and finds itself slow; of node 2 it has heard too little. It hands the catalog to node 2.
/// 2. Node 2 has found itself slow, and knows nothing against node 3. It hands the catalog back, and so on.
#[derive(Debug, Default)]
pub struct Fitness {
    paces: BTreeMap<u64, Pace>,
    /// Since when its disk looks slow.
    slow_since: Option<Duration>,
    /// What this node was found to be, until it has rested.
    found: Option<Unfit>,
    /// Since when there is nothing against it any more.
    well_since: Option<Duration>,
    /// When it was last found fit again.
    recovered: Option<Duration>,
    rest: Duration,
}

impl Fitness {
    /// What is to be said of the node that is about to report so, by what all nodes have said before; called for every report.
    pub fn judge(&mut self, own: &NodeReport, heard: &Reports, now: Duration) -> Option<Unfit> {
        self.hear(heard, now);
        let usual = pace::usual(self.paces.values().filter_map(Pace::micros));
        let was_slow = self.found == Some(Unfit::Slow);
        let pace = self.paces.get(&own.node);
        let is_slow = pace.map_or(was_slow, |pace| pace.is_slow(usual, was_slow));
        let is_slow = self.is_so_for_long(is_slow, now);
        let against = own.full.then_some(Unfit::Full);
        self.find(against.or(is_slow.then_some(Unfit::Slow)), now);
        self.found
    }

    fn is_so_for_long(&mut self, is_slow: bool, now: Duration) -> bool {
        if !is_slow {
            self.slow_since = None;
        }
        is_slow && now.saturating_sub(*self.slow_since.get_or_insert(now)) >= CONFIRMED_AFTER
    }

    fn hear(&mut self, heard: &Reports, now: Duration) {
        self.paces.retain(|&node, _| heard.of(node).is_some());
        for (node, heard) in heard.all() {
            let pace = self.paces.entry(node).or_default();
            if heard.is_recent(now) {
                pace.note(heard.report.sync_micros, heard.at);
            } else {
                *pace = Pace::default();
            }
        }
    }

    fn find(&mut self, against: Option<Unfit>, now: Duration) {
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
