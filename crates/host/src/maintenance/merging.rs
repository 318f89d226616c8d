//! Which neighbouring segments become one.
//!
//! Segments of about the same size are merged, a few at a time, until they are full: each merge moves what is
//! alive in them up a tier, and there are as many tiers as the size can be multiplied by [`FANOUT`]. So however
//! small the segments are that recycling makes, few stay, and a record is written again once a tier at most.

use std::ops::Range;

/// So many segments of a tier become one of the next.
const FANOUT: usize = 4;
/// A segment is worth rewriting by itself when at most one record in this many is alive.
const SPARSE: u64 = 4;
/// Bounds how many segments one merge looks at.
const MERGED_AT_ONCE: usize = 32;

/// A segment, as far as merging is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// Records that were alive when they were last counted; `None`: not counted yet, so probably all.
    pub(super) alive: Option<u64>,
}

impl Candidate {
    /// About how many bytes of it are alive.
    fn live_bytes(&self) -> u64 {
        let alive = self.alive.unwrap_or(self.records).min(self.records);
        let share = u128::from(self.bytes) * u128::from(alive) / u128::from(self.records.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    fn is_sparse(&self) -> bool {
        self.alive
            .is_some_and(|alive| alive * SPARSE <= self.records)
    }

    /// How often the live bytes can be multiplied by [`FANOUT`] before they exceed a full segment; 0: full.
    fn tier(&self, full_bytes: u64) -> u32 {
        let times = full_bytes / self.live_bytes().max(1);
        times.max(1).ilog(FANOUT as u64)
    }
}

/// The neighbours to merge next, if any: first what is mostly dead, then the smallest.
pub(super) fn choose(segments: &[Candidate], full_bytes: u64) -> Option<Range<usize>> {
    sparse_row(segments).or_else(|| {
        let tiers: Vec<u32> = segments.iter().map(|it| it.tier(full_bytes)).collect();
        let smallest = tiers.iter().copied().max()?;
        let mut tiers_upwards = (1..=smallest).rev();
        tiers_upwards.find_map(|tier| row_of_tier(segments, &tiers, tier, full_bytes))
    })
}

fn sparse_row(segments: &[Candidate]) -> Option<Range<usize>> {
    let first = segments.iter().position(Candidate::is_sparse)?;
    let row = segments[first..].iter().take(MERGED_AT_ONCE);
    let count = row.take_while(|it| it.is_sparse()).count();
    Some(first..first + count)
}

/// Neighbours of this tier, and smaller ones before and between them, that fit into one segment. Larger ones
/// are not written again for their sake.
fn row_of_tier(
    segments: &[Candidate],
    tiers: &[u32],
    tier: u32,
    full_bytes: u64,
) -> Option<Range<usize>> {
    let starts = (0..segments.len()).filter(|&first| tiers[first] >= tier);
    starts
        .map(|first| {
            let mut bytes = 0;
            let row = (first..segments.len()).take(MERGED_AT_ONCE);
            let count = row
                .take_while(|&at| {
                    bytes += segments[at].live_bytes();
                    tiers[at] >= tier && bytes <= full_bytes
                })
                .count();
            first..first + count
        })
        .find(|row| {
            let same = tiers[row.clone()].iter().filter(|&&it| it == tier).count();
            same >= FANOUT
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = 64 << 20;

    fn dense(bytes: u64) -> Candidate {
        Candidate {
            bytes,
            records: 100,
            alive: None,
        }
    }

    fn thin(bytes: u64, alive: u64) -> Candidate {
        Candidate {
            alive: Some(alive),
            ..dense(bytes)
        }
    }

    #[test]
    fn neighbours_of_one_size_are_merged_and_larger_ones_stay() {
        let large = dense(FULL / 4);
        let small = dense(10_000);
        assert_eq!(choose(&[], FULL), None);
        assert_eq!(choose(&[large, small, small, small], FULL), None);
        let row = [large, small, small, small, small, large];
        assert_eq!(choose(&row, FULL), Some(1..5));
        assert_eq!(choose(&[large, large, small, large], FULL), None);
        let row = [small, large, large, large, small, dense(FULL / 5)];
        assert_eq!(choose(&row, FULL), Some(0..6));
        assert_eq!(choose(&[dense(FULL); 9], FULL), None);
    }

    #[test]
    fn what_is_mostly_dead_is_rewritten_even_alone() {
        let full = dense(FULL);
        assert_eq!(choose(&[full, thin(FULL, 25), full], FULL), Some(1..2));
        assert_eq!(choose(&[full, thin(FULL, 26), full], FULL), None);
        // By what is alive in them these are small.
        assert_eq!(choose(&[thin(FULL, 26); 3], FULL), None);
        let quarter = thin(FULL / 2, 40);
        assert_eq!(choose(&[quarter; 4], FULL), Some(0..4));
    }

    /// Ten thousand small segments come one after the other.
    #[test]
    fn few_segments_stay_and_a_byte_is_written_again_once_a_tier() {
        for sizes in [[8_000, 8_000], [4_000, 200_000], [500, 7_000_000]] {
            let mut segments: Vec<Candidate> = Vec::new();
            let (mut written, mut rewritten, mut most) = (0, 0, 0);
            for round in 0..10_000 {
                let bytes = sizes[usize::from(round % 7 == 0)];
                segments.push(dense(bytes));
                written += bytes;
                if let Some(row) = choose(&segments, FULL) {
                    let bytes = segments[row.clone()].iter().map(|it| it.bytes).sum();
                    rewritten += bytes;
                    segments.splice(row, [dense(bytes)]);
                }
                let small = segments.iter().filter(|it| it.bytes < FULL / 4).count();
                most = most.max(small);
            }
            assert!(most <= 25, "{sizes:?}: {most} segments");
            assert!(
                rewritten < 6 * written,
                "{sizes:?}: {rewritten} of {written}"
            );
        }
    }
}
