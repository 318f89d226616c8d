//! Moments at which a queue's own time may have gone ahead of the time that passed.
//!
//! A node that decides alone takes the time it was off from its wall clock, which may be wrong. By as much as that, and
//! no more, what ends by time may end early: delays, leases, retentions, and how long a name is not free.

use crate::event::Nanos;

#[derive(Debug, Clone, Copy)]
struct Leap {
    from: Nanos,
    to: Nanos,
    by: Nanos,
}

/// The leaps of one queue, or of what knows the names of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaps {
    /// By their beginnings.
    sorted: Vec<Leap>,
}

impl Leaps {
    /// It went ahead by so much at some moment of the span.
    pub(crate) fn add(&mut self, from: Nanos, to: Nanos, by: Nanos) {
        let at = self.sorted.partition_point(|leap| leap.from <= from);
        self.sorted.insert(at, Leap { from, to, by });
    }

    /// When a length that counts from `base` may be over for the first time.
    pub(crate) fn earliest(&self, base: Nanos, length: Nanos) -> Nanos {
        let mut end = base.saturating_add(length);
        for leap in self.sorted.iter().filter(|leap| leap.to >= base) {
            if leap.from >= end {
                break;
            }
            end = end.saturating_sub(leap.by).max(leap.from).max(base);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_shorter_by_the_leaps_on_its_way_and_by_no_others() {
        let mut leaps = Leaps::default();
        assert_eq!(leaps.earliest(100, 50), 150);
        leaps.add(400, 410, 1_000);
        leaps.add(120, 130, 20);
        assert_eq!(leaps.earliest(100, 50), 130);
        assert_eq!(leaps.earliest(100, 10), 110, "over before");
        assert_eq!(leaps.earliest(131, 50), 181, "begun later");
        assert_eq!(leaps.earliest(131, 500), 400, "not before the leap");
        assert_eq!(leaps.earliest(100, 2_000), 1_080);
    }
}
