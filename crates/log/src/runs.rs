//! Where the entries of one shard are in the write-ahead log: four bytes an entry.
//!
//! Runs follow each other without a gap in their indexes; each lies in one file, and files never go
//! back. Terms are kept where they change.

use std::collections::VecDeque;

use crate::entry::Position;

#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: VecDeque<Run>,
}

#[derive(Debug)]
struct Run {
    sequence: u64,
    first_index: u64,
    offsets: Vec<u32>,
    /// The first index of each term, and the term.
    terms: Vec<(u64, u64)>,
}

impl Run {
    /// The index behind the last.
    fn end(&self) -> u64 {
        self.first_index + self.offsets.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        let after = self.terms.partition_point(|&(first, _)| first <= index);
        self.terms[after - 1].1
    }

    fn push(&mut self, index: u64, term: u64, offset: u32) {
        assert_eq!(index, self.end(), "a run has no gaps");
        if self.terms.last().is_none_or(|&(_, last)| last != term) {
            self.terms.push((index, term));
        }
        self.offsets.push(offset);
    }

    /// Keeps what is before `index`, which is not the first.
    fn truncate(&mut self, index: u64) {
        self.offsets.truncate(usize_of(index - self.first_index));
        self.terms.retain(|&(first, _)| first < index);
    }

    /// Keeps what is from `index` on, which is not behind the last.
    fn drain_before(&mut self, index: u64) {
        let term = self.term(index);
        self.offsets.drain(..usize_of(index - self.first_index));
        self.terms.retain(|&(first, _)| first > index);
        self.terms.insert(0, (index, term));
        self.first_index = index;
    }
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).expect("a run is in memory")
}

impl Runs {
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| run.first_index)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.runs.back().map(|run| run.end() - 1)
    }

    /// Adds an entry, removing that index and all after it first. An index behind a gap replaces
    /// everything.
    pub(crate) fn insert(&mut self, index: u64, term: u64, position: Position) {
        self.truncate(index);
        if self.last().is_some_and(|last| last + 1 != index) {
            self.runs.clear();
        }
        match self.runs.back_mut() {
            Some(run) if run.sequence == position.sequence => {
                run.push(index, term, position.offset);
            }
            previous => {
                assert!(previous.is_none_or(|run| run.sequence < position.sequence));
                self.runs.push_back(Run {
                    sequence: position.sequence,
                    first_index: index,
                    offsets: vec![position.offset],
                    terms: vec![(index, term)],
                });
            }
        }
    }

    fn truncate(&mut self, index: u64) {
        while let Some(run) = self.runs.back_mut() {
            if run.first_index < index {
                if index < run.end() {
                    run.truncate(index);
                }
                return;
            }
            self.runs.pop_back();
        }
    }

    fn run(&self, index: u64) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.first_index <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        (index < run.end()).then_some(run)
    }

    /// The entry that begins at a place.
    pub(crate) fn index_at(&self, place: Position) -> Option<u64> {
        let mut runs = self.runs.iter();
        let run = runs.find(|run| run.sequence == place.sequence)?;
        let at = run.offsets.binary_search(&place.offset).ok()?;
        Some(run.first_index + at as u64)
    }

    pub(crate) fn find(&self, index: u64) -> Option<Position> {
        let run = self.run(index)?;
        let offset = run.offsets[usize_of(index - run.first_index)];
        Some(Position {
            sequence: run.sequence,
            offset,
        })
    }

    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        Some(self.run(index)?.term(index))
    }

    /// The first entry of each stretch of entries of one term: index and term, ascending.
    pub(crate) fn terms(&self) -> Vec<(u64, u64)> {
        let all = self.runs.iter().flat_map(|run| run.terms.iter().copied());
        let mut terms: Vec<(u64, u64)> = all.collect();
        terms.dedup_by_key(|(_, term)| *term);
        terms
    }

    /// First and last index in the files up to and with `sequence`.
    pub(crate) fn range_through(&self, sequence: u64) -> Option<(u64, u64)> {
        let after = self.runs.partition_point(|run| run.sequence <= sequence);
        let last = self.runs.get(after.checked_sub(1)?)?;
        Some((self.first()?, last.end() - 1))
    }

    /// Forgets the files up to and with `sequence`.
    pub(crate) fn drop_through(&mut self, sequence: u64) {
        while self
            .runs
            .front()
            .is_some_and(|run| run.sequence <= sequence)
        {
            self.runs.pop_front();
        }
    }

    /// Forgets what was written before a place.
    pub(crate) fn drop_before(&mut self, place: Position) {
        while let Some(run) = self.runs.front_mut() {
            let after = run.offsets.partition_point(|&offset| {
                Position {
                    sequence: run.sequence,
                    offset,
                } < place
            });
            if after == 0 {
                return;
            }
            if after < run.offsets.len() {
                run.drain_before(run.first_index + after as u64);
                return;
            }
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64, offset: u32) -> Position {
        Position { sequence, offset }
    }

    fn sample() -> Runs {
        let mut runs = Runs::default();
        for index in 1..=10 {
            let sequence = 1 + index / 4;
            runs.insert(
                index,
                1 + index / 6,
                at(sequence, 100 * u32::try_from(index).unwrap()),
            );
        }
        runs
    }

    #[test]
    fn entries_are_found_with_their_terms() {
        let runs = sample();
        assert_eq!((runs.first(), runs.last()), (Some(1), Some(10)));
        assert_eq!(runs.find(5), Some(at(2, 500)));
        assert_eq!(runs.index_at(at(2, 500)), Some(5));
        assert_eq!(
            [at(2, 504), at(1, 500)].map(|place| runs.index_at(place)),
            [None, None]
        );
        assert_eq!((runs.term(5), runs.term(6)), (Some(1), Some(2)));
        assert_eq!((runs.find(0), runs.find(11)), (None, None));
        assert_eq!(runs.terms(), [(1, 1), (6, 2)]);
    }

    #[test]
    fn an_entry_that_is_already_there_removes_all_after_it() {
        let mut runs = sample();
        runs.insert(5, 9, at(3, 2000));
        assert_eq!((runs.first(), runs.last()), (Some(1), Some(5)));
        assert_eq!((runs.find(5), runs.term(5)), (Some(at(3, 2000)), Some(9)));
        assert_eq!((runs.find(4), runs.term(4)), (Some(at(2, 400)), Some(1)));
        assert_eq!(runs.range_through(2), Some((1, 4)));
        assert_eq!(runs.terms(), [(1, 1), (5, 9)]);
    }

    #[test]
    fn files_are_forgotten_from_the_front() {
        let mut runs = sample();
        assert_eq!(runs.range_through(2), Some((1, 7)));
        runs.drop_through(2);
        assert_eq!(
            (runs.first(), runs.find(7), runs.find(8)),
            (Some(8), None, Some(at(3, 800)))
        );
    }

    #[test]
    fn what_was_written_before_a_place_is_forgotten() {
        let mut runs = sample();
        runs.drop_before(at(2, 600));
        assert_eq!(
            (runs.first(), runs.term(6), runs.find(6)),
            (Some(6), Some(2), Some(at(2, 600)))
        );
        assert_eq!(runs.terms(), [(6, 2)]);
        runs.drop_before(at(9, 0));
        assert_eq!((runs.first(), runs.terms()), (None, Vec::new()));
    }
}
