//! What a replica says of its state, so that others can compare it with theirs: its shard's fingerprint after some
//! entries (`docs/decisions/0015-states-are-compared.md`).
//!
//! Two replicas are rarely at the same entry when they say how they are. So each remembers its fingerprint after the
//! last entry, and after the last ones whose indexes are multiples of 64, of 64 × 64 and so on: an idle shard's
//! replicas have the first in common, a busy one's one of the others.

/// A mark is kept for as long as it takes to come to the next multiple.
const DISTANCES: [u64; 4] = [1, 1 << 6, 1 << 12, 1 << 18];

/// A shard's fingerprint after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub index: u64,
    pub fingerprint: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Marks([Option<Mark>; DISTANCES.len()]);

impl Marks {
    pub(crate) fn applied(&mut self, index: u64, fingerprint: u64) {
        for (mark, distance) in self.0.iter_mut().zip(DISTANCES) {
            if !index.is_multiple_of(distance) {
                return;
            }
            *mark = Some(Mark { index, fingerprint });
        }
    }

    /// The newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = Mark> {
        self.0.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_replicas_that_are_apart_some_mark_is_the_same() {
        let at = |last: u64| {
            let mut marks = Marks::default();
            for index in 1..=last {
                marks.applied(index, index * 3);
            }
            marks.all().collect::<Vec<Mark>>()
        };
        let (one, other) = (at(10_000), at(9_500));
        assert_eq!(one[0].index, 10_000);
        let shared: Vec<&Mark> = one.iter().filter(|mark| other.contains(mark)).collect();
        let (index, fingerprint) = (8_192, 8_192 * 3);
        assert_eq!(shared, [&Mark { index, fingerprint }]);
        assert_eq!(at(5).len(), 1);
    }
}
