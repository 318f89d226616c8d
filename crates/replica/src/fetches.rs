//! Old entries that are being read from the log for followers.

use std::collections::BTreeMap;

/// Reads under way at once.
const FETCHES_MAX: usize = 8;
/// Bytes of one read: what one message carries.
const FETCH_BYTES_MAX: u64 = 1 << 20;
/// Ticks after which an answer is not expected any more.
const ANSWER_TICKS: u64 = 200;

/// A read of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) request: u64,
    pub(crate) first: u64,
    /// Exclusive.
    pub(crate) end: u64,
    pub(crate) bytes_max: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Fetches {
    last_request: u64,
    /// By request, with the tick at which it began.
    under_way: BTreeMap<u64, (u64, Fetch)>,
}

impl Fetches {
    /// The reads to begin for these wanted ranges (first, end).
    pub(crate) fn begin(&mut self, wanted: BTreeMap<u64, u64>, tick: u64) -> Vec<Fetch> {
        self.under_way
            .retain(|_, (since, _)| *since + ANSWER_TICKS > tick);
        let mut begun = Vec::new();
        for (first, end) in wanted {
            let known = self.under_way.values().any(|(_, it)| it.first == first);
            if known || self.under_way.len() >= FETCHES_MAX {
                continue;
            }
            self.last_request += 1;
            let fetch = Fetch {
                request: self.last_request,
                first,
                end,
                bytes_max: FETCH_BYTES_MAX,
            };
            self.under_way.insert(fetch.request, (tick, fetch));
            begun.push(fetch);
        }
        begun
    }

    /// Takes the read that ends; `None` if nobody waits for it.
    pub(crate) fn end(&mut self, request: u64) -> Option<Fetch> {
        self.under_way.remove(&request).map(|(_, fetch)| fetch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_once_at_a_time() {
        let mut fetches = Fetches::default();
        let wanted = || BTreeMap::from([(3, 9), (5, 9)]);
        let begun = fetches.begin(wanted(), 0);
        assert_eq!(begun.len(), 2);
        assert!(fetches.begin(wanted(), 1).is_empty());
        assert_eq!(fetches.end(begun[0].request), Some(begun[0]));
        assert_eq!(fetches.end(begun[0].request), None);
        assert_eq!(fetches.begin(wanted(), 2)[0].first, 3);
        assert_eq!(fetches.begin(wanted(), 500).len(), 2);
    }
}
