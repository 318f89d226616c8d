//! Which node leads which shard, as far as this node has heard.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anser_broker::id::ShardId;

use crate::{port::Port, signal::Signal};

/// How long any number of requests wait for a leader: as long as one that hands over in order takes, with much to spare.
const HANDOVER: Duration = Duration::from_millis(500);

/// The newest leader of each shard. What is heard of an older term changes nothing.
#[derive(Debug)]
pub struct Leaders {
    /// This node.
    node: u64,
    shards: Mutex<Vec<Led>>,
    /// Counts changes, for whoever waits for one.
    changes: Signal<u64>,
    /// Requests that wait for a leader of a shard that has had none for longer than it takes to hand over.
    waiting: AtomicUsize,
    /// For each shard, the millisecond, from 1 on, in which a request found no leader, if none has found one since.
    lost: Box<[AtomicU64]>,
}

/// Nobody has missed the leader of the shard.
const LED: u64 = 0;

/// A request that waits for the leader of a shard that has had none for long, until it is dropped.
#[derive(Debug)]
pub(super) struct Waits<'a>(&'a Leaders);

impl Waits<'_> {
    /// How many others wait too, for whatever leader.
    fn others(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Led {
    term: u64,
    leader: Option<u64>,
    /// The leader is this node, and it has applied an entry of its term.
    serves_here: bool,
}

impl Leaders {
    pub fn new(node: u64, shards: u16) -> Self {
        Self {
            node,
            shards: Mutex::new(vec![Led::default(); usize::from(shards)]),
            changes: Signal::default(),
            waiting: AtomicUsize::new(0),
            lost: (0..shards).map(|_| AtomicU64::new(LED)).collect(),
        }
    }

    /// The number of this node.
    pub fn node(&self) -> u64 {
        self.node
    }

    pub fn of(&self, shard: ShardId) -> Option<u64> {
        self.lock().get(usize::from(shard.0))?.leader
    }

    pub fn serves_here(&self, shard: ShardId) -> bool {
        self.lock()
            .get(usize::from(shard.0))
            .is_some_and(|led| led.serves_here)
    }

    /// Whether this node leads none.
    pub fn leads_nothing(&self) -> bool {
        self.lock().iter().all(|led| !led.serves_here)
    }

    /// Whether every shard has a leader.
    pub fn all_known(&self) -> bool {
        self.lock().iter().all(|led| led.leader.is_some())
    }

    /// The shards that no leader is known of, in ascending order.
    pub fn without_leader(&self) -> Vec<ShardId> {
        let shards = self.lock();
        let led = (0..).map(ShardId).zip(shards.iter());
        led.filter(|(_, led)| led.leader.is_none())
            .map(|(shard, _)| shard)
            .collect()
    }

    /// A leader of this term was heard of.
    pub fn heard(&self, shard: ShardId, term: u64, leader: u64) {
        self.change(shard, |led| {
            let newer = term > led.term || term == led.term && led.leader.is_none();
            newer.then_some(Led {
                term,
                leader: Some(leader),
                serves_here: false,
            })
        });
    }

    /// This node begins or ends to serve a shard in this term.
    pub fn serves(&self, shard: ShardId, term: u64, serves: bool) {
        let node = self.node;
        self.change(shard, |led| {
            let newer = term >= led.term || led.serves_here && !serves;
            newer.then_some(Led {
                term: term.max(led.term),
                leader: if serves {
                    Some(node)
                } else {
                    led.leader.filter(|&leader| leader != node)
                },
                serves_here: serves,
            })
        });
    }

    /// The node cannot be reached: whoever asks it would ask in vain.
    pub fn lost(&self, node: u64) {
        let mut shards = self.lock();
        for led in shards.iter_mut().filter(|led| led.leader == Some(node)) {
            led.leader = None;
        }
        drop(shards);
        self.changes.count();
    }

    /// The shard is led: somebody has answered.
    pub(super) fn found(&self, shard: ShardId) {
        if let Some(lost) = self.lost.get(usize::from(shard.0))
            && lost.load(Ordering::Relaxed) != LED
        {
            lost.store(LED, Ordering::Relaxed);
        }
    }

    /// Whether a request that has found no leader of the shard may wait, or go on waiting. It counts if nobody has found one
    /// for longer than a leader that hands over in order takes.
    pub(super) fn may_wait<'a>(
        &'a self,
        port: &impl Port,
        shard: ShardId,
        waits: &mut Option<Waits<'a>>,
    ) -> bool {
        if self.missed_for(shard, port.elapsed()) < HANDOVER {
            return true;
        }
        if let Some(waits) = waits {
            return port.may_wait(waits.others());
        }
        let may_wait = port.may_wait(self.waiting.load(Ordering::Relaxed));
        if may_wait {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            *waits = Some(Waits(self));
        }
        may_wait
    }

    /// For how long requests for the shard have found no leader.
    fn missed_for(&self, shard: ShardId, now: Duration) -> Duration {
        let now = u64::try_from(now.as_millis()).expect("less than an age") + 1;
        let since = self.lost.get(usize::from(shard.0)).map_or(now, |lost| {
            let begun = lost.compare_exchange(LED, now, Ordering::Relaxed, Ordering::Relaxed);
            begun.err().unwrap_or(now)
        });
        Duration::from_millis(now.saturating_sub(since))
    }

    /// How often anything has changed.
    pub fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Waits until more has changed than so much.
    pub async fn changed_since(&self, changes: u64) {
        self.changes.wait_for(|&now| now > changes).await;
    }

    fn change(&self, shard: ShardId, change: impl FnOnce(Led) -> Option<Led>) {
        let mut shards = self.lock();
        let Some(led) = shards.get_mut(usize::from(shard.0)) else {
            return;
        };
        let Some(next) = change(*led).filter(|next| next != led) else {
            return;
        };
        *led = next;
        drop(shards);
        self.changes.count();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Led>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);

    #[test]
    fn the_newest_term_counts() {
        let leaders = Leaders::new(1, 2);
        leaders.heard(SHARD, 4, 2);
        leaders.heard(SHARD, 3, 3);
        assert_eq!(leaders.of(SHARD), Some(2));
        leaders.serves(SHARD, 5, true);
        assert!(leaders.serves_here(SHARD));
        leaders.heard(SHARD, 5, 3);
        assert_eq!(leaders.of(SHARD), Some(1), "a term has one leader");
        leaders.heard(SHARD, 6, 3);
        assert!(!leaders.serves_here(SHARD));
        leaders.serves(SHARD, 6, false);
        assert_eq!(leaders.of(SHARD), Some(3));
    }

    #[test]
    fn a_shard_without_a_leader_is_known() {
        let leaders = Leaders::new(1, 3);
        leaders.serves(ShardId(0), 1, true);
        leaders.heard(ShardId(2), 4, 2);
        assert_eq!(leaders.without_leader(), [ShardId(1)]);
        leaders.lost(2);
        assert_eq!(leaders.without_leader(), [ShardId(1), ShardId(2)]);
    }

    #[test]
    fn who_cannot_be_reached_leads_nothing_until_heard_again() {
        let leaders = Leaders::new(1, 2);
        leaders.heard(SHARD, 4, 2);
        leaders.lost(2);
        assert_eq!(leaders.of(SHARD), None);
        leaders.heard(SHARD, 4, 2);
        assert_eq!(leaders.of(SHARD), Some(2));
    }
}
