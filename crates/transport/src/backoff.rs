//! How long to wait before the next dial.

use std::time::Duration;

use crate::config::Limits;

#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            first: limits.redial_first,
            most: limits.redial_most,
            next: limits.redial_first,
        }
    }

    /// A connection lived for this long. One that ends at once does not count as a success.
    pub(crate) fn lived(&mut self, length: Duration) {
        if length >= self.next {
            self.next = self.first;
        }
    }

    /// The next wait, with up to a half more, so that nodes do not dial in step.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        let mut random = [0];
        // Without chance there is only no jitter.
        _ = aws_lc_rs::rand::fill(&mut random);
        wait + wait * u32::from(random[0]) / 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(&Limits::default());
        for millis in [50, 100, 200, 400, 800, 1_600, 2_000, 2_000] {
            let wait = backoff.next();
            let least = Duration::from_millis(millis);
            assert!(wait >= least && wait < least * 3 / 2, "{wait:?}");
        }
        backoff.lived(Duration::from_millis(10));
        assert!(backoff.next() >= Duration::from_secs(2));
        backoff.lived(Duration::from_secs(2));
        assert!(backoff.next() < Duration::from_millis(75));
    }
}
