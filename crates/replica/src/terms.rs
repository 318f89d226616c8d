//! Which term each index of the log has: a log has few terms and many entries.

use crate::tail::Place;

/// The places where terms begin, ascending.
#[derive(Debug)]
pub(crate) struct Terms {
    runs: Vec<Place>,
}

impl Terms {
    /// Knows the term of `applied`, and those of the runs.
    pub(crate) fn new(mut runs: Vec<Place>, applied: Place) -> Self {
        runs.retain(|run| run.index <= applied.index);
        match runs.last() {
            Some(run) if run.term == applied.term => {}
            // The log before it is not known, or says something else than what was applied.
            _ => runs.push(applied),
        }
        Self { runs }
    }

    /// The term of an index that the log holds; `None` if it lies before everything known.
    pub(crate) fn of(&self, index: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.index <= index);
        Some(self.runs[after.checked_sub(1)?].term)
    }

    /// Entries from this index on are replaced.
    pub(crate) fn truncate(&mut self, index: u64) {
        self.runs.retain(|run| run.index < index);
    }

    pub(crate) fn push(&mut self, place: Place) {
        if self.runs.last().is_none_or(|run| run.term != place.term) {
            self.runs.push(place);
        }
    }

    /// Forgets runs that end before this index.
    pub(crate) fn forget(&mut self, index: u64) {
        let after = self.runs.partition_point(|run| run.index <= index);
        self.runs.drain(..after.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: u64, term: u64) -> Place {
        Place { index, term }
    }

    #[test]
    fn terms_are_found_by_index_after_additions_truncations_and_forgetting() {
        let mut terms = Terms::new(vec![place(3, 1), place(7, 4)], place(9, 4));
        assert_eq!(terms.of(2), None);
        assert_eq!(terms.of(6), Some(1));
        assert_eq!(terms.of(9), Some(4));
        terms.push(place(10, 4));
        terms.push(place(11, 5));
        terms.push(place(12, 6));
        terms.truncate(12);
        terms.push(place(12, 7));
        assert_eq!(terms.of(11), Some(5));
        assert_eq!(terms.of(12), Some(7));
        terms.forget(8);
        assert_eq!(terms.of(6), None);
        assert_eq!(terms.of(8), Some(4));
    }

    #[test]
    fn the_applied_place_is_known_even_if_the_log_before_it_is_gone() {
        let terms = Terms::new(Vec::new(), place(9, 4));
        assert_eq!(terms.of(8), None);
        assert_eq!(terms.of(9), Some(4));
    }
}
