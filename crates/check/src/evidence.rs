//! What can be proved about time: outages, receives without an answer, and empty receives.
//!
//! An empty receive proves that nothing was visible, but only while no receive without an answer could
//! have taken a message, and while the server served. Only such receives are kept as evidence.

use crate::event::Nanos;

pub(crate) const MILLISECOND: Nanos = 1_000_000;
/// How late the queue may be by promise, outages not counted.
const LATE_MAX: Nanos = 1_000 * MILLISECOND;

/// The times in which the server did not serve.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    sorted: Vec<(Nanos, Nanos)>,
}

impl Outages {
    pub(crate) fn new(mut spans: Vec<(Nanos, Nanos)>) -> Self {
        spans.sort_unstable();
        Self { sorted: spans }
    }

    /// The moment by which something due `duration` after `base` has happened: a second of lateness
    /// and every outage on the way are granted.
    pub(crate) fn latest(&self, base: Nanos, duration: Nanos) -> Nanos {
        let mut due = base.saturating_add(duration).saturating_add(LATE_MAX);
        let first = self.sorted.partition_point(|&(_, to)| to <= base);
        for &(from, to) in &self.sorted[first..] {
            if from > due {
                break;
            }
            due = due.saturating_add(to - from);
        }
        due
    }

    /// How many began between the two times.
    pub(crate) fn count(&self, from: Nanos, to: Nanos) -> usize {
        let begun = self.sorted.iter().map(|&(begun, _)| begun);
        begun.filter(|begun| (from..=to).contains(begun)).count()
    }

    fn overlap(&self, from: Nanos, to: Nanos) -> bool {
        overlaps(&self.sorted, from, to)
    }
}

/// What the receives of one queue prove together.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Empty receives as `(invoked, returned)`, by `invoked`; `returned` is the least from here on.
    empties: Vec<(Nanos, Nanos)>,
    /// Disjoint times in which a receive without an answer may hold messages.
    fog: Vec<(Nanos, Nanos)>,
}

impl Evidence {
    pub(crate) fn new(
        mut empties: Vec<(Nanos, Nanos)>,
        unanswered: &[(Nanos, Nanos)],
        visibility: Nanos,
        outages: &Outages,
    ) -> Self {
        let spans = unanswered
            .iter()
            .map(|&(invoked, returned)| (invoked, outages.latest(returned, visibility)))
            .collect();
        let fog = merged(spans);
        empties.retain(|&(from, to)| !overlaps(&fog, from, to) && !outages.overlap(from, to));
        empties.sort_unstable();
        let mut least = Nanos::MAX;
        for empty in empties.iter_mut().rev() {
            least = least.min(empty.1);
            empty.1 = least;
        }
        Self { empties, fog }
    }

    /// Whether some receive that lay wholly between the two times proves that nothing was visible.
    pub(crate) fn nothing_visible(&self, from: Nanos, to: Nanos) -> bool {
        let at = self.empties.partition_point(|&(invoked, _)| invoked < from);
        self.empties
            .get(at)
            .is_some_and(|&(_, returned)| returned <= to)
    }

    /// Whether a receive without an answer may hold messages at any time of the span.
    pub(crate) fn foggy(&self, from: Nanos, to: Nanos) -> bool {
        overlaps(&self.fog, from, to)
    }
}

/// Whether any of the sorted, disjoint spans touches `from..=to`.
fn overlaps(spans: &[(Nanos, Nanos)], from: Nanos, to: Nanos) -> bool {
    let at = spans.partition_point(|&(_, end)| end < from);
    spans.get(at).is_some_and(|&(start, _)| start <= to)
}

fn merged(mut spans: Vec<(Nanos, Nanos)>) -> Vec<(Nanos, Nanos)> {
    spans.sort_unstable();
    let mut joined: Vec<(Nanos, Nanos)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_on_the_way_is_granted() {
        let outages = Outages::new(vec![(50, 60), (2_000_000_000, 2_000_000_100)]);
        assert_eq!(outages.latest(0, 10), 1_000_000_020);
        assert_eq!(outages.latest(100, 10), 1_000_000_110);
        assert_eq!(outages.latest(0, 1_000_000_000), 2_000_000_110);
    }

    #[test]
    fn an_empty_receive_in_the_fog_proves_nothing() {
        let second = 1_000 * MILLISECOND;
        let empties = vec![(5, 6), (4 * second, 4 * second + 5)];
        let evidence = Evidence::new(empties, &[(0, 10)], second, &Outages::default());
        assert!(!evidence.nothing_visible(0, 3 * second));
        assert!(evidence.nothing_visible(0, 5 * second));
        assert!(!evidence.nothing_visible(4 * second + 1, 9 * second));
        assert!(evidence.foggy(second, second));
    }
}
