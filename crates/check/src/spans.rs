//! How many of many spans of time lie over another one.

use crate::event::Nanos;

/// The ends of spans apart from their beginnings: enough to count, and quick to ask.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    begins: Vec<Nanos>,
    ends: Vec<Nanos>,
}

impl Spans {
    pub(crate) fn new(spans: impl IntoIterator<Item = (Nanos, Nanos)>) -> Self {
        let real = spans.into_iter().filter(|(from, to)| from < to);
        let (mut begins, mut ends): (Vec<_>, Vec<_>) = real.unzip();
        begins.sort_unstable();
        ends.sort_unstable();
        Self { begins, ends }
    }

    /// At least so many began before and lasted beyond.
    pub(crate) fn throughout(&self, from: Nanos, to: Nanos) -> u64 {
        let begun = self.begins.partition_point(|begin| *begin < from);
        let ended = self.ends.partition_point(|end| *end <= to);
        (begun as u64).saturating_sub(ended as u64)
    }

    /// So many lie over some moment between.
    pub(crate) fn during(&self, from: Nanos, to: Nanos) -> u64 {
        let begun = self.begins.partition_point(|begin| *begin <= to);
        let ended = self.ends.partition_point(|end| *end < from);
        (begun - ended) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_over_others() {
        let spans = Spans::new([(0, 10), (2, 20), (5, 6), (8, 8), (15, Nanos::MAX)]);
        assert_eq!(spans.throughout(3, 9), 1, "one ended meanwhile");
        assert_eq!(spans.throughout(3, 4), 2);
        assert_eq!(spans.during(7, 9), 2);
        assert_eq!(spans.during(11, 15), 2);
        assert_eq!(spans.throughout(16, 1_000), 1);
    }
}
