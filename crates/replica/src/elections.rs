//! How long a replica waits for a leader before it asks to lead, drawn from a seed.

use raft::{Raft, StateRole, storage::Storage};

/// Heartbeats without an answer before a follower asks to lead, at least.
pub(crate) const ELECTION_TICKS: usize = 14;
pub(crate) const HEARTBEAT_TICKS: usize = 2;

/// raft-rs draws its timeouts from the machine's random source; these replace them.
#[derive(Debug)]
pub(crate) struct Elections {
    seed: u64,
    timeout: usize,
    drawn_for: Option<(StateRole, u64)>,
}

impl Elections {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            timeout: ELECTION_TICKS,
            drawn_for: None,
        }
    }

    /// Sets the timeout, a new one after each change of role or term. Belongs after everything that
    /// may change these.
    pub(crate) fn settle<T: Storage>(&mut self, raft: &mut Raft<T>) {
        let now = Some((raft.state, raft.term));
        if now != self.drawn_for {
            self.drawn_for = now;
            self.timeout = self.draw();
        }
        if raft.randomized_election_timeout() != self.timeout {
            raft.set_randomized_election_timeout(self.timeout);
        }
    }

    /// Between one and two times the least wait. The generator is `SplitMix64`.
    fn draw(&mut self) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let span = ELECTION_TICKS as u64;
        ELECTION_TICKS + usize::try_from(mixed % span).expect("the span is small")
    }
}
