//! The time of shards: it runs like the simulation's, loses some now and then, and goes ahead only where one node
//! decides alone, when that starts, by no more than its configuration allows.

use std::collections::BTreeMap;

use anser_broker::time::{Millis, Timestamp};

use super::Checks;
use crate::{coverage::sometimes, event::Micros};

/// Clocks differ by one part in so many at most: the leaders' from the simulation's, and theirs from each other's.
const RATE_ERROR_DIVISOR: u64 = 1_000;
/// Two clocks that show whole milliseconds.
const BLUR: u64 = 4;

/// What is known of the time of each shard.
#[derive(Debug, Default)]
pub(crate) struct Times {
    newest: BTreeMap<u16, Known>,
    /// The newest term of which a leader was seen, and its time when it was seen first.
    begun: BTreeMap<u16, (u64, Timestamp)>,
    pub(crate) leaps: Vec<Leap>,
}

/// How far a shard's time was ahead of the simulation's, by the leader of the newest term that has stamped an entry.
#[derive(Debug, Clone, Copy)]
struct Known {
    term: u64,
    ahead: i64,
}

/// What a leader's time is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Led {
    pub(crate) term: u64,
    pub(crate) time: Timestamp,
    /// Of the last entry that it has applied.
    pub(crate) stamp: Timestamp,
}

/// A shard's time went ahead by so much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leap {
    pub(crate) shard: u16,
    pub(crate) at: Micros,
    pub(crate) by: Millis,
}

impl Checks {
    /// A node starts, and takes this for the time of a shard. If it decides alone, as everybody else knows too, that
    /// may be later than it was by as much as a node may have been off.
    pub(crate) fn begins_at(
        &mut self,
        (node, shard): (u64, u16),
        time: Timestamp,
        now: Micros,
        time_off_max: Millis,
    ) {
        if self.is_old_copy(node) || !self.decides_alone(node, shard) {
            return;
        }
        let ahead = ahead(time, now);
        let Some(known) = self.times.newest.get_mut(&shard) else {
            return;
        };
        let leap = gained(known.ahead, ahead, now);
        known.ahead = known.ahead.max(ahead);
        if leap > time_off_max.0 {
            return self.fail(format!(
                "node {node}, shard {shard}: starts with a time that went ahead by {leap} ms, {} at most",
                time_off_max.0
            ));
        }
        if leap > 0 {
            sometimes("the time of a shard went ahead while its only node was off");
            // What counts as no leap may be part of one.
            let by = Millis(leap + slack(now));
            self.times.leaps.push(Leap { shard, at: now, by });
        }
    }

    /// A replica leads. Its time is no later than that of the last leader by whose time something happened; nobody
    /// relies on what another made of it who stamped no entry.
    pub(crate) fn leads_at(&mut self, (node, shard): (u64, u16), led: Led, now: Micros) {
        let Led { term, time, stamp } = led;
        let ahead = ahead(time, now);
        let known = self.times.newest.get(&shard).copied();
        if known.is_some_and(|known| term < known.term) {
            return;
        }
        // What it stamped was no later either.
        let most = ahead.max(self::ahead(stamp, now));
        let leap = known.map_or(0, |known| gained(known.ahead, most, now));
        if leap > 0 {
            self.fail(format!(
                "node {node}, shard {shard}: leads term {term} by a time that went ahead by {leap} ms"
            ));
        }
        let begun = self.times.begun.entry(shard).or_insert((term, time));
        if begun.0 < term {
            *begun = (term, time);
        }
        let is_relied_on = *begun != (term, time) && begun.0 == term && stamp > begun.1;
        if known.is_none_or(|known| known.term == term) || is_relied_on {
            self.times.newest.insert(shard, Known { term, ahead });
        }
    }

    fn decides_alone(&self, node: u64, shard: u16) -> bool {
        let members = self.memberships_in_force(shard, |_| false);
        let alone = members.iter().all(|members| members.is_sole_voter(node));
        alone && !members.is_empty()
    }
}

fn ahead(time: Timestamp, now: Micros) -> i64 {
    let truth = crate::clock::truth(now);
    time.0.cast_signed() - truth.0.cast_signed()
}

/// By how much more it is ahead than before, beyond what is due to clocks that run fast or slow.
fn gained(before: i64, ahead: i64, now: Micros) -> u64 {
    let more = u64::try_from(ahead - before).unwrap_or(0);
    more.saturating_sub(slack(now))
}

fn slack(now: Micros) -> u64 {
    BLUR + now / 1_000 / RATE_ERROR_DIVISOR
}
