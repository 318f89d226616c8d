//! Since when each shard has its leader, and when that was last told to go: leaders that have just come are left alone.
//!
//! What is only about evenness waits until a shard has had its leader for a while, and longer each time that it changes
//! soon again. What has to go is told again only after the transfer before had its time: while one is under way, and its heir
//! does not answer, the shard takes no commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardView;

/// How long a leader is left where it is after it has come; twice as long if it changes again within the time of
/// [`FORGOTTEN_AFTER`].
const REST_FIRST: Duration = Duration::from_secs(2);
const REST_MOST: Duration = Duration::from_secs(300);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// How long an order has to be followed before it is given again; twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Tenures {
    shards: BTreeMap<u16, Tenure>,
}

#[derive(Debug)]
struct Tenure {
    leader: u64,
    since: Duration,
    /// How long it is left alone from then on.
    rest: Duration,
    /// When this leader was last told to go, and how long that is not told again.
    told: Option<(Duration, Duration)>,
}

impl Tenures {
    /// Takes note of who leads now. A shard without a leader keeps its last.
    pub(crate) fn look(&mut self, shards: &BTreeMap<u16, ShardView>, now: Duration) {
        for (&shard, state) in shards {
            match self.shards.get_mut(&shard) {
                Some(tenure) if tenure.leader == state.leader => {}
                Some(tenure) => *tenure = tenure.followed_by(state.leader, now),
                None => drop(self.shards.insert(shard, Tenure::first(state.leader, now))),
            }
        }
    }

    /// A shard's leader is told to hand over.
    pub(crate) fn told(&mut self, shard: u16, now: Duration) {
        if let Some(tenure) = self.shards.get_mut(&shard) {
            let pause = tenure.told.map_or(RETRY_FIRST, |(_, pause)| pause * 2);
            tenure.told = Some((now, pause.min(RETRY_MOST)));
        }
    }

    /// The shards whose leaders are not to be told again yet.
    pub(crate) fn told_lately(&self, now: Duration) -> BTreeSet<u16> {
        self.those(|tenure| {
            tenure
                .told
                .is_some_and(|(at, pause)| now.saturating_sub(at) < pause)
        })
    }

    /// The shards whose leaders have not been there for long enough to go for the sake of evenness.
    pub(crate) fn restless(&self, now: Duration) -> BTreeSet<u16> {
        self.those(|tenure| now.saturating_sub(tenure.since) < tenure.rest)
    }

    fn those(&self, is_meant: impl Fn(&Tenure) -> bool) -> BTreeSet<u16> {
        let those = self.shards.iter().filter(|(_, tenure)| is_meant(tenure));
        those.map(|(&shard, _)| shard).collect()
    }
}

impl Tenure {
    fn first(leader: u64, now: Duration) -> Self {
        Self {
            leader,
            since: now,
            rest: REST_FIRST,
            told: None,
        }
    }

    fn followed_by(&self, leader: u64, now: Duration) -> Self {
        let rest = if now.saturating_sub(self.since) < FORGOTTEN_AFTER {
            (self.rest * 2).min(REST_MOST)
        } else {
            REST_FIRST
        };
        Self {
            rest,
            ..Self::first(leader, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led_by(leader: u64) -> BTreeMap<u16, ShardView> {
        let state = ShardView {
            leader,
            ..ShardView::default()
        };
        [(7, state)].into()
    }

    /// How long the shard is left alone when its leader changes now.
    fn rest(tenures: &mut Tenures, leader: u64, now: Duration) -> Duration {
        tenures.look(&led_by(leader), now);
        let mut later = now;
        while tenures.restless(later).contains(&7) {
            later += Duration::from_secs(1);
        }
        later.saturating_sub(now)
    }

    #[test]
    fn a_shard_that_changes_its_leader_again_and_again_is_left_alone_for_longer() {
        let mut tenures = Tenures::default();
        let mut now = Duration::from_secs(1_000);
        let mut rests = Vec::new();
        for leader in [1, 2, 1, 2, 1, 2, 1, 2, 1, 2] {
            let rest = rest(&mut tenures, leader, now);
            rests.push(rest.as_secs());
            now += rest;
        }
        assert_eq!(rests, [2, 4, 8, 16, 32, 64, 128, 256, 300, 2]);
    }

    #[test]
    fn an_order_is_given_again_when_it_had_its_time() {
        let mut tenures = Tenures::default();
        let second = Duration::from_secs(1);
        let mut now = second * 1_000;
        tenures.look(&led_by(1), now);
        assert!(tenures.told_lately(now).is_empty());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            tenures.told(7, now);
            assert!(
                tenures
                    .told_lately(now + second * (seconds - 1))
                    .contains(&7)
            );
            now += second * seconds;
            assert!(tenures.told_lately(now).is_empty());
        }
        tenures.told(7, now);
        tenures.look(&led_by(2), now);
        assert!(tenures.told_lately(now).is_empty(), "another leads");
    }
}
