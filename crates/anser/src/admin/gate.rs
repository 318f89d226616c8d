//! Who may change the cluster through the admin port: whoever proves the token over the challenge of
//! the moment.
//!
//! There is one challenge at a time, however many ask for it, so asking takes no memory and shuts
//! nobody out. A proof that was good ends it, hence none is good twice; an old one ends by itself.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;

use crate::cluster::{
    proof::{Change, Prover, hex},
    token::Token,
};

/// How long a change may be held back by somebody between the operator and the server.
const CHALLENGE_TIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Gate {
    prover: Prover,
    challenge: Mutex<Challenge>,
}

#[derive(Debug)]
struct Challenge {
    text: String,
    made: Instant,
}

impl Gate {
    pub(super) fn new(token: &Token, now: Instant) -> Self {
        Self {
            prover: Prover::new(token),
            challenge: Mutex::new(Challenge::new(now)),
        }
    }

    /// The challenge of the moment.
    pub(super) fn challenge(&self, now: Instant) -> String {
        self.current(now).text.clone()
    }

    /// Whether the header proves the token for this change, now; it will not do so again.
    pub(super) fn admits(&self, header: &[u8], change: Change<'_>, now: Instant) -> bool {
        let mut challenge = self.current(now);
        let admitted = self.prover.accepts(header, &challenge.text, change);
        if admitted {
            *challenge = Challenge::new(now);
        }
        admitted
    }

    fn current(&self, now: Instant) -> MutexGuard<'_, Challenge> {
        let challenge = self.challenge.lock();
        let mut challenge = challenge.expect("nothing panics while it holds this lock");
        if now.saturating_duration_since(challenge.made) >= CHALLENGE_TIME {
            *challenge = Challenge::new(now);
        }
        challenge
    }
}

impl Challenge {
    fn new(now: Instant) -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the system has random bytes");
        Self {
            text: hex(&bytes),
            made: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::token::token_of;

    const CHANGE: Change<'_> = Change {
        method: "POST",
        path: "/cluster/nodes/2",
        body: b"{}",
    };

    fn gate(now: Instant) -> (Gate, Prover) {
        let token = token_of("0123456789abcdef");
        (Gate::new(&token, now), Prover::new(&token))
    }

    /// Security, finding 5: a proof that was seen is of no use.
    #[test]
    fn a_proof_is_good_once_and_spoils_no_other_challenge_when_it_is_wrong() {
        let now = Instant::now();
        let (gate, prover) = gate(now);
        let challenge = gate.challenge(now);
        assert_eq!(challenge.len(), 64);
        assert!(!gate.admits(b"Anser 00", CHANGE, now));
        assert!(!gate.admits(b"Bearer 0123456789abcdef", CHANGE, now));
        assert_eq!(gate.challenge(now), challenge, "others may use it still");
        let header = prover.authorization(&challenge, CHANGE);
        assert!(gate.admits(header.as_bytes(), CHANGE, now));
        assert!(!gate.admits(header.as_bytes(), CHANGE, now));
        assert_ne!(gate.challenge(now), challenge);
    }

    #[test]
    fn a_proof_that_was_held_back_is_good_no_more() {
        let now = Instant::now();
        let (gate, prover) = gate(now);
        let header = prover.authorization(&gate.challenge(now), CHANGE);
        assert!(!gate.admits(header.as_bytes(), CHANGE, now + CHALLENGE_TIME));
    }
}
