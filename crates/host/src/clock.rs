//! The time of a shard on a node, made of what the node's clocks show.
//!
//! A shard's time never goes back and runs at the rate of a clock that never jumps. The wall clock is asked only
//! for what people see and, once at the start, to learn how long a node was off that decides alone; it is believed only
//! up to a bound, for a machine may boot with a clock that is days ahead.

use std::time::Duration;

use anser_broker::time::{Millis, Stamp, Timestamp};
use anser_replica::{Replica, TimeTold};

/// A machine's clock is taken to be wrong by one part in so many at most.
const RATE_ERROR_DIVISOR: u32 = 2_000;

/// What a node's clocks show at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since some moment before the start; never jumps.
    pub elapsed: Duration,
    /// The same for the ticks of consensus. It passes also while the other clocks of a test stand still, for an
    /// election must end there too.
    pub beat: Duration,
    /// Milliseconds since 1970 as people count them; may jump.
    pub wall: Timestamp,
    /// The clocks of a test, which show whole milliseconds and run at the rate of all others.
    pub is_exact: bool,
}

impl Now {
    /// How much of a moment is cut off when it is told in milliseconds.
    fn blur(&self) -> Millis {
        Millis(u64::from(!self.is_exact))
    }

    /// How much faster than another machine's this clock may have run.
    fn error_over(&self, length: Duration) -> Duration {
        if self.is_exact {
            Duration::ZERO
        } else {
            length / RATE_ERROR_DIVISOR
        }
    }
}

/// A shard's own time on this node: continues from the last stamp in its log.
#[derive(Debug, Clone, Copy)]
pub struct ShardTime {
    base: Timestamp,
    base_elapsed: Duration,
    follows: bool,
    /// It makes the stamps.
    leads: bool,
    /// The last stamp of which it is known by whose time it was made: this node's own, or one that was guessed from.
    ///
    /// Two entries may have the same stamp, and it tells them apart all the same: the entry of a leader that serves goes to
    /// others, and onto their disks, with the news that the first of its term is committed. So whoever has it has applied that
    /// first one before, and has begun anew with its stamp.
    known: Timestamp,
}

impl ShardTime {
    /// The time of a replica that has just been restored. Its stamps are of its leaders' clocks; only a sole
    /// voter's are all of this machine.
    pub fn of(replica: &Replica, now: &Now, time_off_max: Millis) -> Self {
        let last = replica.shard().now();
        if asks_the_wall() {
            Self::continue_from(last, now, Millis(u64::MAX))
        } else if replica.is_sole_voter() {
            Self::continue_from(last, now, time_off_max)
        } else {
            Self::of_others(last.now, now)
        }
    }

    /// Continues from `last`, adding the time the node was off as the wall clock tells it, less what
    /// rounding may have added, at most `time_off_max`; none if the wall clock went back. A first start begins with
    /// the wall clock.
    pub fn continue_from(last: Stamp, now: &Now, time_off_max: Millis) -> Self {
        let base = if last == Stamp::default() {
            now.wall
        } else {
            last.now + time_off(last, now).min(time_off_max)
        };
        Self {
            base,
            base_elapsed: now.elapsed,
            follows: false,
            leads: false,
            known: last.now,
        }
    }

    /// The time of a shard that others lead or have led: it is known only from their stamps.
    pub fn of_others(stamp: Timestamp, now: &Now) -> Self {
        Self {
            base: stamp,
            base_elapsed: now.elapsed,
            follows: true,
            leads: false,
            known: stamp,
        }
    }

    /// Follows another leader's time: its stamp is at least this old. A clock may run faster than the
    /// leader's by half a thousandth, so what has passed since counts a little less.
    pub fn follow(&mut self, stamp: Timestamp, now: &Now) {
        // Of the stamps that who leads again has followed, its own is never ahead: both must be left out to see it.
        if keeps_its_own() && self.known > Timestamp(0) {
            return;
        }
        *self = Self::of_others(stamp, now);
    }

    /// The shard's leader says what time it is, having made nothing since this stamp. It knows that better than this node,
    /// which was off, or got a copy of the shard, long after the stamp was made. An older leader says so too, as long as
    /// nothing of a newer one is known here; what that one does comes with a stamp, and ends what was believed of this.
    pub fn hear(&mut self, told: TimeTold, now: &Now) {
        if !self.leads && told.stamp == self.known && told.now > self.now(now) {
            self.base = told.now;
            self.base_elapsed = now.elapsed;
            self.follows = true;
        }
    }

    /// From now on this node's clock makes the time, from the shard's last stamp on. A stamp that is not known came in
    /// entries that were applied together with this leader's first. Who made it may have had less time than was
    /// guessed here, or than this node had when it led before; what was leased by that time must not end early, so
    /// nothing is added to it.
    pub fn lead(&mut self, stamp: Timestamp, now: &Now) {
        self.base = if stamp == self.known || keeps_its_own() {
            self.now(now).max(stamp)
        } else {
            stamp
        };
        self.base_elapsed = now.elapsed;
        self.follows = false;
        self.leads = true;
        self.known = stamp;
    }

    /// An entry was applied that this node made, if it leads.
    pub fn made(&mut self, stamp: Timestamp) {
        if self.leads {
            self.known = stamp;
        }
    }

    /// This node does not lead any more.
    pub fn cease(&mut self) {
        self.leads = false;
    }

    pub fn now(&self, now: &Now) -> Timestamp {
        let since = now.elapsed.saturating_sub(self.base_elapsed);
        let since = if self.follows {
            since.saturating_sub(now.error_over(since))
        } else {
            since
        };
        self.base + Millis(u64::try_from(since.as_millis()).expect("less than an age"))
    }

    pub fn stamp(&self, now: &Now) -> Stamp {
        Stamp {
            now: self.now(now),
            wall: now.wall,
            blur: now.blur(),
        }
    }

    /// What the clock that never jumps shows when this time, which is led here, has come.
    pub fn moment_of(&self, time: Timestamp) -> Duration {
        self.base_elapsed + Duration::from_millis((time - self.base).0)
    }
}

/// How long a node was off since this stamp, as its wall clock tells it.
pub fn time_off(last: Stamp, now: &Now) -> Millis {
    let off = now.wall - last.wall;
    Millis(off.0.saturating_sub(now.blur().0))
}

/// Whether every replica believes the wall clock at its start, however much it says, which is a bug.
fn asks_the_wall() -> bool {
    #[cfg(feature = "sabotage")]
    return anser_broker::sabotage::is_planted("time from the wall clock");
    #[cfg(not(feature = "sabotage"))]
    false
}

/// Whether a new leader goes on with what it took for the time, whoever led meanwhile, which is a bug.
fn keeps_its_own() -> bool {
    #[cfg(feature = "sabotage")]
    return anser_broker::sabotage::is_planted("time of before kept");
    #[cfg(not(feature = "sabotage"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(elapsed: u64, wall: u64) -> Now {
        Now {
            elapsed: Duration::from_millis(elapsed),
            beat: Duration::from_millis(elapsed),
            wall: Timestamp(wall),
            is_exact: true,
        }
    }

    const DAY: Millis = Millis(86_400_000);

    /// Core review, finding 4: a machine that boots with a clock a week ahead would end every retention at once.
    #[test]
    fn a_wall_clock_that_is_far_ahead_at_the_start_is_believed_up_to_a_bound() {
        let last = Stamp {
            now: Timestamp(1_000),
            wall: Timestamp(5_000),
            ..Stamp::default()
        };
        let ahead = at(0, 5_000 + 7 * DAY.0);
        assert_eq!(time_off(last, &ahead), Millis(7 * DAY.0));
        let time = ShardTime::continue_from(last, &ahead, DAY);
        assert_eq!(time.now(&ahead), Timestamp(1_000 + DAY.0));
        let time = ShardTime::continue_from(last, &ahead, Millis(0));
        assert_eq!(time.now(&ahead), Timestamp(1_000));
    }

    #[test]
    fn time_off_counts_but_a_wall_clock_that_went_back_does_not() {
        let last = Stamp {
            now: Timestamp(1_000),
            wall: Timestamp(5_000),
            ..Stamp::default()
        };
        let later = at(0, 7_000);
        let time = ShardTime::continue_from(last, &later, DAY);
        assert_eq!(time.now(&later), Timestamp(3_000));
        let earlier = at(0, 4_000);
        let time = ShardTime::continue_from(last, &earlier, DAY);
        assert_eq!(time.now(&earlier), Timestamp(1_000));
        assert_eq!(time.now(&at(10, 4_010)), Timestamp(1_010));
    }

    #[test]
    fn a_wrong_wall_clock_says_nothing_of_a_shard_that_others_lead() {
        let time = ShardTime::of_others(Timestamp(7), &at(0, 9_000_000));
        assert_eq!(time.now(&at(100, 9_000_100)), Timestamp(107));
    }

    #[test]
    fn a_new_leader_is_never_ahead_of_the_old_one() {
        let mut time = ShardTime::continue_from(Stamp::default(), &at(0, 9_000_000), DAY);
        time.follow(Timestamp(1_000), &at(0, 9_000_000));
        let later = at(10_000, 9_010_000);
        assert_eq!(time.now(&later), Timestamp(11_000));
        let inexact = Now {
            is_exact: false,
            ..later
        };
        assert_eq!(
            time.now(&inexact),
            Timestamp(10_995),
            "less, by a clock that may be fast"
        );
        time.lead(Timestamp(1_000), &later);
        let latest = at(20_000, 9_020_000);
        assert_eq!(time.now(&latest), Timestamp(21_000));
        time.follow(Timestamp(1), &latest);
        time.lead(Timestamp(30_000), &latest);
        assert_eq!(time.now(&latest), Timestamp(30_000));
    }

    /// Seed 1803007856: a leader moved to a node that had just got its copy, and leases ended as much later as it had been
    /// since the last entry.
    #[test]
    fn who_has_got_a_copy_goes_on_by_the_time_that_its_leader_says() {
        let told = |stamp, now| TimeTold {
            stamp: Timestamp(stamp),
            now: Timestamp(now),
        };
        let mut time = ShardTime::of_others(Timestamp(1_000), &at(0, 0));
        time.hear(told(900, 9_000), &at(10, 0));
        assert_eq!(time.now(&at(10, 0)), Timestamp(1_010), "of another state");
        time.hear(told(1_000, 1_005), &at(10, 0));
        assert_eq!(time.now(&at(10, 0)), Timestamp(1_010), "said long ago");
        time.hear(told(1_000, 5_000), &at(10, 0));
        assert_eq!(time.now(&at(20, 0)), Timestamp(5_010));
        time.lead(Timestamp(1_000), &at(30, 0));
        assert_eq!(time.now(&at(30, 0)), Timestamp(5_020));
        time.hear(told(1_000, 9_000), &at(30, 0));
        assert_eq!(time.now(&at(30, 0)), Timestamp(5_020), "it leads itself");
    }

    #[test]
    fn what_a_leader_said_of_the_time_ends_with_the_next_entry() {
        let mut time = ShardTime::of_others(Timestamp(1_000), &at(0, 0));
        let (stamp, now) = (Timestamp(1_000), Timestamp(5_000));
        time.hear(TimeTold { stamp, now }, &at(0, 0));
        time.follow(Timestamp(2_000), &at(10, 0));
        assert_eq!(time.now(&at(10, 0)), Timestamp(2_000));
        time.hear(TimeTold { stamp, now }, &at(10, 0));
        assert_eq!(time.now(&at(10, 0)), Timestamp(2_000));
    }

    /// A leader is cut off, and who is elected meanwhile has lost the time of the election. What was leased by that time
    /// must not end by the one of who was cut off, when it leads again and learns of those entries by its own first.
    #[test]
    fn who_leads_again_goes_on_by_the_time_of_who_led_meanwhile() {
        let mut time = ShardTime::of_others(Timestamp(1_000), &at(0, 0));
        time.lead(Timestamp(1_000), &at(0, 0));
        time.made(Timestamp(2_000));
        time.lead(Timestamp(2_000), &at(5_000, 0));
        assert_eq!(time.now(&at(5_000, 0)), Timestamp(6_000), "its own time");
        time.lead(Timestamp(3_000), &at(5_000, 0));
        assert_eq!(time.now(&at(5_000, 0)), Timestamp(3_000));
    }

    #[test]
    fn a_moment_that_is_waited_for_has_come_when_its_time_is_there() {
        let time = ShardTime::continue_from(Stamp::default(), &at(3, 1_000), DAY);
        assert_eq!(time.moment_of(Timestamp(1_500)), Duration::from_millis(503));
        assert_eq!(time.now(&at(503, 0)), Timestamp(1_500));
        assert_eq!(time.now(&at(502, 0)), Timestamp(1_499));
        assert_eq!(time.moment_of(Timestamp(900)), Duration::from_millis(3));
    }
}
