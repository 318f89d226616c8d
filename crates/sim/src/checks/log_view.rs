//! Which term each entry of a log is of.

/// A log: everything up to the base is in a snapshot, the rest is known by its terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogView {
    base: u64,
    base_term: u64,
    terms: Vec<u64>,
}

impl LogView {
    pub(crate) fn new(base: u64, base_term: u64) -> Self {
        Self {
            base,
            base_term,
            terms: Vec::new(),
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.base + self.terms.len() as u64
    }

    /// `None` before the base and after the end.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base {
            return Some(self.base_term);
        }
        let place = index.checked_sub(self.base + 1)?;
        self.terms.get(usize::try_from(place).ok()?).copied()
    }

    /// Whether the entry is there, or in the snapshot.
    pub(crate) fn contains(&self, index: u64, term: u64) -> bool {
        index < self.base || self.term(index) == Some(term)
    }

    /// Adds an entry; what stood there and after it goes. What the snapshot has stays.
    pub(crate) fn append(&mut self, index: u64, term: u64) {
        let Some(place) = index.checked_sub(self.base + 1) else {
            return;
        };
        self.terms
            .truncate(usize::try_from(place).expect("a log fits in memory"));
        self.terms.push(term);
    }

    /// A snapshot takes the place of everything that does not follow it.
    pub(crate) fn install(&mut self, index: u64, term: u64) {
        if index <= self.base {
            return;
        }
        if self.term(index) == Some(term) {
            let covered = usize::try_from(index - self.base).expect("a log fits in memory");
            self.terms.drain(..covered);
        } else {
            self.terms.clear();
        }
        (self.base, self.base_term) = (index, term);
    }

    /// The first entry of the other log, up to a bound, that this one lacks.
    pub(crate) fn lacks(&self, other: &Self, through: u64) -> Option<u64> {
        (other.base.max(1)..=other.last().min(through)).find(|&index| {
            other
                .term(index)
                .is_some_and(|term| !self.contains(index, term))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_overwritten_and_covered() {
        let mut log = LogView::new(1, 1);
        for index in 2..=5 {
            log.append(index, 1);
        }
        log.append(4, 2);
        assert_eq!(log.last(), 4);
        assert_eq!(log.term(4), Some(2));
        log.install(3, 1);
        assert!(log.contains(2, 9) && log.contains(4, 2) && !log.contains(4, 1));
        log.install(8, 3);
        assert_eq!(log.last(), 8);
    }
}
