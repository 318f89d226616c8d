//! Numbers of requests, unique within a node's life and hardly ever met again. They do not tell how many
//! requests others have made meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use anser_broker::context::RequestId;

use crate::permutation::Permutation;

#[derive(Debug)]
pub(crate) struct RequestNumbers {
    next: AtomicU64,
    permutation: Permutation,
}

impl RequestNumbers {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("the system has random bytes");
        Self {
            next: AtomicU64::new(0),
            permutation: Permutation::new(key),
        }
    }

    /// Below 2^63.
    pub(crate) fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId(self.permutation.forward(number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn security_finding_16_request_numbers_do_not_tell_how_many_came_between() {
        let numbers = RequestNumbers::new();
        let drawn: Vec<u64> = (0..1000).map(|_| numbers.next().0).collect();
        assert!(drawn.iter().all(|number| *number < 1 << 63));
        let steps = drawn.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        assert!(steps.min().unwrap() > 1_000_000, "neighbours are far apart");
        let distinct: BTreeSet<u64> = drawn.into_iter().collect();
        assert_eq!(distinct.len(), 1000);
    }
}
